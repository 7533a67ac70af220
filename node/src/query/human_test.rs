//! What people type, and what it means.

use proptest::prelude::*;

use std::ops::Bound;

use domicile_proto::ids::{TimeRange, Timestamp};

use super::dates::DateContext;
use super::filter::Joined;
use super::human::filter;
use super::{Filter, QueryError, Value};

fn dates() -> DateContext {
    DateContext::utc(Timestamp(1_772_600_767_500_000))
}

fn read(query: &str) -> Filter {
    filter(query, &dates()).unwrap_or_else(|error| panic!("{query}: {error}"))
}

fn word(text: &str) -> Filter {
    let phrase = |field: &str| Filter::Phrase { field: field.to_owned(), text: text.to_owned(), open: false };
    Filter::any(vec![phrase("message"), phrase("exception")])
}

fn prefix(field: &str, text: &str) -> Filter {
    Filter::prefix(field, text).unwrap_or_else(|error| panic!("{error}"))
}

fn check(query: &str, expected: &Filter) {
    assert!(read(query) == *expected, "{query}");
}

#[test]
fn words_fields_phrases_and_exclusions_are_joined() {
    let joined = Joined {
        must: vec![Filter::term("level", "ERROR"), word("checkout"), word("time out")],
        must_not: vec![word("debug")],
        ..Joined::default()
    };
    check("level:ERROR checkout \"time out\" -debug", &Filter::Bool(Box::new(joined)));
    check("", &Filter::All);
    check("  \t", &Filter::All);
    check("*", &Filter::All);
    check("-a", &word("a").negated());
    check("NOT a", &word("a").negated());
    check("NOT -a", &word("a"));
    check("a AND b", &Filter::every(vec![word("a"), word("b")]));
    check("a && NOT b", &Filter::every(vec![word("a"), word("b").negated()]));
    check("a OR b c", &Filter::any(vec![word("a"), Filter::every(vec![word("b"), word("c")])]));
    check("(a OR b) c", &Filter::every(vec![Filter::any(vec![word("a"), word("b")]), word("c")]));
    check("ORDER", &word("ORDER"));
    check("http://x.y/z", &word("http://x.y/z"));
    check("10.0.0.1:80", &word("10.0.0.1:80"));
    check("a\\ b", &word("a b"));
    check("サーバー", &word("サーバー"));
}

#[test]
fn fields_take_values_of_every_form() {
    let levels = Filter::any(vec![Filter::term("level", "WARN"), Filter::term("level", "ERROR")]);
    check("level:(WARN OR ERROR)", &levels);
    check("service:check*", &prefix("service", "check"));
    check("user:*", &Filter::Exists { field: "user".to_owned() });
    check("_exists_:user", &Filter::Exists { field: "user".to_owned() });
    let range = |from, to| Filter::Range { field: "ms".to_owned(), from, to };
    check("ms:>=10", &range(Bound::Included(Value::Whole(10)), Bound::Unbounded));
    check("ms:<1.5", &range(Bound::Unbounded, Bound::Excluded(Value::Number(1.5))));
    check("ms:[1 TO b}", &range(Bound::Included(Value::Whole(1)), Bound::Excluded(Value::Text("b".to_owned()))));
    check("ms:{* TO 5]", &range(Bound::Unbounded, Bound::Included(Value::Whole(5))));
    let day = TimeRange { from: Timestamp(0), to: Timestamp(86_400_000_000) };
    check("time:1970-01-01", &Filter::Time(day));
    check("@timestamp:[1970-01-01 TO \"1970-01-01\"]", &Filter::Time(day));
}

#[test]
fn errors_point_at_the_place() {
    for (query, position) in [
        ("level:", 7),
        ("a (b", 3),
        ("a) b", 2),
        ("a \"b", 3),
        ("a OR", 5),
        ("ms:[1 2]", 7),
        ("ms:[1 TO 2", 4),
        ("ms:>", 5),
        ("time:never", 6),
        ("()", 2),
        ("a AND", 6),
    ] {
        match filter(query, &dates()) {
            Err(QueryError::Syntax { position: found, pointer, .. }) => {
                assert_eq!(found, position, "{query}\n{pointer}");
                let caret = pointer.lines().nth(1).map_or(0, |line| line.chars().count());
                assert_eq!(caret, position, "{pointer}");
            }
            Err(other) => panic!("{query}: {other}"),
            Ok(_) => panic!("{query} should not be read"),
        }
    }
    assert!(matches!(filter(&"(".repeat(500), &dates()), Err(QueryError::TooDeep)));
    assert!(matches!(filter(&"a ".repeat(2_000), &dates()), Err(QueryError::TooManyClauses)));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(query in "[a-c:\"()\\[\\]{}*<>=!|&+ \\\\-]{0,24}|\\PC{0,24}") {
        let _ = filter(&query, &dates());
    }
}
