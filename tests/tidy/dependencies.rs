//! Law: each big dependency has one kind of user, in the sources and in the manifests.
//!
//! What ships is judged; a test may look with the dependency at what its subject has made.

use super::source::{Tree, words};

/// A dependency as the code names it, the paths that may use it, and the manifests that may declare it.
const OWNERS: [(&str, &[&str], &[&str]); 14] = [
    ("quinn", &["proto/src/link/"], &["proto/Cargo.toml"]),
    ("rustls", &["proto/src/link/"], &["proto/Cargo.toml"]),
    ("tokio_rustls", &["proto/src/link/"], &["proto/Cargo.toml"]),
    ("rcgen", &["proto/src/link/"], &["proto/Cargo.toml"]),
    ("bincode", &["proto/src/codec.rs"], &["proto/Cargo.toml"]),
    ("openraft", &["meta/"], &["meta/Cargo.toml"]),
    ("redb", &["meta/", "node/src/keys/"], &["meta/Cargo.toml", "node/Cargo.toml"]),
    ("aes_gcm_siv", &["node/src/keys/"], &["node/Cargo.toml"]),
    ("cryptoki", &["node/src/keys/"], &["node/Cargo.toml"]),
    ("pdf_writer", &["node/src/commands/pack/"], &["node/Cargo.toml"]),
    ("tantivy", &["node/src/index/", "node/src/segment/", "node/src/query/"], &["node/Cargo.toml"]),
    // A sketch carries values of single records, and merging is all that it is for: none is ours to use. Tantivy brings two.
    ("datasketches", &[], &[]),
    ("sketches_ddsketch", &[], &[]),
    // The fault suite asks the store itself what lies there.
    ("object_store", &["node/src/store/", "tests/jepsen/"], &["node/Cargo.toml", "tests/jepsen/Cargo.toml"]),
];

/// The feature of `proto` with which links run over datagrams of a test, as a manifest names it; its declaration has no quote.
const DOOR: &str = "simulation\"";

/// Uses outside the owner.
pub(crate) fn check_sources(tree: &Tree) -> Vec<String> {
    let mut breaches = Vec::new();
    for source in tree.rust() {
        let code = source.product();
        for (at, word) in words(&code) {
            let Some((_, paths, _)) = OWNERS.iter().find(|(name, ..)| *name == word) else { continue };
            let before = code[..at].trim_end();
            let after = code[at + word.len()..].trim_start();
            let is_import = ["use", "crate", "{", ","].iter().any(|end| before.ends_with(end))
                && [";", ",", "}", "as "].iter().any(|start| after.starts_with(start));
            let begins_path = after.starts_with("::") && !before.ends_with("::");
            let begins_absolute = after.starts_with("::") && before.ends_with("::") && !ends_in_word(before);
            let imports = is_import && line_of(&code, at).trim_start().trim_start_matches("pub ").starts_with("use");
            let uses = begins_path || begins_absolute || imports;
            if uses && !paths.iter().any(|path| source.path.starts_with(path)) {
                breaches.push(format!(
                    "{}:{}: `{word}` is used only in {}",
                    source.path,
                    source.line(at),
                    named(paths)
                ));
            }
        }
    }
    breaches
}

fn named(places: &[&str]) -> String {
    if places.is_empty() { "what others made".to_owned() } else { places.join(", ") }
}

/// Whether the path before a `::` goes on to the left, as in `proto::link::`.
fn ends_in_word(before: &str) -> bool {
    before.trim_end_matches(':').ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '>')
}

fn line_of(code: &str, at: usize) -> &str {
    let from = code[..at].rfind('\n').map_or(0, |newline| newline + 1);
    code[from..].lines().next().unwrap_or_default()
}

/// Declarations in a manifest that is not the owner's. The root manifest holds versions and is no user.
pub(crate) fn check_manifests(tree: &Tree) -> Vec<String> {
    let mut breaches = Vec::new();
    for (path, text) in tree.ending("Cargo.toml").filter(|(path, _)| *path != "Cargo.toml") {
        for (number, line) in text.lines().enumerate() {
            let key: String = line.chars().take_while(|c| c.is_alphanumeric() || *c == '_' || *c == '-').collect();
            let name = key.replace('-', "_");
            if let Some((_, _, owners)) = OWNERS.iter().find(|(dependency, ..)| *dependency == name)
                && !owners.contains(&path)
            {
                breaches.push(format!("{path}:{}: `{key}` is declared only in {}", number + 1, named(owners)));
            }
        }
    }
    breaches
}

/// A feature that opens a door for tests, named anywhere but under dev-dependencies: an ordinary build would contain the door.
pub(crate) fn check_doors(tree: &Tree) -> Vec<String> {
    let mut breaches = Vec::new();
    for (path, text) in tree.ending("Cargo.toml") {
        let mut is_for_tests = false;
        for (number, line) in text.lines().enumerate() {
            if line.starts_with('[') {
                is_for_tests = line.trim_end().ends_with("dev-dependencies]");
            }
            if !is_for_tests && !line.starts_with('#') && line.contains(DOOR) {
                breaches.push(format!("{path}:{}: `simulation` is a feature for dev-dependencies alone", number + 1));
            }
        }
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_source(path: &str, text: &str) -> usize {
        check_sources(&Tree::of(&[(path, text)])).len()
    }

    #[test]
    fn a_dependency_outside_its_owner_is_reported() {
        assert_eq!(in_source("node/src/present/mod.rs", "use tantivy::Index;"), 1);
        assert_eq!(in_source("node/src/present/mod.rs", "fn f(i: &tantivy::Index) {}"), 1);
        assert_eq!(in_source("node/src/tier/mod.rs", "use ::object_store::ObjectStore;"), 1);
        assert_eq!(in_source("proto/src/border.rs", "let x = bincode::serialize(&y);"), 1);
        assert_eq!(in_source("meta/src/network.rs", "use {quinn::Connection, std::io};"), 1);
        assert_eq!(in_source("node/src/lib.rs", "use rustls as tls;"), 1);
    }

    #[test]
    fn a_test_may_look_and_what_ships_beside_it_may_not() {
        let test = "#[cfg(test)]\nmod tests { use tantivy::Index; }\n";
        assert_eq!(in_source("node/src/tier/mod.rs", test), 0);
        assert_eq!(in_source("node/src/tier/mod.rs", &format!("{test}use tantivy::Index;")), 1);
    }

    #[test]
    fn the_owner_may_use_it() {
        assert_eq!(in_source("node/src/index/mod.rs", "use tantivy::Index;"), 0);
        assert_eq!(in_source("proto/src/codec.rs", "use bincode::Options;"), 0);
        assert_eq!(in_source("meta/src/raft.rs", "use openraft::Raft; use redb::Database;"), 0);
    }

    #[test]
    fn a_name_that_only_looks_alike_is_no_use() {
        assert_eq!(in_source("node/src/store/mod.rs", "mod quinn_like; fn rustls() {} struct A { redb: u8 }"), 0);
        assert_eq!(in_source("node/src/lib.rs", "use domicile_proto::link::rustls::X;"), 0, "a path into proto");
    }

    #[test]
    fn a_declaration_outside_its_owner_is_reported() {
        let tree = Tree::of(&[
            ("Cargo.toml", "quinn = \"1\""),
            ("proto/Cargo.toml", "quinn.workspace = true"),
            ("node/Cargo.toml", "tokio-rustls.workspace = true\ntantivy.workspace = true"),
        ]);
        assert_eq!(check_manifests(&tree).len(), 1);
    }
    #[test]
    fn a_door_for_tests_opens_in_tests_alone() {
        let named = "domicile-proto = { workspace = true, features = [\"simulation\"] }\n";
        let breaches = |text: String| check_doors(&Tree::of(&[("meta/Cargo.toml", text.as_str())])).len();
        assert_eq!(breaches(format!("[features]\nsimulation = []\n[dev-dependencies]\n{named}")), 0);
        assert_eq!(breaches(format!("[dependencies]\n{named}")), 1);
        assert_eq!(breaches(format!("[dev-dependencies]\nx.workspace = true\n[dependencies]\n{named}")), 1);
        assert_eq!(breaches("[features]\ndefault = [\"simulation\"]\n".to_owned()), 1);
        assert_eq!(breaches("[features]\nmore = [\"domicile-proto/simulation\"]\n".to_owned()), 1);
    }
}
