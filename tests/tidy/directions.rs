//! Law: imports point upstream. A stage of the node may name the stages before it and the modules beside the line.
//!
//! Checked against every path that begins at the crate root, in `use` and elsewhere. What ships is judged; a test may take a
//! specimen from the stage that makes one.

use super::source::{Tree, words};

/// The line, in the order a record and then an answer takes. `erase` is a workflow over wal to tier.
const LINE: [&str; 13] = [
    "receive",
    "admit",
    "parse",
    "classify",
    "wal",
    "index",
    "segment",
    "tier",
    "erase",
    "query",
    "aggregate",
    "federate",
    "present",
];

/// Beside the line, usable by all.
const BESIDE: [&str; 14] = [
    "attack",
    "audit",
    "bugs",
    "clock",
    "config",
    "errors",
    "fuzz",
    "keys",
    "limits",
    "ownership",
    "policy",
    "store",
    "tasks",
    "telemetry",
];

/// The files and directories that wire everything together.
const WIRING: [&str; 5] = ["main", "lib", "node", "commands", "dev"];

/// What the ledger may lean on: every stage writes to it, so it must know none of them.
const UNDER_AUDIT: [&str; 7] = ["audit", "clock", "errors", "keys", "limits", "store", "tasks"];

/// What an erasure works on.
const UNDER_ERASE: [&str; 5] = ["wal", "index", "segment", "tier", "erase"];

/// Whether module `from` may name module `to`; `None` when `to` is no module this law knows.
fn may_name(from: &str, to: &str) -> Option<bool> {
    let is_wiring = |name: &str| WIRING.contains(&name);
    if !LINE.contains(&to) && !BESIDE.contains(&to) && !is_wiring(to) {
        return None;
    }
    if from == to || is_wiring(from) {
        return Some(true);
    }
    if is_wiring(to) {
        return Some(false);
    }
    Some(match from {
        "audit" => UNDER_AUDIT.contains(&to),
        "erase" => UNDER_ERASE.contains(&to) || BESIDE.contains(&to),
        _ if BESIDE.contains(&to) => true,
        _ if to == "erase" => from == "present",
        _ => match (place(from), place(to)) {
            (Some(from), Some(to)) => to <= from,
            // A module beside the line knows no stage.
            _ => false,
        },
    })
}

fn place(module: &str) -> Option<usize> {
    LINE.iter().position(|stage| *stage == module)
}

/// The module of the node a file belongs to, if it is one of the node's.
fn module(path: &str) -> Option<&str> {
    let below = path.strip_prefix("node/src/")?;
    Some(below.split('/').next()?.trim_end_matches(".rs"))
}

/// Breaches of the law in a tree.
pub(crate) fn check(tree: &Tree) -> Vec<String> {
    let mut breaches = Vec::new();
    for source in tree.rust() {
        let Some(from) = module(&source.path) else { continue };
        if !LINE.contains(&from) && !BESIDE.contains(&from) && !WIRING.contains(&from) {
            breaches.push(format!(
                "{}: module `{from}` has no place in the table of tests/tidy/directions.rs",
                source.path
            ));
            continue;
        }
        for (at, to) in named_modules(&source.path, &source.product()) {
            if may_name(from, &to) == Some(false) {
                breaches.push(format!(
                    "{}:{}: `{from}` names `{to}`, which is not upstream of it",
                    source.path,
                    source.line(at)
                ));
            }
        }
    }
    breaches
}

/// First parts of all paths that begin at the crate root: `crate::x`, `crate::{x, y::z}`, and `super::` chains that climb to it.
fn named_modules(path: &str, code: &str) -> Vec<(usize, String)> {
    let below = path.strip_prefix("node/src/").unwrap_or_default();
    let parts = below.split('/').count();
    let depth = if below.ends_with("mod.rs") { parts - 1 } else { parts };
    let mut found = Vec::new();
    let mut climbed = 0;
    for (at, word) in words(code) {
        let rest = &code[at + word.len()..];
        climbed = match word {
            "super" => climbed + 1,
            "self" => climbed,
            _ => 0,
        };
        let at_root = word == "crate" || (word == "super" && climbed >= depth);
        if let (true, Some(rest)) = (at_root, rest.trim_start().strip_prefix("::")) {
            heads(rest.trim_start()).into_iter().for_each(|head| found.push((at, head)));
        }
    }
    found
}

/// The first names of a path or of a braced group of paths.
fn heads(rest: &str) -> Vec<String> {
    let head = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = rest.strip_prefix('{') else { return vec![head(rest)] };
    let mut depth = 1usize;
    let mut parts = vec![String::new()];
    for character in group.chars() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => parts.push(String::new()),
            _ => {}
        }
        if depth == 0 {
            break;
        }
        if let (1, false, Some(part)) = (depth, character == ',', parts.last_mut()) {
            part.push(character);
        }
    }
    parts.iter().map(|part| head(part.trim())).collect()
}

/// Law: only `present/admin`, `ownership` and `erase` propose to the metadata group; wiring may hand the means around.
pub(crate) fn check_proposers(tree: &Tree) -> Vec<String> {
    const MAY: [&str; 3] = ["node/src/present/admin", "node/src/ownership", "node/src/erase"];
    let mut breaches = Vec::new();
    for source in tree.rust() {
        let is_wiring = module(&source.path).is_none_or(|module| WIRING.contains(&module));
        if is_wiring || MAY.iter().any(|prefix| source.path.starts_with(prefix)) {
            continue;
        }
        let product = source.product();
        for (at, word) in words(&product) {
            let is_call = product[at + word.len()..].trim_start().starts_with('(');
            if is_call && word == "propose" && !product[..at].trim_end().ends_with("fn") {
                breaches.push(format!("{}:{}: proposes to the metadata group", source.path, source.line(at)));
            }
        }
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn breaches(path: &str, text: &str) -> usize {
        check(&Tree::of(&[(path, text)])).len()
    }

    #[test]
    fn a_stage_may_name_what_is_upstream_and_beside() {
        assert_eq!(
            breaches("node/src/wal/log.rs", "use crate::classify::Classified;\nuse crate::{limits, parse::Record};"),
            0
        );
        assert_eq!(breaches("node/src/present/api.rs", "use crate::erase::Order; use crate::receive::Arrival;"), 0);
        assert_eq!(breaches("node/src/node.rs", "use crate::{receive, present, tier};"), 0);
        assert_eq!(breaches("node/src/commands/mod.rs", "use crate::node; use crate::present::X;"), 0);
    }

    #[test]
    fn a_stage_that_names_its_consumer_is_reported() {
        assert_eq!(breaches("node/src/wal/log.rs", "use crate::index::Buffer;"), 1);
        assert_eq!(breaches("node/src/wal/log.rs", "fn f(x: crate::tier::Plan) {}"), 1);
        assert_eq!(breaches("node/src/receive/mod.rs", "use crate::{limits, present::{A, B}, query::{self, C}};"), 2);
        assert_eq!(breaches("node/src/query/mod.rs", "use crate::erase::Order;"), 1);
        assert_eq!(breaches("node/src/erase/mod.rs", "use crate::parse::Record;"), 1);
        assert_eq!(breaches("node/src/erase/mod.rs", "use crate::segment::Segment; use crate::keys::Ring;"), 0);
    }

    #[test]
    fn a_climb_over_super_is_the_same_breach() {
        assert_eq!(breaches("node/src/wal/log.rs", "use super::super::index::Buffer;"), 1);
        assert_eq!(breaches("node/src/wal/mod.rs", "use super::tier::Plan;"), 1);
        assert_eq!(
            breaches("node/src/wal/log.rs", "use super::index_of;\nuse super::tier;"),
            0,
            "a child of its own stage"
        );
    }

    #[test]
    fn a_test_may_take_a_specimen_and_what_ships_beside_it_may_not() {
        let test = "#[cfg(test)]\nmod tests { use crate::segment::specimen; }\n";
        assert_eq!(breaches("node/src/index/builder.rs", test), 0);
        assert_eq!(breaches("node/src/index/builder.rs", &format!("{test}use crate::segment::Segment;")), 1);
    }

    #[test]
    fn the_ledger_knows_no_stage_and_no_policy() {
        assert_eq!(breaches("node/src/audit/mod.rs", "use crate::{clock, keys, store, errors, limits, tasks};"), 0);
        assert_eq!(breaches("node/src/audit/mod.rs", "use crate::policy::Snapshot;"), 1);
        assert_eq!(breaches("node/src/audit/mod.rs", "use crate::query::Hits;"), 1);
    }

    #[test]
    fn a_module_beside_the_line_knows_no_stage() {
        assert_eq!(breaches("node/src/policy/mod.rs", "use crate::present::X;"), 1);
        assert_eq!(breaches("node/src/store/mod.rs", "use crate::node;"), 1);
        assert_eq!(breaches("node/src/util/mod.rs", ""), 1, "a module without a place");
    }

    #[test]
    fn text_in_comments_and_literals_is_no_import() {
        assert_eq!(breaches("node/src/wal/log.rs", "// crate::tier\nconst A: &str = \"crate::tier\";"), 0);
    }

    #[test]
    fn a_stage_that_proposes_is_reported() {
        let bad = Tree::of(&[("node/src/wal/log.rs", "async fn f(m: &M) { m.propose(c).await; }")]);
        assert_eq!(check_proposers(&bad).len(), 1);
        let good = Tree::of(&[("node/src/present/admin/streams.rs", "async fn f(m: &M) { m.propose(c).await; }")]);
        assert_eq!(check_proposers(&good).len(), 0);
    }
}
