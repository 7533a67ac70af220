//! The texts a search looks for -> the texts that stand in the records: personal values become their tokens for a key that may
//! look for them, and are refused for any other; tokens get the quotation marks that people leave out.
//!
//! Judges texts alone, never data: what is refused is refused whether it is there or not.

use std::ops::Bound;
use std::sync::Arc;

use domicile_proto::metadata::Rows;

use super::QueryError;
use super::filter::{Filter, Joined, Value};
use super::human::all_texts;
use crate::classify::Classifier;
use crate::index::token;
use crate::policy::StreamView;

/// Whose search it is, and of which streams.
pub(crate) struct Literals<'a> {
    /// The detectors and keys that made the tokens.
    pub(crate) classifier: &'a Classifier,
    /// The streams that are searched.
    pub(crate) streams: &'a [Arc<StreamView>],
    /// What the key may see.
    pub(crate) rows: Rows,
}

impl Literals<'_> {
    /// The filter over what stands in the records.
    ///
    /// # Errors
    /// [`QueryError::Personal`] for a text that the key may not look for.
    pub(crate) fn in_filter(&self, filter: Filter) -> Result<Filter, QueryError> {
        Ok(match filter {
            Filter::All | Filter::None | Filter::Time(_) => filter,
            Filter::Exists { ref field } => {
                self.field(field)?;
                filter
            }
            Filter::Term { field, value } => self.values(field, vec![value])?,
            Filter::Terms { field, values } => self.values(field, values)?,
            Filter::Words { field, text, every } => self.texts(&field, &text, false, |text| {
                // One of the words of a token without its quotation marks says nothing of the token.
                let every = every || token::quoted_in(&text).is_some();
                Filter::Words { field: field.clone(), text, every }
            })?,
            Filter::Phrase { field, text, open } => {
                self.texts(&field, &text, open, |text| Filter::Phrase { field: field.clone(), text, open })?
            }
            Filter::Prefix { field, text } if token::halves(&field, &text) => {
                self.values(field, vec![Value::Text(text)])?
            }
            Filter::Prefix { field, text } => {
                self.texts(&field, &text, true, |text| Filter::Prefix { field: field.clone(), text })?
            }
            Filter::Range { field, from, to } => {
                self.field(&field)?;
                for bound in [&from, &to] {
                    if let Bound::Included(value) | Bound::Excluded(value) = bound {
                        self.forms(&field, &value.text(), true)?;
                    }
                }
                Filter::Range { field, from, to }
            }
            Filter::Bool(joined) => {
                let Joined { must, filter, should, must_not, minimum_should_match } = *joined;
                let all = |list: Vec<Filter>| list.into_iter().map(|clause| self.in_filter(clause)).collect();
                let (must, filter): (Result<_, _>, Result<_, _>) = (all(must), all(filter));
                let joined = Joined {
                    must: must?,
                    filter: filter?,
                    should: all(should)?,
                    must_not: all(must_not)?,
                    minimum_should_match,
                };
                Filter::Bool(Box::new(joined))
            }
        })
    }

    /// Judges the name of a field: records keep tokens in their keys too.
    ///
    /// # Errors
    /// [`QueryError::Personal`].
    pub(crate) fn field(&self, field: &str) -> Result<(), QueryError> {
        self.forms("", field, true).map(drop)
    }

    fn texts(
        &self,
        field: &str,
        text: &str,
        open: bool,
        clause: impl Fn(String) -> Filter,
    ) -> Result<Filter, QueryError> {
        self.field(field)?;
        Ok(Filter::any(self.forms(field, text, open)?.into_iter().map(clause).collect()))
    }

    fn values(&self, field: String, values: Vec<Value>) -> Result<Filter, QueryError> {
        self.field(&field)?;
        let mut found = Vec::with_capacity(values.len());
        let mut tokens = Vec::new();
        for value in values {
            let text = value.text();
            // `email:7q2…` reads like a field with its value, and is how people copy a token.
            if token::halves(&field, &text) {
                tokens.push(token::quoted(&field, &text));
            }
            for form in self.forms(&field, &text, false)? {
                found.push(if form == text { value.clone() } else { Value::Text(form) });
            }
        }
        let phrase = |(token, field): (&String, String)| Filter::Phrase { field, text: token.clone(), open: false };
        let elsewhere: Vec<Filter> =
            tokens.iter().flat_map(|token| all_texts().into_iter().map(move |field| phrase((token, field)))).collect();
        found.extend(tokens.iter().cloned().map(Value::Text));
        let here = match found.as_slice() {
            [value] => Filter::Term { field, value: value.clone() },
            _ => Filter::Terms { field, values: found },
        };
        Ok(if elsewhere.is_empty() { here } else { Filter::any([vec![here], elsewhere].concat()) })
    }

    /// The forms in which a text stands in the records of these streams; usually one, itself.
    fn forms(&self, field: &str, text: &str, open: bool) -> Result<Vec<String>, QueryError> {
        let mut forms = Vec::with_capacity(1);
        // A field that is replaced as a whole holds tokens: one of those is looked for as it is.
        let is_token = token::at_start(text) == Some(text.len()) || token::quoted_in(text).is_some();
        let field = if is_token { "" } else { field };
        for stream in self.streams {
            let cleaned = self.classifier.pseudonymise(field, text, stream).filter(|cleaned| cleaned != text);
            if self.rows != Rows::Full && (cleaned.is_some() || open && self.begins_an_address(text, stream)) {
                return Err(QueryError::Personal);
            }
            let form = cleaned.unwrap_or_else(|| text.to_owned());
            if !forms.contains(&form) {
                forms.push(form);
            }
        }
        if forms.is_empty() {
            forms.push(text.to_owned());
        }
        let quoted: Vec<String> = forms.iter().filter_map(|form| token::quoted_in(form)).collect();
        forms.extend(quoted);
        Ok(forms)
    }

    /// Whether a text that goes on could become an e-mail address across its end: `alice@`, `alice@exam`.
    fn begins_an_address(&self, text: &str, stream: &StreamView) -> bool {
        let has_sign = text.contains(['@', '\u{FF20}']) || text.contains("%40");
        has_sign && self.classifier.pseudonymise("", &format!("{text}a.example"), stream).is_some()
    }
}
