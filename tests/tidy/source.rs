//! The workspace as text: every file the laws look at, and Rust sources with comments and literals blanked out.
//!
//! This is not a Rust parser. It knows comments, literals, words and braces, which is all the laws need.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// All files of a workspace that a law may read, by path from its root with `/` between parts.
pub(crate) struct Tree {
    files: BTreeMap<String, String>,
}

impl Tree {
    /// Reads the workspace this test was built in.
    pub(crate) fn of_this_workspace() -> Self {
        let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let root = manifest.parent().expect("the tests package lies in the workspace").to_path_buf();
        let mut files = BTreeMap::new();
        collect(&root, &root, &mut files);
        assert!(files.contains_key("Cargo.toml"), "no workspace at {}", root.display());
        Self { files }
    }

    /// A made-up workspace, for showing that a law bites.
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        Self { files: files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect() }
    }

    /// The text of one file.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// All files whose path ends so, with their text.
    pub(crate) fn ending<'a>(&'a self, end: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.files
            .iter()
            .filter(move |(path, _)| path.ends_with(end))
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// All Rust sources.
    pub(crate) fn rust(&self) -> Vec<Source> {
        self.ending(".rs").map(|(path, text)| Source::new(path, text)).collect()
    }

    /// Whether there is such a file, or a directory that holds one.
    pub(crate) fn has(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        let below = format!("{path}/");
        self.files.keys().any(|file| file == path || file.starts_with(&below))
    }
}

fn collect(root: &Path, directory: &Path, files: &mut BTreeMap<String, String>) {
    let entries = std::fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    for entry in entries {
        let entry = entry.expect("a readable directory entry");
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().expect("a file type").is_dir() {
            if !["target", ".git", "node_modules", "domicile-data", "dist"].contains(&name.as_str()) {
                collect(root, &path, files);
            }
        } else {
            let key = path.strip_prefix(root).expect("below the root").to_string_lossy().replace('\\', "/");
            // Binary files count as present and empty.
            files.insert(key, std::fs::read_to_string(&path).unwrap_or_default());
        }
    }
}

/// One Rust source.
pub(crate) struct Source {
    /// Path from the workspace root.
    pub(crate) path: String,
    /// The text as written.
    pub(crate) text: String,
    /// The text with comments and the inside of literals replaced by blanks; lines stay where they are.
    pub(crate) code: String,
}

impl Source {
    /// Takes a source apart.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned(), code: blank(text) }
    }

    /// The code that ships: without items under `#[cfg(test)]`; empty for files that are tests, benches or examples.
    pub(crate) fn product(&self) -> String {
        let is_test = self.path.starts_with("tests/")
            || ["/tests/", "/benches/", "/examples/", "/fuzz/"].iter().any(|part| self.path.contains(part))
            || self.path.ends_with("_test.rs")
            || self.path.ends_with("/tests.rs");
        if is_test { String::new() } else { without_tests(&self.code) }
    }

    /// The line of a byte position, counted from 1.
    pub(crate) fn line(&self, position: usize) -> usize {
        self.code.as_bytes().iter().take(position).filter(|byte| **byte == b'\n').count() + 1
    }
}

/// A word of the code and where it begins.
pub(crate) fn words(code: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut start = None;
    for (at, character) in code.char_indices().chain([(code.len(), ' ')]) {
        let is_word = character.is_alphanumeric() || character == '_';
        match (start, is_word) {
            (None, true) => start = Some(at),
            (Some(from), false) => {
                found.push((from, &code[from..at]));
                start = None;
            }
            _ => {}
        }
    }
    found
}

/// Removes items marked `#[cfg(test)]`, keeping the lines.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = code.to_owned();
    let mut from = 0;
    while let Some(at) = out[from..].find(MARK).map(|at| at + from) {
        let rest = &out[at + MARK.len()..];
        let semicolon = rest.find(';');
        let brace = rest.find('{');
        let end = match (semicolon, brace) {
            (Some(semicolon), Some(brace)) if semicolon < brace => at + MARK.len() + semicolon + 1,
            (_, Some(brace)) => closing(&out, at + MARK.len() + brace),
            (Some(semicolon), None) => at + MARK.len() + semicolon + 1,
            (None, None) => out.len(),
        };
        let blanks: String = out[at..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        // Characters may be wider than one byte outside comments and literals only in identifiers; none are here.
        out.replace_range(at..end, &blanks);
        from = at + blanks.len();
    }
    out
}

/// The position behind the brace that closes the one at `open`.
pub(crate) fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    code.len()
}

/// Replaces comments and the inside of string and character literals by blanks.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => line_end(bytes, at),
            b'/' if bytes.get(at + 1) == Some(&b'*') => comment_end(bytes, at),
            b'"' => string_end(bytes, at),
            b'r' if !is_word_before(bytes, at) => match raw_string_end(bytes, at) {
                Some(end) => end,
                None => at,
            },
            b'\'' => character_end(bytes, at),
            _ => at,
        };
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end.max(at + 1);
    }
    String::from_utf8(out).expect("whole characters were blanked")
}

fn is_word_before(bytes: &[u8], at: usize) -> bool {
    // `br"…"` is a raw string too: the `b` before it is no part of a longer word there.
    match at.checked_sub(1).map(|before| bytes[before]) {
        Some(b'b') => at >= 2 && (bytes[at - 2].is_ascii_alphanumeric() || bytes[at - 2] == b'_'),
        Some(byte) => byte.is_ascii_alphanumeric() || byte == b'_',
        None => false,
    }
}

fn line_end(bytes: &[u8], from: usize) -> usize {
    bytes[from..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |length| from + length)
}

fn comment_end(bytes: &[u8], from: usize) -> usize {
    let mut depth = 0usize;
    let mut at = from;
    while at < bytes.len() {
        match &bytes[at..bytes.len().min(at + 2)] {
            b"/*" => {
                depth += 1;
                at += 2;
            }
            b"*/" => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    bytes.len()
}

fn string_end(bytes: &[u8], from: usize) -> usize {
    let mut at = from + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn raw_string_end(bytes: &[u8], from: usize) -> Option<usize> {
    let hashes = bytes[from + 1..].iter().take_while(|byte| **byte == b'#').count();
    if bytes.get(from + 1 + hashes) != Some(&b'"') {
        return None;
    }
    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let body = from + 2 + hashes;
    let length = bytes[body..].windows(close.len()).position(|window| window == close);
    Some(length.map_or(bytes.len(), |length| body + length + close.len()))
}

/// A quote opens a character literal or a lifetime; a lifetime has no closing quote after one character.
fn character_end(bytes: &[u8], from: usize) -> usize {
    match bytes.get(from + 1) {
        Some(b'\\') => {
            let body = from + 3;
            bytes[body.min(bytes.len())..].iter().position(|byte| *byte == b'\'').map_or(from, |at| body + at + 1)
        }
        Some(first) => {
            let width = match first {
                0xF0.. => 4,
                0xE0.. => 3,
                0xC0.. => 2,
                _ => 1,
            };
            if bytes.get(from + 1 + width) == Some(&b'\'') { from + width + 2 } else { from }
        }
        None => from,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_lines_stay() {
        let text =
            "a // crate::tier\n/* x /* y */ crate::tier */ b \"crate::tier\\\"\" r#\"crate::\"tier\"# c '\"' d\n";
        let code = blank(text);
        assert!(!code.contains("tier"), "{code}");
        assert_eq!(code.len(), text.len());
        let left: Vec<&str> = words(&code).into_iter().map(|(_, word)| word).collect();
        assert_eq!(left, ["a", "b", "c", "d"]);
    }

    #[test]
    fn lifetimes_do_not_open_a_literal() {
        let code = blank("fn f<'a>(x: &'a str, q: char) -> bool { q == '\\'' || x == \"y\" } // z");
        assert!(code.contains("fn f<'a>(x: &'a str") && !code.contains('z') && !code.contains("\"y\""), "{code}");
    }

    #[test]
    fn code_under_cfg_test_is_no_product() {
        let source = Source::new("node/src/x.rs", "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() { {} }\n}\nfn c() {}");
        let product = source.product();
        assert!(product.contains("fn a") && product.contains("fn c") && !product.contains("fn b"), "{product}");
        assert_eq!(product.lines().count(), 6);
        assert!(Source::new("proto/tests/x.rs", "fn a() {}").product().is_empty());
    }

    #[test]
    fn the_real_tree_is_seen() {
        let tree = Tree::of_this_workspace();
        assert!(tree.has("node/src/lib.rs") && tree.has("proto/src") && !tree.has("no/such/file"));
        assert!(tree.rust().len() > 30);
    }
}
