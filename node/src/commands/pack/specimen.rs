//! A small report, for the tests of those who give it a form.

use super::map::{Map, Place, Route};
use super::paper::{Paper, Section, Table};

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
