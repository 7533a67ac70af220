//! The query string that people type -> [`Filter`]: `level:ERROR checkout "time out" -debug`.
//!
//! Words stand beside each other for AND; `OR`, `NOT`, `-` and parentheses do what they say. `field:value`, `field:"words
//! in a row"`, `begin*`, `field:>=10`, `field:[a TO b]`, `field:*`. A word without a field is looked for in the message and in
//! exceptions. Errors point at the place.

use std::ops::Bound;

use domicile_proto::ids::{TimeRange, Timestamp};

use super::QueryError;
use super::dates::DateContext;
use super::elastic::wildcard;
use super::field::Place;
use super::filter::{Filter, Joined, Value};
use crate::index::schema::looks_like_id;
use crate::limits::MAX_FILTER_DEPTH;

/// How a query string is read.
#[derive(Clone)]
pub(crate) struct Options {
    /// Fields of words that name none.
    pub(crate) fields: Vec<String>,
    /// Whether words beside each other must all occur, or one is enough.
    pub(crate) every: bool,
    /// What dates are read against.
    pub(crate) dates: DateContext,
}

/// The fields that hold running text.
pub(crate) fn all_texts() -> Vec<String> {
    vec!["message".to_owned(), "exception".to_owned()]
}

/// Reads what a person typed.
///
/// # Errors
/// [`QueryError::Syntax`] with a caret below the place; the bounds of [`Filter::check_bounds`].
pub(crate) fn filter(query: &str, dates: &DateContext) -> Result<Filter, QueryError> {
    filter_with(query, &Options { fields: all_texts(), every: true, dates: dates.clone() })
}

/// Reads a query string with options.
///
/// # Errors
/// As [`filter`].
pub(crate) fn filter_with(query: &str, options: &Options) -> Result<Filter, QueryError> {
    let chars: Vec<char> = query.chars().collect();
    let mut reader = Reader { chars: &chars, at: 0, depth: 0, field: None, options };
    reader.blanks();
    if reader.at == chars.len() {
        return Ok(Filter::All);
    }
    let filter = reader.either()?;
    if reader.peek() == Some(')') {
        return Err(reader.wrong("a `)` without its `(`", "remove it, or open the group before it"));
    }
    filter.check_bounds()?;
    Ok(filter)
}

struct Reader<'a> {
    chars: &'a [char],
    at: usize,
    depth: usize,
    /// The field of a group such as `level:(WARN OR ERROR)`.
    field: Option<String>,
    options: &'a Options,
}

/// What stands before a clause.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    Plain,
    Required,
    Excluded,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    /// Takes an operator in capitals, or its sign.
    fn operator(&mut self, word: &str, sign: &str) -> bool {
        self.blanks();
        let rest = self.chars.get(self.at..).unwrap_or_default();
        for (spelled, is_word) in [(word, true), (sign, false)] {
            let length = spelled.chars().count();
            let stands = length > 0 && rest.iter().copied().take(length).eq(spelled.chars());
            let ends = rest.get(length).is_none_or(|c| c.is_whitespace() || matches!(c, '(' | ')' | '"'));
            if stands && (!is_word || ends) {
                self.at += length;
                return true;
            }
        }
        false
    }

    fn either(&mut self) -> Result<Filter, QueryError> {
        self.depth += 1;
        if self.depth > MAX_FILTER_DEPTH {
            return Err(QueryError::TooDeep);
        }
        let mut clauses = vec![self.row()?];
        while self.operator("OR", "||") {
            clauses.push(self.row()?);
        }
        self.depth -= 1;
        Ok(Filter::any(clauses))
    }

    /// Clauses beside each other.
    fn row(&mut self) -> Result<Filter, QueryError> {
        let mut clauses = Vec::new();
        loop {
            self.blanks();
            let ends = matches!(self.peek(), None | Some(')')) || self.at_or();
            if ends && !clauses.is_empty() {
                return Ok(joined(clauses, self.options.every));
            }
            if ends {
                return Err(self.wrong("nothing to look for", "write a word, a \"phrase\" or `field:value` here"));
            }
            let (sign, first) = self.signed()?;
            let mut all = vec![first];
            while self.operator("AND", "&&") {
                let (sign, clause) = self.signed()?;
                all.push(if sign == Sign::Excluded { clause.negated() } else { clause });
            }
            if all.len() == 1 {
                clauses.extend(all.pop().map(|clause| (sign, clause)));
            } else {
                if sign == Sign::Excluded {
                    all = all.into_iter().enumerate().map(|(n, c)| if n == 0 { c.negated() } else { c }).collect();
                }
                clauses.push((Sign::Plain, Filter::every(all)));
            }
        }
    }

    fn at_or(&mut self) -> bool {
        let before = self.at;
        let found = self.operator("OR", "||");
        self.at = before;
        found
    }

    fn signed(&mut self) -> Result<(Sign, Filter), QueryError> {
        self.blanks();
        let mut excluded = false;
        let mut required = false;
        loop {
            if self.operator("NOT", "!") {
                excluded = !excluded;
            } else if matches!(self.peek(), Some('-' | '+'))
                && self.chars.get(self.at + 1).is_some_and(|next| !next.is_whitespace())
            {
                if self.take('-') {
                    excluded = !excluded;
                } else {
                    self.at += 1;
                    required = true;
                }
            } else {
                break;
            }
            self.blanks();
        }
        let clause = self.clause()?;
        let sign = if excluded {
            Sign::Excluded
        } else if required {
            Sign::Required
        } else {
            Sign::Plain
        };
        Ok((sign, clause))
    }

    fn clause(&mut self) -> Result<Filter, QueryError> {
        match self.peek() {
            None | Some(')') => {
                return Err(self.wrong("nothing to look for", "write a word, a \"phrase\" or `field:value` here"));
            }
            Some('(') => return self.group(),
            _ => {}
        }
        if self.field.is_none()
            && let Some(field) = self.field_name()
        {
            if self.peek() == Some('(') {
                self.field = Some(field);
                let group = self.group();
                self.field = None;
                return group;
            }
            return self.value_of(&field);
        }
        match self.field.clone() {
            Some(field) => self.value_of(&field),
            None => self.bare(),
        }
    }

    fn group(&mut self) -> Result<Filter, QueryError> {
        let open = self.at;
        self.at += 1;
        let inner = self.either()?;
        self.blanks();
        if !self.take(')') {
            self.at = open;
            return Err(self.wrong("a `(` without its `)`", "close the group, or put the text in quotes"));
        }
        Ok(inner)
    }

    /// Takes `name:` where it stands here.
    fn field_name(&mut self) -> Option<String> {
        let rest = self.chars.get(self.at..)?;
        let first = rest.first()?;
        let begins = first.is_alphabetic() || matches!(first, '_' | '@');
        let length = rest.iter().position(|c| !(c.is_alphanumeric() || matches!(c, '_' | '@' | '.' | '-')))?;
        let is_address = rest.get(length + 1) == Some(&'/') && rest.get(length + 2) == Some(&'/');
        if !begins || rest.get(length) != Some(&':') || is_address {
            return None;
        }
        self.at += length + 1;
        Some(rest.iter().take(length).collect())
    }

    /// A word or phrase without a field.
    fn bare(&mut self) -> Result<Filter, QueryError> {
        if self.peek() == Some('"') {
            let text = self.quoted()?;
            return Ok(self.in_texts(|field| Filter::Phrase { field, text: text.clone(), open: false }));
        }
        let start = self.at;
        let (word, is_open) = self.word();
        if word.is_empty() {
            if is_open {
                return Ok(Filter::All);
            }
            self.at = start;
            return Err(self.wrong("a sign that means nothing here", "put it in quotes, or remove it"));
        }
        if is_open {
            let clauses = self.options.fields.iter().map(|field| Filter::prefix(field, &word));
            return Ok(Filter::any(clauses.collect::<Result<_, _>>()?));
        }
        let found = self.in_texts(|field| Filter::Phrase { field, text: word.clone(), open: false });
        // A trace id that somebody pastes is looked for where trace ids stand as well.
        Ok(if looks_like_id(&word) { Filter::any(vec![Filter::term("trace_id", word), found]) } else { found })
    }

    fn in_texts(&self, clause: impl Fn(String) -> Filter) -> Filter {
        Filter::any(self.options.fields.iter().cloned().map(clause).collect())
    }

    fn value_of(&mut self, field: &str) -> Result<Filter, QueryError> {
        let start = self.at;
        match self.peek() {
            Some('"') => {
                let text = self.quoted()?;
                if Place::of(field) == Place::Time {
                    return self.time(start, &text).map(Filter::Time);
                }
                Ok(Filter::Phrase { field: field.to_owned(), text, open: false })
            }
            Some('[' | '{') => self.bracket(field),
            Some('>' | '<') => self.compared(field),
            _ => {
                let (word, is_open) = self.word();
                if word.is_empty() && !is_open {
                    return Err(self.wrong("a field without a value", "write the value right behind the `:`"));
                }
                if field == "_exists_" {
                    return Ok(Filter::Exists { field: word });
                }
                if word.is_empty() {
                    return wildcard(field, "*");
                }
                if is_open {
                    return Filter::prefix(field, &word);
                }
                Ok(match Place::of(field) {
                    Place::Time => Filter::Time(self.time(start, &word)?),
                    Place::Message | Place::More => Filter::Phrase { field: field.to_owned(), text: word, open: false },
                    _ => Filter::term(field, word),
                })
            }
        }
    }

    /// `>=10`, `<2026-01-01`.
    fn compared(&mut self, field: &str) -> Result<Filter, QueryError> {
        let is_above = self.take('>');
        if !is_above {
            self.at += 1;
        }
        let is_equal = self.take('=');
        let start = self.at;
        let text = if self.peek() == Some('"') { self.quoted()? } else { self.word().0 };
        if text.is_empty() {
            return Err(self.wrong("a comparison without a value", "write a number, a date or a level here"));
        }
        let bound = if is_equal { Bound::Included((start, text)) } else { Bound::Excluded((start, text)) };
        if is_above { self.range(field, bound, Bound::Unbounded) } else { self.range(field, Bound::Unbounded, bound) }
    }

    /// `[a TO b]`, `{a TO b}` and mixed.
    fn bracket(&mut self, field: &str) -> Result<Filter, QueryError> {
        let open = self.at;
        let from_inside = self.take('[');
        if !from_inside {
            self.at += 1;
        }
        let from = self.bracket_end()?;
        if !self.operator("TO", "") {
            return Err(self.wrong("a range without `TO`", "write `[from TO to]`; `*` leaves an end open"));
        }
        let to = self.bracket_end()?;
        self.blanks();
        let to_inside = self.take(']');
        if !to_inside && !self.take('}') {
            self.at = open;
            return Err(self.wrong("a range without its end", "close it with `]`, or with `}` to leave the end out"));
        }
        let bound = |end: Option<(usize, String)>, inside: bool| match end {
            None => Bound::Unbounded,
            Some(end) if inside => Bound::Included(end),
            Some(end) => Bound::Excluded(end),
        };
        self.range(field, bound(from, from_inside), bound(to, to_inside))
    }

    fn bracket_end(&mut self) -> Result<Option<(usize, String)>, QueryError> {
        self.blanks();
        let start = self.at;
        if self.peek() == Some('"') {
            return Ok(Some((start, self.quoted()?)));
        }
        let rest = self.chars.get(self.at..).unwrap_or_default();
        let word: String = rest.iter().take_while(|c| !c.is_whitespace() && !matches!(c, ']' | '}')).collect();
        self.at += word.chars().count();
        match word.as_str() {
            "" => Err(self.wrong("a range without its end", "write `[from TO to]`; `*` leaves an end open")),
            "*" => Ok(None),
            _ => Ok(Some((start, word))),
        }
    }

    fn range(
        &mut self,
        field: &str,
        from: Bound<(usize, String)>,
        to: Bound<(usize, String)>,
    ) -> Result<Filter, QueryError> {
        if Place::of(field) != Place::Time {
            let value = |(_, text): (usize, String)| value_of_text(text);
            return Filter::range(field, from.map(value), to.map(value));
        }
        let from = match from {
            Bound::Unbounded => TimeRange::ALL.from,
            Bound::Included((at, text)) => self.time(at, &text)?.from,
            Bound::Excluded((at, text)) => self.time(at, &text)?.to,
        };
        let to: Timestamp = match to {
            Bound::Unbounded => TimeRange::ALL.to,
            Bound::Included((at, text)) => self.time(at, &text)?.to,
            Bound::Excluded((at, text)) => self.time(at, &text)?.from,
        };
        Ok(Filter::Time(TimeRange { from, to: to.max(from) }))
    }

    fn time(&mut self, start: usize, text: &str) -> Result<TimeRange, QueryError> {
        self.options.dates.stretch(text).ok_or_else(|| {
            self.at = start;
            self.wrong("no date", "write `2026-01-31`, `\"2026-01-31 12:00\"`, `now-1h` or milliseconds since 1970")
        })
    }

    fn quoted(&mut self) -> Result<String, QueryError> {
        let open = self.at;
        self.at += 1;
        let mut text = String::new();
        while let Some(c) = self.peek() {
            self.at += 1;
            match c {
                '"' => return Ok(text),
                '\\' => {
                    text.extend(self.peek());
                    self.at += 1;
                }
                c => text.push(c),
            }
        }
        self.at = open;
        Err(self.wrong("a quote that does not end", "close it with another `\"`"))
    }

    /// A word up to a blank or parenthesis, and whether a `*` ends it.
    fn word(&mut self) -> (String, bool) {
        let mut word = String::new();
        let mut is_open = false;
        while let Some(c) = self.peek() {
            if c.is_whitespace() || matches!(c, '(' | ')' | '"') {
                break;
            }
            self.at += 1;
            if is_open {
                word.push('*');
                is_open = false;
            }
            match c {
                '\\' => {
                    word.extend(self.peek());
                    self.at += 1;
                }
                '*' => is_open = true,
                c => word.push(c),
            }
        }
        (word, is_open)
    }

    fn wrong(&self, problem: &'static str, advice: &'static str) -> QueryError {
        let line: String = self.chars.iter().map(|c| if c.is_control() { ' ' } else { *c }).collect();
        let at = self.at.min(self.chars.len());
        let pointer = format!("{line}\n{}^", " ".repeat(at));
        QueryError::Syntax { problem, position: at + 1, advice, pointer }
    }
}

fn joined(mut clauses: Vec<(Sign, Filter)>, every: bool) -> Filter {
    if clauses.len() == 1 {
        return match clauses.pop() {
            Some((Sign::Excluded, clause)) => clause.negated(),
            Some((_, clause)) => clause,
            None => Filter::All,
        };
    }
    let mut joined = Joined::default();
    for (sign, clause) in clauses {
        match sign {
            Sign::Excluded => joined.must_not.push(clause),
            Sign::Required => joined.must.push(clause),
            Sign::Plain if every => joined.must.push(clause),
            Sign::Plain => joined.should.push(clause),
        }
    }
    Filter::Bool(Box::new(joined))
}

fn value_of_text(text: String) -> Value {
    if let Ok(whole) = text.parse() {
        return Value::Whole(whole);
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Value::Number(number),
        _ => Value::Text(text),
    }
}
