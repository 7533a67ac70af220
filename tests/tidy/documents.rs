//! Laws: error pages, region keys, the README, and that documents name only what is there.

use std::collections::{BTreeMap, BTreeSet};

use super::source::Tree;

/// The promises, as the design numbers them.
const PROMISES: [&str; 11] =
    ["RES-1", "RES-2", "RES-3", "RES-4", "LED-1", "PRI-1", "PRI-2", "ERA-1", "DUR-1", "OWN-1", "HON-1"];

/// Codes without a page and pages without a code.
pub(crate) fn check_error_pages(tree: &Tree) -> Vec<String> {
    let mut breaches = Vec::new();
    let mut used: BTreeMap<String, String> = BTreeMap::new();
    for (path, text) in tree.ending(".rs").filter(|(path, _)| path.contains("/src/") && !path.starts_with("tests/")) {
        for code in codes(text) {
            used.entry(code).or_insert_with(|| path.to_owned());
        }
    }
    for (code, path) in &used {
        match tree.text(&format!("docs/errors/{code}.md")) {
            None => breaches.push(format!("{path}: `{code}` has no page docs/errors/{code}.md")),
            Some(page) => {
                let title = page.lines().next().unwrap_or_default();
                if !title.starts_with('#') || !title.contains(code.as_str()) || page.lines().count() < 4 {
                    breaches.push(format!("docs/errors/{code}.md: opens with no title of the code, or says nothing"));
                }
            }
        }
    }
    for (path, _) in tree.ending(".md").filter(|(path, _)| path.starts_with("docs/errors/DMC-")) {
        let code = path.trim_start_matches("docs/errors/").trim_end_matches(".md");
        if !used.contains_key(code) {
            breaches.push(format!("{path}: no source uses this code"));
        }
    }
    breaches
}

/// All `DMC-<STAGE>-<NN>` in a text.
fn codes(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices("DMC-") {
        let rest = &text[at + 4..];
        let stage: String = rest.chars().take_while(char::is_ascii_uppercase).collect();
        let number: String =
            rest.get(stage.len() + 1..).unwrap_or_default().chars().take_while(char::is_ascii_digit).collect();
        if !stage.is_empty() && rest[stage.len()..].starts_with('-') && number.len() == 2 {
            found.insert(format!("DMC-{stage}-{number}"));
        }
    }
    found
}

/// Keys of `regions/*.yaml` that `regions/README.md` does not explain.
pub(crate) fn check_region_keys(tree: &Tree) -> Vec<String> {
    let Some(readme) = tree.text("regions/README.md") else {
        return vec!["regions/README.md is missing".to_owned()];
    };
    let mut breaches = Vec::new();
    let mut regions = 0;
    for (path, text) in tree.ending(".yaml").filter(|(path, _)| path.starts_with("regions/")) {
        regions += 1;
        for key in yaml_keys(text) {
            let leaf = key.rsplit('.').next().unwrap_or(&key);
            if !readme.contains(&format!("`{key}`")) && !readme.contains(&format!("`{leaf}`")) {
                breaches.push(format!("{path}: `{key}` is not explained in regions/README.md"));
            }
        }
    }
    if regions < 3 {
        breaches.push(format!("regions/ holds {regions} region files, three are expected"));
    }
    breaches
}

/// Dotted keys of a plain block YAML file. Flow maps and multi-line scalars are not used there.
fn yaml_keys(text: &str) -> BTreeSet<String> {
    let mut path: Vec<(usize, String)> = Vec::new();
    let mut keys = BTreeSet::new();
    for line in text.lines() {
        let content = line.trim_start();
        let bare = content.trim_start_matches("- ");
        if content.is_empty() || content.starts_with('#') || content == "---" {
            continue;
        }
        let Some((key, _)) = bare.split_once(':') else { continue };
        if !key.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-') || key.is_empty() {
            continue;
        }
        let indent = line.len() - bare.len();
        path.retain(|(depth, _)| *depth < indent);
        path.push((indent, key.to_owned()));
        keys.insert(path.iter().map(|(_, key)| key.as_str()).collect::<Vec<_>>().join("."));
    }
    keys
}

/// The README is the door, not the house.
pub(crate) fn check_readme(tree: &Tree) -> Vec<String> {
    match tree.text("README.md").map(|text| text.lines().count()) {
        None => vec!["README.md is missing".to_owned()],
        Some(lines) if lines >= 200 => vec![format!("README.md has {lines} lines, 200 is too many")],
        Some(_) => Vec::new(),
    }
}

/// Paths in backticks that name nothing. A path begins at a top-level directory and holds no pattern.
pub(crate) fn check_paths(tree: &Tree) -> Vec<String> {
    const TOP: [&str; 9] = ["proto/", "meta/", "node/", "regions/", "deploy/", "tests/", "docs/", ".ci/", ".github/"];
    let mut breaches = Vec::new();
    for (document, text) in tree.ending(".md") {
        let mut fenced = false;
        for (number, line) in text.lines().enumerate() {
            if line.starts_with("```") {
                fenced = !fenced;
            }
            if fenced {
                continue;
            }
            for (index, piece) in line.split('`').enumerate() {
                let is_path = index % 2 == 1
                    && TOP.iter().any(|top| piece.starts_with(top))
                    && piece.chars().all(|c| c.is_alphanumeric() || "/._-".contains(c));
                if is_path && !tree.has(piece) {
                    breaches.push(format!("{document}:{}: `{piece}` is not there", number + 1));
                }
            }
        }
    }
    breaches
}

/// Promises that `ARCHITECTURE.md` does not state, or states without a file.
pub(crate) fn check_promises(tree: &Tree) -> Vec<String> {
    let Some(text) = tree.text("ARCHITECTURE.md") else { return vec!["ARCHITECTURE.md is missing".to_owned()] };
    let mut breaches = Vec::new();
    for promise in PROMISES.iter().chain(["BND-1"].iter()) {
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with(&format!("| {promise} |"))).collect();
        match rows.as_slice() {
            [row] => {
                let cells: Vec<&str> = row.split('|').map(str::trim).collect();
                let stated = cells.get(3).is_some_and(|cell| cell.contains('`'));
                let tested = cells.get(4).is_some_and(|cell| cell.contains('`') || cell.starts_with("not yet"));
                if !stated || !tested {
                    breaches.push(format!("ARCHITECTURE.md: {promise} names no file, or neither a test nor `not yet`"));
                }
            }
            rows => breaches.push(format!("ARCHITECTURE.md: {promise} is stated {} times", rows.len())),
        }
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_without_a_page_and_a_page_without_a_code_are_reported() {
        let tree = Tree::of(&[
            ("node/src/wal/errors.rs", "\"DMC-WAL-01\" \"DMC-WAL-02\" \"DMC-WAL-03\" DMC-<STAGE>-<NN> DMC-WAL-1"),
            ("docs/errors/DMC-WAL-01.md", "# DMC-WAL-01\n\nMeaning\n\nCause"),
            ("docs/errors/DMC-WAL-03.md", "# something else\n\nMeaning\n\nCause"),
            ("docs/errors/DMC-OLD-09.md", "# DMC-OLD-09\n\nMeaning\n\nCause"),
        ]);
        let breaches = check_error_pages(&tree);
        assert_eq!(breaches.len(), 3, "{breaches:?}");
    }

    #[test]
    fn a_region_key_without_an_explanation_is_reported() {
        let yaml = "name: tokyo\nretention:\n  hot_days: 7\npeers:\n  - region: frankfurt\n    # note: none\n";
        let files = |readme| {
            Tree::of(&[
                ("regions/README.md", readme),
                ("regions/a.yaml", yaml),
                ("regions/b.yaml", ""),
                ("regions/c.yaml", ""),
            ])
        };
        assert_eq!(check_region_keys(&files("`name` `retention` `retention.hot_days` `peers` `region`")).len(), 0);
        assert_eq!(check_region_keys(&files("`name` `retention` `peers`")).len(), 2);
        assert_eq!(check_region_keys(&Tree::of(&[])).len(), 1);
    }

    #[test]
    fn a_long_readme_is_reported() {
        assert_eq!(check_readme(&Tree::of(&[("README.md", &"line\n".repeat(200))])).len(), 1);
        assert_eq!(check_readme(&Tree::of(&[("README.md", &"line\n".repeat(199))])).len(), 0);
        assert_eq!(check_readme(&Tree::of(&[])).len(), 1);
    }

    #[test]
    fn a_document_that_names_a_missing_file_is_reported() {
        let tree = Tree::of(&[
            ("node/src/lib.rs", ""),
            (
                "README.md",
                "see `node/src/lib.rs`, `node/src/`, `node/src/gone.rs`, `node/src/<stage>/`\n```\n`node/x`\n```",
            ),
        ]);
        assert_eq!(check_paths(&tree), ["README.md:1: `node/src/gone.rs` is not there"]);
    }

    #[test]
    fn a_promise_that_is_missing_doubled_or_unfounded_is_reported() {
        let row = |id: &str| format!("| {id} | says | `file` | `test` |\n");
        let all: String = PROMISES.iter().map(|id| row(id)).collect();
        let whole = all.clone() + &row("BND-1");
        assert_eq!(check_promises(&Tree::of(&[("ARCHITECTURE.md", &whole)])).len(), 0);
        assert_eq!(check_promises(&Tree::of(&[("ARCHITECTURE.md", &all)])).len(), 1);
        assert_eq!(check_promises(&Tree::of(&[("ARCHITECTURE.md", &(whole.clone() + &row("RES-1")))])).len(), 1);
        assert_eq!(
            check_promises(&Tree::of(&[(
                "ARCHITECTURE.md",
                &whole.replace("| RES-2 | says | `file` |", "| RES-2 | says | |")
            )]))
            .len(),
            1
        );
    }
}
