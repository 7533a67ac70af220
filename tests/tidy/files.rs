//! Laws: every source opens by saying what it is, and every source is part of a program.

use std::collections::BTreeSet;

use super::source::{Source, Tree, closing, words};

/// Sources that are compiled by name, not by a `mod`: programs that must not compile.
const COMPILED_BY_NAME: [&str; 1] = ["proto/tests/fail/"];

/// Sources that do not open with `//!`, or whose opening says nothing.
pub(crate) fn check_openings(tree: &Tree) -> Vec<String> {
    let mut breaches = Vec::new();
    for (path, text) in tree.ending(".rs") {
        let first = text.lines().next().unwrap_or_default();
        let said = first.strip_prefix("//!").map(str::trim);
        match said {
            None => breaches.push(format!("{path}: does not open with `//!`")),
            Some(words) if words.len() < 12 || words.starts_with("Placeholder") => {
                breaches.push(format!("{path}: opens with `//! {words}`, which says nothing"));
            }
            Some(_) => {}
        }
    }
    breaches
}

/// Sources no crate root reaches.
pub(crate) fn check_dead(tree: &Tree) -> Vec<String> {
    let mut alive = BTreeSet::new();
    let mut open: Vec<String> = roots(tree);
    while let Some(path) = open.pop() {
        let Some(text) = tree.text(&path) else { continue };
        if alive.insert(path.clone()) {
            open.extend(children(tree, &Source::new(&path, text)));
        }
    }
    tree.ending(".rs")
        .map(|(path, _)| path)
        .filter(|path| !alive.contains(*path) && !COMPILED_BY_NAME.iter().any(|prefix| path.starts_with(prefix)))
        .map(|path| format!("{path}: no `mod` leads to it"))
        .collect()
}

/// The files a compiler starts from: the usual ones, and those a manifest names by `path`.
fn roots(tree: &Tree) -> Vec<String> {
    let mut roots = Vec::new();
    for (manifest, text) in tree.ending("Cargo.toml") {
        let package = manifest.trim_end_matches("Cargo.toml");
        for usual in ["src/lib.rs", "src/main.rs", "build.rs"] {
            roots.push(format!("{package}{usual}"));
        }
        for line in text.lines().filter_map(|line| line.strip_prefix("path = \"")) {
            roots.push(format!("{package}{}", line.trim_end_matches('"')));
        }
        let has_own_tests = text.contains("autotests = false");
        for directory in ["tests/", "benches/", "examples/", "fuzz/fuzz_targets/"] {
            if package.is_empty() || (directory == "tests/" && has_own_tests) {
                continue;
            }
            let below = format!("{package}{directory}");
            let is_target = |path: &str| {
                path.strip_prefix(&below).is_some_and(|name| !name.contains('/') || name.ends_with("/main.rs"))
            };
            roots.extend(tree.ending(".rs").filter(|(path, _)| is_target(path)).map(|(path, _)| path.to_owned()));
        }
    }
    roots
}

/// The files that the `mod` declarations of a source name.
fn children(tree: &Tree, source: &Source) -> Vec<String> {
    let (directory, name) = source.path.rsplit_once('/').unwrap_or(("", source.path.as_str()));
    let stem = name.trim_end_matches(".rs");
    let is_root = roots(tree).contains(&source.path);
    let base = if is_root || stem == "mod" { directory.to_owned() } else { format!("{directory}/{stem}") };
    let mut found = Vec::new();
    let mut inline: Vec<(usize, String)> = Vec::new();
    for (at, word) in words(&source.code) {
        inline.retain(|(end, _)| *end > at);
        if word != "mod" {
            continue;
        }
        let rest = source.code[at + 3..].trim_start();
        let child: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let after = rest[child.len()..].trim_start();
        if after.starts_with('{') {
            let open = source.code.len() - after.len();
            inline.push((closing(&source.code, open), child));
        } else if after.starts_with(';') && !child.is_empty() {
            if let Some(path) = declared_path(source, at) {
                found.push(format!("{directory}/{path}"));
                continue;
            }
            let nested: String = inline.iter().map(|(_, name)| format!("{name}/")).collect();
            found.push(format!("{base}/{nested}{child}.rs"));
            found.push(format!("{base}/{nested}{child}/mod.rs"));
        }
    }
    found
}

/// The `#[path = "…"]` in front of a `mod`, if there is one on the line before or on the same line.
fn declared_path(source: &Source, at: usize) -> Option<String> {
    let from =
        source.text[..at].rfind('\n').map_or(0, |newline| source.text[..newline].rfind('\n').map_or(0, |n| n + 1));
    let text = &source.text[from..at];
    let value = text.split_once("#[path = \"")?.1;
    Some(value.split_once('"')?.0.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_an_opening_is_reported() {
        let tree = Tree::of(&[
            ("node/src/a.rs", "use std::io;\n//! late"),
            ("node/src/b.rs", "//! Placeholder for what comes later."),
            ("node/src/c.rs", "//! Stuff."),
            ("node/src/d.rs", "//! What a line becomes after parsing."),
            ("node/src/e.rs", ""),
        ]);
        assert_eq!(check_openings(&tree).len(), 4);
    }

    #[test]
    fn a_file_no_module_names_is_reported() {
        let tree = Tree::of(&[
            ("node/Cargo.toml", ""),
            ("node/src/lib.rs", "mod a; pub(crate) mod b; // mod dead;"),
            ("node/src/a.rs", "mod inner; mod group { mod deep; }"),
            ("node/src/a/inner.rs", ""),
            ("node/src/a/group/deep.rs", ""),
            ("node/src/b/mod.rs", "#[path = \"odd.rs\"]\nmod even;"),
            ("node/src/b/odd.rs", ""),
            ("node/src/dead.rs", ""),
            ("node/src/b/stray.rs", ""),
            ("node/benches/bench.rs", ""),
            ("node/tests/it/main.rs", "mod part;"),
            ("node/tests/it/part.rs", ""),
        ]);
        let dead = check_dead(&tree);
        assert_eq!(dead, ["node/src/b/stray.rs: no `mod` leads to it", "node/src/dead.rs: no `mod` leads to it"]);
    }

    #[test]
    fn a_test_that_no_manifest_names_is_reported_where_targets_are_declared() {
        let tree = Tree::of(&[
            ("tests/Cargo.toml", "autotests = false\n[[test]]\nname = \"a\"\npath = \"a.rs\""),
            ("tests/a.rs", "mod a { mod law; }"),
            ("tests/a/law.rs", ""),
            ("tests/b.rs", ""),
        ]);
        assert_eq!(check_dead(&tree), ["tests/b.rs: no `mod` leads to it"]);
    }
}
