//! A filter and one stretch of one segment -> what tantivy runs. Postings answer words, levels and whole values of
//! `service` and `host`; columns answer everything else, see [`super::columns`].

use std::ops::{Bound, Range};

use domicile_proto::ids::Level;
use tantivy::query::{
    AllQuery, BooleanQuery, ConstScoreQuery, Occur, PhrasePrefixQuery, PhraseQuery, Query, TermQuery,
};
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{BitSet, DocId, Term};

use super::QueryError;
use super::columns::{self, Test, after_prefix};
use super::excluded::excluded;
use super::field::Place;
use super::filter::{Filter, Joined, Value};
use super::listed::Listed;
use super::visit::Budget;
use crate::index::schema::{MAX_COLUMN_BYTES, PRODUCER_ID, TRACE_ID, id_hash, looks_like_id};
use crate::index::token;
use crate::index::words::words_of;
use crate::limits::MAX_EXPANSIONS;
use crate::segment::Segment;

/// A filter as it stands for one stretch of a segment.
pub(super) enum Compiled {
    /// Everything matches.
    All,
    /// Nothing does.
    None,
    /// What has this term; how many documents have it is known without looking at them.
    Term(Term),
    /// What this query matches. Outside the stretch it may say anything.
    Query(Box<dyn Query>),
}

impl Compiled {
    /// Compiles for the documents `docs` of the segment. `scored` keeps clauses that matter for the score alone.
    pub(super) fn new(
        filter: &Filter,
        segment: &Segment,
        docs: Range<DocId>,
        scored: bool,
        budget: &Budget,
    ) -> Result<Self, QueryError> {
        Compiler { segment, docs, scored, budget }.filter(filter)
    }

    fn listed(docs: Vec<DocId>) -> Self {
        if docs.is_empty() { Self::None } else { Self::Query(Box::new(Listed::new(docs))) }
    }

    /// As a query, for whatever needs one.
    pub(super) fn into_query(self) -> Box<dyn Query> {
        match self {
            Self::All => Box::new(AllQuery),
            Self::None => Box::new(Listed::new(Vec::new())),
            Self::Term(term) => Box::new(TermQuery::new(term, IndexRecordOption::WithFreqs)),
            Self::Query(query) => query,
        }
    }
}

struct Compiler<'a> {
    segment: &'a Segment,
    docs: Range<DocId>,
    scored: bool,
    budget: &'a Budget,
}

impl Compiler<'_> {
    fn filter(&self, filter: &Filter) -> Result<Compiled, QueryError> {
        self.budget.check()?;
        match filter {
            Filter::All => Ok(Compiled::All),
            Filter::None => Ok(Compiled::None),
            Filter::Term { field, value } => self.equals(&Place::of(field), std::slice::from_ref(value)),
            Filter::Terms { field, values } => self.equals(&Place::of(field), values),
            Filter::Words { field, text, every } => self.words(&Place::of(field), text, *every),
            Filter::Phrase { field, text, open } => self.phrase(&Place::of(field), text, *open),
            Filter::Prefix { field, text } => self.prefix(&Place::of(field), text),
            Filter::Range { field, from, to } => self.range(&Place::of(field), from.as_ref(), to.as_ref()),
            Filter::Time(range) => {
                let (from, to) = (range.from, range.to);
                if from <= self.segment.oldest && self.segment.newest < to {
                    return Ok(Compiled::All);
                }
                if to <= from || self.segment.newest < from || to <= self.segment.oldest {
                    return Ok(Compiled::None);
                }
                let ts = self.segment.reader().fast_fields().i64("ts")?;
                let mut docs = Vec::new();
                ts.get_docids_for_value_range(from.0..=to.0 - 1, self.docs.clone(), &mut docs);
                Ok(Compiled::listed(docs))
            }
            Filter::Exists { field } => self.exists(&Place::of(field)),
            Filter::Bool(joined) => self.joined(joined),
        }
    }

    fn equals(&self, place: &Place, values: &[Value]) -> Result<Compiled, QueryError> {
        let fields = &self.segment.fields;
        match place {
            Place::Time => Ok(Compiled::None),
            Place::Level => {
                let levels = values.iter().filter_map(|value| Level::recognise(&value.text())).collect();
                Ok(self.levels(levels))
            }
            Place::Trace => self.with_ids("trace", values.iter().map(|value| id_hash(TRACE_ID, &value.text()))),
            Place::Id => self.ids(values),
            Place::Message => self.any(values.iter().map(|value| self.phrase(place, &value.text(), false))),
            Place::More => self.any(values.iter().map(|value| self.phrase(place, &value.text(), false))),
            Place::Service(other) => self.envelope(fields.service, other.as_deref(), values),
            Place::Host(other) => self.envelope(fields.host, other.as_deref(), values),
            Place::Attribute(path) if values.iter().any(|value| value.text().len() > MAX_COLUMN_BYTES) => {
                Err(QueryError::apart(path))
            }
            Place::Attribute(path) => {
                let (ids, plain): (Vec<_>, Vec<_>) = values.iter().cloned().partition(|v| looks_like_id(&v.text()));
                let mut found = Vec::new();
                for id in &ids {
                    found.extend(columns::with_id(self.segment, "ids", &self.docs, id_hash(path, &id.text()))?);
                }
                // A number of 16 digits looks like an id and is none.
                let numbers = ids.into_iter().filter(|value| value.number().is_some());
                let plain: Vec<_> = plain.into_iter().chain(numbers).collect();
                if !plain.is_empty() {
                    found.extend(self.attribute(path, &Test::Equals(&plain))?);
                }
                found.sort_unstable();
                found.dedup();
                Ok(Compiled::listed(found))
            }
        }
    }

    fn attribute(&self, path: &str, test: &Test<'_>) -> Result<Vec<DocId>, QueryError> {
        let column = format!("attributes.{path}");
        if test.needs_order() && columns::stands_apart(self.segment.reader(), &column)? {
            return Err(QueryError::apart(path));
        }
        columns::matching(self.segment.reader(), &column, &self.docs, test, self.budget)
    }

    fn with_ids(&self, column: &str, hashes: impl Iterator<Item = u64>) -> Result<Compiled, QueryError> {
        let mut found = Vec::new();
        for hash in hashes {
            found.extend(columns::with_id(self.segment, column, &self.docs, hash)?);
        }
        found.sort_unstable();
        found.dedup();
        Ok(Compiled::listed(found))
    }

    fn ids(&self, values: &[Value]) -> Result<Compiled, QueryError> {
        let mut found = Vec::new();
        for value in values {
            let text = value.text();
            found.extend(columns::with_id(self.segment, "ids", &self.docs, id_hash(PRODUCER_ID, &text))?);
            let generated = text.split_once('-').and_then(|(shard, seq)| {
                let shard = u64::from_str_radix(shard, 16).ok().filter(|shard| *shard == self.segment.shard.0);
                shard.and_then(|_| u64::from_str_radix(seq, 16).ok())
            });
            if let Some(seq) = generated {
                let seqs = self.segment.reader().fast_fields().u64("seq")?;
                // Records with an id of their own have no generated one, but naming their place does no harm.
                found.extend(columns::with_number(&seqs, &self.docs, seq));
            }
        }
        found.sort_unstable();
        found.dedup();
        Ok(Compiled::listed(found))
    }

    fn envelope(&self, field: Field, other: Option<&str>, values: &[Value]) -> Result<Compiled, QueryError> {
        let mut clauses: Vec<Result<Compiled, QueryError>> =
            values.iter().map(|value| Ok(Compiled::Term(Term::from_field_text(field, &value.text())))).collect();
        if let Some(path) = other {
            clauses.push(self.attribute(path, &Test::Equals(values)).map(Compiled::listed));
        }
        self.any(clauses.into_iter())
    }

    /// A test of `service` or `host` and, where the field is another spelling, of the attribute of that name.
    fn envelope_test(&self, place: &Place, test: &Test<'_>) -> Result<Compiled, QueryError> {
        let Some((column, other)) = place.envelope() else { return Ok(Compiled::None) };
        let mut found = columns::matching(self.segment.reader(), column, &self.docs, test, self.budget)?;
        if let Some(path) = other {
            found.extend(self.attribute(path, test)?);
            found.sort_unstable();
            found.dedup();
        }
        Ok(Compiled::listed(found))
    }

    fn levels(&self, mut levels: Vec<Level>) -> Compiled {
        levels.sort_unstable();
        levels.dedup();
        let terms = levels.into_iter().map(|level| Term::from_field_u64(self.segment.fields.level, level as u64));
        let mut terms: Vec<Term> = terms.collect();
        match terms.len() {
            0 => Compiled::None,
            1 => terms.pop().map_or(Compiled::None, Compiled::Term),
            _ if terms.len() == Level::ALL.len() => Compiled::All,
            _ => {
                let query = |term| Box::new(TermQuery::new(term, IndexRecordOption::Basic)) as Box<dyn Query>;
                Compiled::Query(Box::new(BooleanQuery::union(terms.into_iter().map(query).collect())))
            }
        }
    }

    fn words(&self, place: &Place, text: &str, every: bool) -> Result<Compiled, QueryError> {
        let words = words_of(text);
        let test = Test::Holds(&words, every);
        match place {
            Place::Time | Place::Trace | Place::Id => self.equals(place, &[Value::Text(text.to_owned())]),
            Place::Level => {
                let levels: Vec<Level> = words.iter().filter_map(|word| Level::recognise(word)).collect();
                let all = levels.len() == words.len() && levels.windows(2).all(|pair| pair.first() == pair.last());
                Ok(if every && !all { Compiled::None } else { self.levels(levels) })
            }
            Place::Message => self.text_words(self.segment.fields.message, &words, every),
            Place::More => self.text_words(self.segment.fields.more, &words, every),
            Place::Service(_) | Place::Host(_) if token::is_in(text) => self.envelope_test(place, &test),
            Place::Service(_) | Place::Host(_) => self.equals(place, &[Value::Text(text.to_owned())]),
            Place::Attribute(path) if looks_like_id(text) => {
                self.equals(&Place::Attribute(path.clone()), &[Value::Text(text.to_owned())])
            }
            Place::Attribute(path) => {
                let mut found = self.attribute(path, &test)?;
                let value = [Value::Text(text.to_owned())];
                found.extend(self.attribute(path, &Test::Equals(&value))?);
                found.sort_unstable();
                found.dedup();
                Ok(Compiled::listed(found))
            }
        }
    }

    fn text_words(&self, field: Field, words: &[String], every: bool) -> Result<Compiled, QueryError> {
        let clauses = words.iter().map(|word| self.word(field, word));
        if every { self.all(clauses) } else { self.any(clauses) }
    }

    /// A word of a text field. A lone character of a script that is indexed in pairs is the beginning of a pair.
    fn word(&self, field: Field, word: &str) -> Result<Compiled, QueryError> {
        let mut chars = word.chars();
        if chars.next().is_some_and(|c| u32::from(c) >= 0x1100) && chars.next().is_none() {
            return self.beginnings(field, word);
        }
        Ok(Compiled::Term(Term::from_field_text(field, word)))
    }

    fn phrase(&self, place: &Place, text: &str, open: bool) -> Result<Compiled, QueryError> {
        let words = words_of(text);
        let test = Test::Phrase(&words, open);
        match place {
            Place::Message => self.text_phrase(self.segment.fields.message, &words, open),
            Place::More => self.text_phrase(self.segment.fields.more, &words, open),
            Place::Service(_) | Place::Host(_) if open || token::is_in(text) => self.envelope_test(place, &test),
            Place::Service(_) | Place::Host(_) => self.equals(place, &[Value::Text(text.to_owned())]),
            Place::Attribute(path) if !looks_like_id(text) => {
                let mut found = self.attribute(path, &test)?;
                let value = [Value::Text(text.to_owned())];
                found.extend(self.attribute(path, &Test::Equals(&value))?);
                found.sort_unstable();
                found.dedup();
                Ok(Compiled::listed(found))
            }
            Place::Time | Place::Level | Place::Trace | Place::Id | Place::Attribute(_) => {
                self.equals(place, &[Value::Text(text.to_owned())])
            }
        }
    }

    fn text_phrase(&self, field: Field, words: &[String], open: bool) -> Result<Compiled, QueryError> {
        let terms: Vec<Term> = words.iter().map(|word| Term::from_field_text(field, word)).collect();
        match words {
            [] => Ok(Compiled::None),
            [word] if open => self.beginnings(field, word),
            [word] => self.word(field, word),
            _ if open => {
                // Beyond its limit the query would pass over words in silence.
                if self.begins_more_than(field, words.last().map_or("", String::as_str), MAX_EXPANSIONS)? {
                    return Err(QueryError::TooManyBeginnings);
                }
                let mut query = PhrasePrefixQuery::new(terms);
                query.set_max_expansions(u32::try_from(MAX_EXPANSIONS).unwrap_or(u32::MAX));
                Ok(Compiled::Query(Box::new(query)))
            }
            _ => Ok(Compiled::Query(Box::new(PhraseQuery::new(terms)))),
        }
    }

    fn prefix(&self, place: &Place, text: &str) -> Result<Compiled, QueryError> {
        let test = Test::StartsWith(text);
        match place {
            Place::Time | Place::Trace | Place::Id => Ok(Compiled::None),
            Place::Level => {
                let begins = |level: &Level| {
                    level.as_str().get(..text.len()).is_some_and(|start| start.eq_ignore_ascii_case(text))
                };
                Ok(self.levels(Level::ALL.into_iter().filter(begins).collect()))
            }
            Place::Message => self.text_prefix(self.segment.fields.message, text),
            Place::More => self.text_prefix(self.segment.fields.more, text),
            Place::Service(_) | Place::Host(_) => self.envelope_test(place, &test),
            Place::Attribute(path) => Ok(Compiled::listed(self.attribute(path, &test)?)),
        }
    }

    /// A prefix of one word; of several, the words before must stand before it.
    fn text_prefix(&self, field: Field, text: &str) -> Result<Compiled, QueryError> {
        let words = words_of(text);
        match words.as_slice() {
            [] => Ok(if text.is_empty() { Compiled::All } else { Compiled::None }),
            words => self.text_phrase(field, words, true),
        }
    }

    /// Whether more than so many words begin so.
    fn begins_more_than(&self, field: Field, prefix: &str, most: usize) -> Result<bool, QueryError> {
        let inverted = self.segment.reader().inverted_index(field)?;
        let range = inverted.terms().range().ge(prefix.as_bytes());
        let range = match after_prefix(prefix.as_bytes()) {
            Some(after) => range.lt(after),
            None => range,
        };
        let mut stream = range.into_stream()?;
        let mut count = 0;
        while count <= most && stream.advance() {
            count += 1;
        }
        Ok(count > most)
    }

    /// Documents with a word that begins so.
    fn beginnings(&self, field: Field, prefix: &str) -> Result<Compiled, QueryError> {
        let inverted = self.segment.reader().inverted_index(field)?;
        let range = inverted.terms().range().ge(prefix.as_bytes());
        let range = match after_prefix(prefix.as_bytes()) {
            Some(after) => range.lt(after),
            None => range,
        };
        let mut stream = range.into_stream()?;
        let mut words = 0_u64;
        let mut set = BitSet::with_max_value(self.segment.reader().max_doc());
        let mut any = false;
        while stream.advance() {
            if words.is_multiple_of(WORDS_BETWEEN_LOOKS) {
                self.budget.check()?;
            }
            words += 1;
            let mut postings = inverted.read_block_postings_from_terminfo(stream.value(), IndexRecordOption::Basic)?;
            while !postings.docs().is_empty() {
                for doc in postings.docs() {
                    set.insert(*doc);
                }
                any = true;
                postings.advance();
            }
        }
        if !any {
            return Ok(Compiled::None);
        }
        Ok(Compiled::Query(Box::new(super::listed::Marked::new(set))))
    }

    fn range(&self, place: &Place, from: Bound<&Value>, to: Bound<&Value>) -> Result<Compiled, QueryError> {
        let test = Test::Between(from, to);
        match place {
            Place::Level => {
                let level = |bound: Bound<&Value>| match bound {
                    Bound::Unbounded => Some(Bound::Unbounded),
                    Bound::Included(value) => Level::recognise(&value.text()).map(Bound::Included),
                    Bound::Excluded(value) => Level::recognise(&value.text()).map(Bound::Excluded),
                };
                let (Some(from), Some(to)) = (level(from), level(to)) else { return Ok(Compiled::None) };
                let inside = |level: &Level| std::ops::RangeBounds::contains(&(from, to), level);
                Ok(self.levels(Level::ALL.into_iter().filter(inside).collect()))
            }
            Place::Service(_) | Place::Host(_) => self.envelope_test(place, &test),
            Place::Attribute(path) => Ok(Compiled::listed(self.attribute(path, &test)?)),
            Place::Time | Place::Trace | Place::Id | Place::Message | Place::More => Ok(Compiled::None),
        }
    }

    fn exists(&self, place: &Place) -> Result<Compiled, QueryError> {
        let reader = self.segment.reader();
        let fields = &self.segment.fields;
        match place {
            Place::Time | Place::Id => Ok(Compiled::All),
            Place::Level => Ok(self.levels(Level::ALL.into_iter().filter(|level| *level != Level::Unknown).collect())),
            Place::Trace => {
                Ok(Compiled::listed(columns::matching(reader, "trace", &self.docs, &Test::Any, self.budget)?))
            }
            Place::Message | Place::More => {
                let field = if *place == Place::Message { fields.message } else { fields.more };
                let norms = reader.get_fieldnorms_reader(field)?;
                Ok(Compiled::listed(self.docs.clone().filter(|doc| norms.fieldnorm(*doc) > 0).collect()))
            }
            Place::Service(_) | Place::Host(_) => self.envelope_test(place, &Test::Any),
            Place::Attribute(path) => Ok(Compiled::listed(self.attribute(path, &Test::Any)?)),
        }
    }

    fn any(&self, clauses: impl Iterator<Item = Result<Compiled, QueryError>>) -> Result<Compiled, QueryError> {
        let clauses = clauses.collect::<Result<Vec<_>, _>>()?;
        Ok(self.join(Vec::new(), clauses, Vec::new(), 1))
    }

    fn all(&self, clauses: impl Iterator<Item = Result<Compiled, QueryError>>) -> Result<Compiled, QueryError> {
        let clauses = clauses.collect::<Result<Vec<_>, _>>()?;
        // A text without a single word matches nothing.
        if clauses.is_empty() {
            return Ok(Compiled::None);
        }
        Ok(self.join(clauses, Vec::new(), Vec::new(), 0))
    }

    fn joined(&self, joined: &Joined) -> Result<Compiled, QueryError> {
        let compile = |filters: &[Filter]| filters.iter().map(|f| self.filter(f)).collect::<Result<Vec<_>, _>>();
        let mut must = compile(&joined.must)?;
        for clause in compile(&joined.filter)? {
            must.push(if self.scored { unscored(clause) } else { clause });
        }
        let required = joined.must.is_empty() && joined.filter.is_empty() && !joined.should.is_empty();
        let needed = joined.minimum_should_match.unwrap_or_else(|| usize::from(required));
        Ok(self.join(must, compile(&joined.should)?, compile(&joined.must_not)?, needed))
    }

    fn join(&self, must: Vec<Compiled>, should: Vec<Compiled>, must_not: Vec<Compiled>, needed: usize) -> Compiled {
        let is_none = |clause: &Compiled| matches!(clause, Compiled::None);
        let is_all = |clause: &Compiled| matches!(clause, Compiled::All);
        if must.iter().any(is_none) || must_not.iter().any(is_all) {
            return Compiled::None;
        }
        let scored = self.scored;
        let mut clauses: Vec<(Occur, Compiled)> =
            must.into_iter().filter(|c| scored || !is_all(c)).map(|c| (Occur::Must, c)).collect();
        let always = should.iter().filter(|clause| is_all(clause)).count();
        if needed > always || scored {
            let should: Vec<Compiled> = should.into_iter().filter(|c| !is_none(c) && (scored || !is_all(c))).collect();
            let needed = if scored { needed } else { needed.saturating_sub(always) };
            if should.len() < needed {
                return Compiled::None;
            }
            if needed == 0 {
                if clauses.is_empty() && !should.is_empty() {
                    clauses.push((Occur::Must, unscored(Compiled::All)));
                }
                clauses.extend(should.into_iter().map(|clause| (Occur::Should, clause)));
            } else {
                clauses.push((Occur::Must, at_least(should, needed)));
            }
        }
        let must_not: Vec<_> = must_not.into_iter().filter(|c| !is_none(c)).map(|c| (Occur::MustNot, c)).collect();
        if clauses.is_empty() && must_not.is_empty() {
            return Compiled::All;
        }
        if clauses.is_empty() {
            clauses.push((Occur::Must, unscored(Compiled::All)));
        }
        if clauses.len() == 1 && must_not.is_empty() && clauses.first().is_some_and(|(occur, _)| *occur == Occur::Must)
        {
            return clauses.pop().map_or(Compiled::None, |(_, clause)| clause);
        }
        let clauses = clauses.into_iter().map(|(occur, clause)| (occur, clause.into_query()));
        let must_not = must_not.into_iter().map(|(occur, clause)| (occur, excluded(clause.into_query())));
        let clauses = clauses.chain(must_not);
        Compiled::Query(Box::new(BooleanQuery::new(clauses.collect())))
    }
}

/// Words that are gone through between two looks at the time.
const WORDS_BETWEEN_LOOKS: u64 = 64;

fn unscored(clause: Compiled) -> Compiled {
    Compiled::Query(Box::new(ConstScoreQuery::new(clause.into_query(), 0.0)))
}

fn at_least(mut clauses: Vec<Compiled>, needed: usize) -> Compiled {
    if clauses.len() == 1 {
        return clauses.pop().unwrap_or(Compiled::None);
    }
    let queries = clauses.into_iter().map(Compiled::into_query).collect();
    Compiled::Query(Box::new(BooleanQuery::union_with_minimum_required_clauses(queries, needed)))
}
