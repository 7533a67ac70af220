//! A query that may stand behind a `not`, whatever it is made of.
//!
//! To leave documents out, tantivy asks a clause for documents that lie before the place it stands at already. A phrase, or a
//! conjunction with one in it, does not expect that (0.27: an assertion of development builds ends the search). Here such a clause
//! is asked by `doc` and `seek` alone, which it answers at any place. What is left out is the same.

use tantivy::query::{EnableScoring, Explanation, Query, Scorer, TermQuery, Weight};
use tantivy::{DocId, DocSet, Score, SegmentReader};

/// The clause, fit to stand behind a `not`. Single terms are, as they are.
pub(super) fn excluded(clause: Box<dyn Query>) -> Box<dyn Query> {
    if clause.is::<TermQuery>() { clause } else { Box::new(Excluded(clause)) }
}

#[derive(Debug)]
struct Excluded(Box<dyn Query>);

impl Clone for Excluded {
    fn clone(&self) -> Self {
        Self(self.0.box_clone())
    }
}

impl Query for Excluded {
    fn weight(&self, scoring: EnableScoring<'_>) -> tantivy::Result<Box<dyn Weight>> {
        Ok(Box::new(ExcludedWeight(self.0.weight(scoring)?)))
    }
}

struct ExcludedWeight(Box<dyn Weight>);

impl Weight for ExcludedWeight {
    fn scorer(&self, reader: &SegmentReader, boost: Score) -> tantivy::Result<Box<dyn Scorer>> {
        Ok(Box::new(Steady(self.0.scorer(reader, boost)?)))
    }

    fn explain(&self, reader: &SegmentReader, doc: DocId) -> tantivy::Result<Explanation> {
        self.0.explain(reader, doc)
    }
}

/// The documents of a scorer without its short cuts.
struct Steady(Box<dyn Scorer>);

impl DocSet for Steady {
    fn advance(&mut self) -> DocId {
        self.0.advance()
    }

    fn seek(&mut self, target: DocId) -> DocId {
        self.0.seek(target)
    }

    fn doc(&self) -> DocId {
        self.0.doc()
    }

    fn size_hint(&self) -> u32 {
        self.0.size_hint()
    }

    fn cost(&self) -> u64 {
        self.0.cost()
    }
}

impl Scorer for Steady {
    fn score(&mut self) -> Score {
        self.0.score()
    }
}

#[cfg(test)]
mod tests {
    use tantivy::collector::DocSetCollector;
    use tantivy::query::{AllQuery, BooleanQuery, Occur, PhraseQuery};
    use tantivy::schema::{Schema, TEXT};
    use tantivy::{Index, Term, doc};

    use super::*;

    #[test]
    fn what_is_behind_a_not_is_left_out_and_nothing_else() {
        let mut schema = Schema::builder();
        let text = schema.add_text_field("text", TEXT);
        let index = Index::create_in_ram(schema.build());
        let mut writer = index.writer_with_num_threads(1, 20_000_000).unwrap();
        for line in ["y", "b a", "a b", "x", "x a b x", "a x b", "b", "a b"] {
            writer.add_document(doc!(text => line)).unwrap();
        }
        writer.commit().unwrap();
        let term = |word: &str| Term::from_field_text(text, word);
        let phrase = || -> Box<dyn Query> { Box::new(PhraseQuery::new(vec![term("a"), term("b")])) };
        let with_x: Box<dyn Query> = Box::new(BooleanQuery::intersection(vec![
            phrase(),
            Box::new(TermQuery::new(term("x"), tantivy::schema::IndexRecordOption::Basic)),
        ]));
        let searcher = index.reader().unwrap().searcher();
        for (left_out, left) in [(phrase(), vec![0, 1, 3, 5, 6]), (with_x, vec![0, 1, 2, 3, 5, 6, 7])] {
            let all: Box<dyn Query> = Box::new(AllQuery);
            let asked = BooleanQuery::new(vec![(Occur::Must, all), (Occur::MustNot, excluded(left_out))]);
            let mut found: Vec<DocId> =
                searcher.search(&asked, &DocSetCollector).unwrap().into_iter().map(|found| found.doc_id).collect();
            found.sort_unstable();
            assert_eq!(found, left);
        }
    }
}
