//! A small report, for the tests of those who give it a form; and a node, for those who compose and check one.

use domicile_proto::ids::{TenantId, Timestamp};

use super::compose::Home;
use super::map::{Map, Place, Route};
use super::paper::{Paper, Section, Table};
use super::tally::{Period, Tally};
use crate::present::auditor::Statement;

const HOUR: i64 = 3_600_000_000;

/// The first node of a region, with one stream and one segment; its ledger is empty.
pub(super) fn home(region: &str, law: &str) -> Home {
    let segment = serde_json::json!({"stream": "shop", "id": "a", "records": 7, "bytes": 9, "oldest": 10 * HOUR,
        "newest": 20 * HOUR, "received_until": 21 * HOUR, "is_on_disk": true});
    let stream = serde_json::json!({"id": 1, "name": "shop", "personal": "subject uid", "k": 5, "fields": [], "group_fields": [],
        "numbers": [], "has_text_questions": false, "grid_s": 60, "close_after_s": 60, "detectors": {"email": "pseudonymise"},
        "retention_days": 30, "records": 7, "oldest_received_until": null});
    let statement = Statement {
        region: region.to_owned(),
        node: 1,
        laws: vec![law.to_owned()],
        streams: vec![serde_json::from_value(stream).expect("a stream")],
        segments: vec![serde_json::from_value(segment).expect("a segment")],
        ..Statement::default()
    };
    let window = Period { from: Timestamp(0), to: Timestamp(100 * HOUR) };
    Home {
        place: region.to_owned(),
        statement,
        tally: Tally::new(window, TenantId(1)),
        origin: format!("ledger.domicile/{region}/1"),
        size: 0,
        root: String::new(),
        withheld: 0,
        destroyed: 0,
        checkpoints: 0,
        officers: Vec::new(),
        findings: Vec::new(),
        cosigned: 0,
        cosigners: Vec::new(),
        cosigner_keys: Vec::new(),
    }
}

pub(super) fn paper() -> Paper {
    let place = |name: &str| Place { name: name.to_owned(), about: vec!["JP".to_owned()] };
    let map = Map {
        words: "what flows where".to_owned(),
        places: vec![place("tokyo"), place("frankfurt")],
        routes: vec![
            Route { from: 0, to: 1, number: 1, is_open: true },
            Route { from: 1, to: 0, number: 2, is_open: false },
        ],
    };
    let row = ["tokyo".to_owned(), "12".to_owned(), "ATTENTION: look".to_owned()];
    let table = Table::new("one", "A table", &["Region", "Count", "State"], "none").rows([row]);
    let none = Table::new("two", "An empty table", &["Region"], "there is none.");
    Paper {
        title: "Audit pack".to_owned(),
        lead: vec!["In short.".to_owned()],
        sections: vec![
            Section::new("first", "The first part").say("A sentence – with a dash.").show(map).table(table),
            Section::new("second", "The second part").table(none),
        ],
    }
}
