//! Searching by original value and by token, over segments that the classifier's own tokens stand in.

use std::collections::BTreeSet;
use std::sync::Arc;

use domicile_proto::ids::{Name, StreamId, TenantId};
use domicile_proto::metadata::{Rows, StreamPolicy};
use serde_json::{Value as Json, json};

use super::dates::DateContext;
use super::specimen::{now, request};
use super::{Engine, Filter, Literals, QueryError, elastic, human};
use crate::classify::{Classifier, Defaults, RuleFiles};
use crate::index::builder::Layout;
use crate::keys::PseudonymKeys;
use crate::policy::StreamView;
use crate::segment::Segment;
use crate::segment::specimen::{durable, record, segment};

const ALICE: &str = "alice@example.com";

struct Place {
    classifier: Classifier,
    stream: Arc<StreamView>,
    segments: Vec<Arc<Segment>>,
    engine: Engine,
}

impl Place {
    fn new() -> Self {
        let name: Name = "app".parse().unwrap();
        let stream = Arc::new(StreamView {
            id: StreamId(1),
            tenant: TenantId(1),
            name,
            fields: Vec::new(),
            policy: StreamPolicy::default(),
            shard: None,
        });
        let keys = Arc::new(PseudonymKeys::from_secret(&[7; 32], "tokyo".parse().unwrap()));
        let classifier = Classifier::new(keys, Defaults::new("JP", []), RuleFiles::default());
        let clean = |text: &str| classifier.pseudonymise("", text, &stream).unwrap_or_else(|| text.to_owned());
        let event = |id: &str, message: &str, user: &str| json!({"_id": id, "message": clean(message), "user": clean(user), "host": "h"});
        let events = [
            event("a", "login of alice@example.com failed", "nobody"),
            event("b", "login of bob@example.com failed", ALICE),
            event("c", "alice asks for an example of email", "email"),
            event("d", "peer 10.1.2.3 said 4111 1111 1111 1111", "‹Zitat›"),
            json!({"_id": "e", "message": "broken", "exception": clean("no mail to alice@example.com")}),
            json!({"_id": "f", "message": "long", "note": clean(&format!("{} {ALICE}", "x".repeat(300)))}),
        ];
        let records = events.into_iter().map(|event| record(1, None, event)).collect();
        let segments = vec![segment(&Layout::new(), durable(1, 1, records))];
        Self { classifier, stream, segments, engine: Engine::new().unwrap() }
    }

    fn token(&self, text: &str) -> String {
        self.classifier.pseudonymise("", text, &self.stream).unwrap()
    }

    fn run(&self, filter: Filter, rows: Rows) -> Result<BTreeSet<String>, QueryError> {
        let streams = [Arc::clone(&self.stream)];
        let filter = Literals { classifier: &self.classifier, streams: &streams, rows }.in_filter(filter)?;
        let hits = self.engine.search(&request(filter), self.segments.clone(), rows)?;
        Ok(hits.rows()?.into_iter().map(|row| row.id).collect())
    }

    fn dsl(&self, query: &Json, rows: Rows) -> Result<BTreeSet<String>, QueryError> {
        self.run(elastic::filter(query, &DateContext::utc(now())).unwrap(), rows)
    }

    fn typed(&self, query: &str, rows: Rows) -> Result<BTreeSet<String>, QueryError> {
        self.run(human::filter(query, &DateContext::utc(now())).unwrap(), rows)
    }
}

fn ids(text: &str) -> BTreeSet<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn a_token_is_found_whole_with_and_without_its_quotation_marks() {
    let place = Place::new();
    let token = place.token(ALICE);
    let bare = token.trim_matches(['‹', '›']);
    for rows in [Rows::Redacted, Rows::Full] {
        for form in [token.as_str(), bare] {
            for (query, found) in [
                (form.to_owned(), "a e f"),
                (format!("\"{form}\""), "a e f"),
                (format!("message:{form}"), "a"),
                (format!("user:\"{form}\""), "b"),
                (format!("user:{form}"), "b"),
                (format!("\"login of {form} failed\""), "a"),
                (format!("login -{form}"), "b"),
                (format!("{form}*"), "a e f"),
            ] {
                assert!(place.typed(&query, rows).unwrap() == ids(found), "{query} as {rows:?}");
            }
            for (query, found) in [
                (json!({"match": {"message": form}}), "a"),
                (json!({"match": {"message": {"query": format!("login {form}"), "operator": "and"}}}), "a"),
                (json!({"match_phrase": {"message": format!("of {form} failed")}}), "a"),
                (json!({"term": {"message": form}}), "a"),
                (json!({"term": {"user": form}}), "b"),
                (json!({"terms": {"user": [form, "nobody"]}}), "a b"),
                (json!({"query_string": {"query": format!("\"{form}\"")}}), "a e f"),
                (json!({"bool": {"filter": [{"match_phrase": {"exception": form}}]}}), "e f"),
            ] {
                assert!(place.dsl(&query, rows).unwrap() == ids(found), "{query} as {rows:?}");
            }
        }
    }
}

#[test]
fn neither_class_nor_letters_of_a_token_are_words_or_beginnings() {
    let place = Place::new();
    let token = place.token(ALICE);
    let letters = token.split(':').nth(1).unwrap().trim_end_matches('›').to_owned();
    assert_eq!(place.typed("email", Rows::Redacted).unwrap(), ids("c"));
    assert_eq!(place.typed("ema*", Rows::Redacted).unwrap(), ids("c"));
    assert_eq!(place.typed("user:ema*", Rows::Redacted).unwrap(), ids("c"));
    assert_eq!(place.typed("‹ema*", Rows::Redacted).unwrap(), ids("c"), "of words, the sign is no part");
    for query in [
        letters.clone(),
        format!("{}*", &letters[..4]),
        format!("user:{letters}"),
        format!("user:‹email:{}*", &letters[..3]),
        "user:‹ema*".to_owned(),
        "ip".to_owned(),
        "card".to_owned(),
    ] {
        assert_eq!(place.typed(&query, Rows::Redacted).unwrap(), ids(""), "{query}");
    }
    assert_eq!(place.typed("user:‹Zit*", Rows::Redacted).unwrap(), ids("d"), "quotation marks alone make no token");
    assert_eq!(place.dsl(&json!({"prefix": {"user": "‹"}}), Rows::Redacted).unwrap(), ids("d"));
    assert_eq!(place.dsl(&json!({"match": {"user": "email"}}), Rows::Redacted).unwrap(), ids("c"));
    assert_eq!(place.dsl(&json!({"match_phrase_prefix": {"message": "of e"}}), Rows::Redacted).unwrap(), ids("c"));
}

#[test]
fn a_key_that_may_searches_by_the_value_itself() {
    let place = Place::new();
    for (query, found) in [
        (ALICE.to_owned(), "a e f"),
        ("Alice@Example.COM".to_owned(), "a e f"),
        (format!("\"{ALICE}\""), "a e f"),
        (format!("\"login of {ALICE} failed\""), "a"),
        (format!("user:{ALICE}"), "b"),
        (format!("user:\"{ALICE}\""), "b"),
        (format!("user:({ALICE} OR nobody)"), "a b"),
        (format!("login -{ALICE}"), "b"),
        (format!("{ALICE}*"), "a e f"),
        ("10.1.2.3".to_owned(), "d"),
        ("\"4111-1111-1111-1111\"".to_owned(), "d"),
        ("nobody@example.com".to_owned(), ""),
    ] {
        assert_eq!(place.typed(&query, Rows::Full).unwrap(), ids(found), "{query}");
    }
    for (query, found) in [
        (json!({"match": {"message": ALICE}}), "a"),
        (json!({"match": {"message": {"query": format!("{ALICE} login"), "operator": "and"}}}), "a"),
        (json!({"match_phrase": {"message": format!("of {ALICE}")}}), "a"),
        (json!({"match_phrase_prefix": {"message": format!("of {ALICE} fai")}}), "a"),
        (json!({"term": {"message": ALICE}}), "a"),
        (json!({"term": {"user.keyword": ALICE}}), "b"),
        (json!({"terms": {"user": ["nobody", ALICE]}}), "a b"),
        (json!({"multi_match": {"query": ALICE, "fields": ["message", "user"]}}), "a b"),
        (json!({"bool": {"must_not": {"match": {"message": ALICE}}, "filter": {"match": {"message": "login"}}}}), "b"),
        (json!({"match": {"message": 4_111_111_111_111_111_u64}}), "d"),
    ] {
        assert_eq!(place.dsl(&query, Rows::Full).unwrap(), ids(found), "{query}");
    }
}

#[test]
fn a_key_that_may_not_is_refused_whether_the_value_is_there_or_not() {
    let place = Place::new();
    for rows in [Rows::Redacted, Rows::None] {
        for address in [ALICE, "nobody-at-all@example.org"] {
            for query in [
                address.to_owned(),
                format!("\"{address}\""),
                format!("user:{address}"),
                format!("{address}*"),
                format!("-{address}"),
                format!("level:error OR (x {address})"),
                format!("{}*", address.split_once("example").unwrap().0),
                format!("user:{}*", address.split_once(".org").map_or("alice@exam", |(begin, _)| begin)),
                format!("user:[{address} TO {address}]"),
                format!("_exists_:{address}"),
                address.replace('@', "%40"),
                address.replace('@', "＠"),
            ] {
                assert!(matches!(place.typed(&query, rows), Err(QueryError::Personal)), "{query} as {rows:?}");
            }
            for query in [
                json!({"match": {"message": address}}),
                json!({"match_phrase": {"message": format!("of {address}")}}),
                json!({"term": {"user": address}}),
                json!({"terms": {"user": ["x", address]}}),
                json!({"prefix": {"user": address}}),
                json!({"wildcard": {"user": format!("{}*", address.split_once("example").unwrap().0)}}),
                json!({"range": {"user": {"gte": address, "lte": address}}}),
                json!({"ids": {"values": [address]}}),
                json!({"bool": {"must_not": [{"match": {"message": address}}]}}),
                json!({"exists": {"field": address}}),
            ] {
                assert!(matches!(place.dsl(&query, rows), Err(QueryError::Personal)), "{query} as {rows:?}");
            }
        }
        assert!(place.typed("\"4111 1111 1111 1111\"", rows).is_err());
        for harmless in ["alice", "example*", "Object@1f2e3d", "retry @ 10", "timeout", "user@"] {
            assert!(place.typed(harmless, rows).is_ok(), "{harmless}");
        }
    }
}
