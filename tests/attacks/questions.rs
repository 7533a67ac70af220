//! A question is a crossing too: what names a person, or a field nobody allowed, leaves the asking region by no door.

use domicile_tests::cluster::region::Region;
use serde_json::{Value, json};

use crate::small::{self, MAIL, WORD, questions_sent, refusals};
use crate::world::GUARDED;

/// Literals that name somebody, by what they are.
const PERSONAL: [&str; 6] = [
    MAIL,
    "4539578763621486",
    "+81 90 1234 5678",
    "\u{2039}email:mzxw6ytboi2dgnrtgy4tembvgq\u{203a}",
    "mzxw6ytboi2dgnrtgy4tembvgq",
    "\u{ff11}\u{ff12}\u{ff13}\u{ff14}\u{ff15}\u{ff16}\u{ff17}\u{ff18}\u{ff19}\u{ff10}\u{ff11}\u{ff18}",
];

#[test]
fn a_literal_that_names_somebody_leaves_by_no_door_and_the_asker_is_told_what_to_do() {
    let cluster = small::start();
    let tokyo = cluster.region("tokyo");
    let before = questions_sent(&tokyo);
    for literal in PERSONAL {
        for (door, said) in doors(&tokyo, literal) {
            assert!(said.contains("ask in th"), "{door} says nothing useful to {literal:?}: {said}");
        }
        assert_eq!(questions_sent(&tokyo), before, "a question with {literal:?} left");
    }
    // The command asks every region's own door for rows, and one of them for the sum of all.
    let sent = || cluster.regions().iter().map(questions_sent).sum::<usize>();
    let before_command = sent();
    cluster.command(&["search", MAIL, "--stream", GUARDED]).unwrap();
    assert_eq!(sent(), before_command, "the command sent a question");
    assert!(refusals(&tokyo) >= PERSONAL.len() * 6, "every refusal lies in the ledger");
    doors(&tokyo, "timeout").into_iter().for_each(|(door, said)| {
        assert!(!said.contains("residency_policy\",\"reason\":\"a literal"), "{door} refuses an ordinary word: {said}");
    });
    assert!(questions_sent(&tokyo) > before, "an ordinary word leaves: the test is not blind");
}

/// Every door by which a text can be asked for abroad, and what it says.
fn doors(asker: &Region, literal: &str) -> Vec<(&'static str, String)> {
    let matching = json!({"size": 0, "query": {"match_phrase": {"message": literal}}});
    let nested = json!({"size": 0, "query": {"bool": {"must_not": [{"bool": {"must": [{"match_phrase": {"message": literal}}]}}]}}});
    let index = format!("frankfurt:{GUARDED}");
    let es = |path: &str, body: &Value| asker.es("search", "POST", &format!("/{index}/{path}"), body).unwrap().text();
    let many = format!("{{\"index\":\"{index}\"}}\n{matching}\n");
    let quoted = format!("\"{literal}\"");
    let native = |more: Value| {
        let mut body = json!({"stream": GUARDED, "regions": ["frankfurt"]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        asker.api("search", "POST", "/api/v1/search", &body).unwrap().text()
    };
    vec![
        ("_search", es("_search", &matching)),
        ("_search, turned twice", es("_search", &nested)),
        ("_search, by q", es(&format!("_search?q={}", encoded(&quoted)), &Value::Null)),
        ("_count", es("_count", &json!({"query": {"match_phrase": {"message": literal}}}))),
        ("_msearch", asker.es_lines("search", "/_msearch", &many).to_string()),
        ("native query", native(json!({"query": quoted, "ask": "count"}))),
        (
            "native filter",
            native(json!({"filter": {"match_phrase": {"message": literal}}, "ask": {"histogram": 60}, "last": "1d"})),
        ),
    ]
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

#[test]
fn a_field_nobody_allowed_is_named_to_no_other_region() {
    let cluster = small::start();
    let tokyo = cluster.region("tokyo");
    let (before, refused) = (questions_sent(&tokyo), refusals(&tokyo));
    let index = format!("/frankfurt:{GUARDED}/_search");
    let bodies = [
        json!({"size": 0, "query": {"term": {"user": "u1"}}}),
        json!({"size": 0, "query": {"match": {"attributes.note": WORD}}}),
        json!({"size": 0, "query": {"bool": {"must_not": [{"term": {"host": "a"}}]}}}),
        json!({"size": 0, "query": {"term": {"service": "neverapproved"}}}),
        json!({"size": 0, "aggs": {"x": {"terms": {"field": "user"}}}}),
        json!({"size": 0, "aggs": {"x": {"terms": {"field": "attributes.note"}}}}),
    ];
    for body in &bodies {
        let answer = tokyo.es("search", "POST", &index, body).unwrap();
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
        assert!(answer.text().contains("ask in th"), "{body}: {}", answer.text());
        let native =
            json!({"stream": GUARDED, "regions": ["frankfurt"], "filter": body["query"].clone(), "ask": "count"});
        if body.get("query").is_some() {
            assert_eq!(tokyo.api("search", "POST", "/api/v1/search", &native).unwrap().status, 400, "{native}");
        }
    }
    assert_eq!(questions_sent(&tokyo), before, "a question left");
    assert!(refusals(&tokyo) >= refused + 4, "what could not be said lies in the ledger");
}
