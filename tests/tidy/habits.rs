//! Laws: tasks and time come from one place, nothing unfinished is shipped, and every exception from a lint has a reason.

use super::source::{Source, Tree, words};

/// What only one file of each crate may do, as written in code, and that file in the node.
const SINGLE: [(&str, &str); 3] = [
    ("tokio::spawn", "node/src/tasks.rs"),
    ("tokio::task::spawn", "node/src/tasks.rs"),
    ("SystemTime", "node/src/clock.rs"),
];

/// Uses outside the one place: in the node its named file, in the libraries at most one file each.
pub(crate) fn check_single_places(tree: &Tree) -> Vec<String> {
    let mut breaches = Vec::new();
    let sources: Vec<(Source, String)> = tree
        .rust()
        .into_iter()
        .map(|source| {
            let product = source.product();
            (source, product)
        })
        .collect();
    for (what, home) in SINGLE {
        for library in ["proto/", "meta/"] {
            let users: Vec<&str> = sources
                .iter()
                .filter(|(source, product)| source.path.starts_with(library) && uses(product, what).next().is_some())
                .map(|(source, _)| source.path.as_str())
                .collect();
            if users.len() > 1 {
                breaches.push(format!("`{what}` is used in {} files of {library}: {}", users.len(), users.join(", ")));
            }
        }
        for (source, product) in
            sources.iter().filter(|(source, _)| source.path.starts_with("node/") && source.path != home)
        {
            for at in uses(product, what) {
                breaches.push(format!("{}:{}: `{what}` belongs in {home}", source.path, source.line(at)));
            }
        }
    }
    breaches
}

fn uses<'a>(product: &'a str, what: &'a str) -> impl Iterator<Item = usize> + 'a {
    product.match_indices(what).map(|(at, _)| at).filter(move |at| {
        let next = product[at + what.len()..].chars().next();
        // `spawn_blocking` and friends are other functions.
        !next.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

/// Macros that stand for code somebody meant to write.
pub(crate) fn check_unfinished(tree: &Tree) -> Vec<String> {
    let mut breaches = Vec::new();
    for source in tree.rust() {
        for (at, word) in words(&source.code) {
            if ["todo", "unimplemented"].contains(&word) && source.code[at + word.len()..].starts_with('!') {
                breaches.push(format!("{}:{}: `{word}!`", source.path, source.line(at)));
            }
        }
    }
    breaches
}

/// `allow` and `expect` attributes without a reason.
pub(crate) fn check_allows(tree: &Tree) -> Vec<String> {
    let mut breaches = Vec::new();
    for source in tree.rust() {
        for (at, word) in words(&source.code) {
            if !["allow", "expect"].contains(&word) {
                continue;
            }
            let is_attribute = source.code[..at].ends_with("#[") || source.code[..at].ends_with("#![");
            let attribute = source.code[at..].split_once(']').map_or("", |(inside, _)| inside);
            if is_attribute && !attribute.contains("reason") {
                breaches.push(format!("{}:{}: `{word}` without a reason", source.path, source.line(at)));
            }
        }
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_or_a_clock_outside_its_place_is_reported() {
        let tree = Tree::of(&[
            ("node/src/tasks.rs", "fn f() { tokio::spawn(x); }"),
            ("node/src/clock.rs", "use std::time::SystemTime;"),
            (
                "node/src/wal/mod.rs",
                "fn f() { tokio::spawn(x); let t = SystemTime::now(); tokio::task::spawn_blocking(y); }",
            ),
            ("node/src/tier/mod.rs", "#[cfg(test)]\nmod tests { fn f() { tokio::spawn(x); } }"),
        ]);
        assert_eq!(check_single_places(&tree).len(), 2);
    }

    #[test]
    fn a_library_has_at_most_one_such_place() {
        let one = [("meta/src/a.rs", "fn f() { tokio::spawn(x); }")];
        let two = [one[0], ("meta/src/b.rs", "fn f() { tokio::spawn(x); }")];
        assert_eq!(check_single_places(&Tree::of(&one)).len(), 0);
        assert_eq!(check_single_places(&Tree::of(&two)).len(), 1);
    }

    #[test]
    fn unfinished_code_is_reported() {
        let tree = Tree::of(&[(
            "meta/src/a.rs",
            "fn f() { todo!() }\nfn g() { unimplemented!(\"x\") }\n// todo!\nfn todo() {}",
        )]);
        assert_eq!(check_unfinished(&tree).len(), 2);
    }

    #[test]
    fn an_exception_without_a_reason_is_reported() {
        let tree = Tree::of(&[
            ("node/src/a.rs", "#[allow(dead_code)]\nfn f() {}\n#![allow(\n  clippy::x,\n  reason = \"y\"\n)]"),
            ("node/src/b.rs", "fn f() { x.expect(\"because\"); }"),
        ]);
        assert_eq!(check_allows(&tree), ["node/src/a.rs:1: `allow` without a reason"]);
    }
}
