//! Planted values and every disguise in which they are looked for.
//!
//! What is found is named by the number of its line, never by itself.

use std::collections::BTreeSet;

use aho_corasick::{AhoCorasick, MatchKind};
use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Planted values, ready to be looked for.
pub(super) struct Canaries {
    /// Disguises in which case does not matter, and those in which it does.
    loose: (AhoCorasick, Vec<Disguise>),
    strict: (AhoCorasick, Vec<Disguise>),
    pub(super) longest: usize,
    pub(super) values: Vec<String>,
}

/// A form of a planted value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Disguise {
    /// Line of the file of planted values, from 1.
    pub(super) line: usize,
    pub(super) form: &'static str,
}

impl Canaries {
    /// One value a line; empty lines count and plant nothing.
    pub(super) fn read(text: &str) -> anyhow::Result<Self> {
        let (mut loose, mut strict) = (Vec::new(), Vec::new());
        let mut values = Vec::new();
        for (line, value) in text.lines().enumerate().map(|(line, value)| (line + 1, value.trim())) {
            if value.is_empty() {
                continue;
            }
            if value.chars().count() < SHORTEST {
                bail!(
                    "line {line} is shorter than {SHORTEST} characters and would be found by chance; plant a longer value"
                );
            }
            values.push(value.to_owned());
            let bytes = value.as_bytes();
            let disguise = |form| Disguise { line, form };
            loose.push((bytes.to_vec(), disguise("as it is")));
            loose.push((value.to_lowercase().into_bytes(), disguise("as it is")));
            loose.push((value.chars().rev().collect::<String>().into_bytes(), disguise("reversed")));
            loose.push((hex::encode(bytes).into_bytes(), disguise("in hexadecimal")));
            // An analyser cuts a value into words, and each is a term of its own.
            let words = value.split(|c: char| !c.is_alphanumeric()).filter(|word| word.chars().count() >= SHORTEST);
            loose.extend(
                words.filter(|word| *word != value).map(|word| (word.as_bytes().to_vec(), disguise("a word of it"))),
            );
            for shift in 0..3 {
                let shifted = [vec![0; shift], bytes.to_vec()].concat();
                for (text, form) in
                    [(STANDARD_NO_PAD.encode(&shifted), "in base64"), (URL_SAFE_NO_PAD.encode(&shifted), "in base64")]
                {
                    // The first and last characters depend on what stands beside the value.
                    let from = if shift == 0 { 0 } else { shift + 1 };
                    let to = text.len().saturating_sub(2);
                    strict.extend(text.get(from..to).map(|inner| (inner.as_bytes().to_vec(), disguise(form))));
                }
            }
        }
        if values.is_empty() {
            bail!("there is no planted value to look for; write one a line");
        }
        let longest = loose.iter().chain(&strict).map(|(pattern, _)| pattern.len()).max().unwrap_or(0);
        Ok(Self { loose: automaton(loose, true)?, strict: automaton(strict, false)?, longest, values })
    }

    /// Every disguise that occurs.
    pub(super) fn find_in(&self, bytes: &[u8]) -> BTreeSet<Disguise> {
        let mut found = BTreeSet::new();
        for (automaton, disguises) in [&self.loose, &self.strict] {
            let matches = automaton.find_overlapping_iter(bytes);
            found.extend(matches.filter_map(|hit| disguises.get(hit.pattern().as_usize()).copied()));
        }
        found
    }
}

fn automaton(patterns: Vec<(Vec<u8>, Disguise)>, ignores_case: bool) -> anyhow::Result<(AhoCorasick, Vec<Disguise>)> {
    let (patterns, disguises): (Vec<_>, Vec<_>) = patterns.into_iter().unzip();
    let mut builder = AhoCorasick::builder();
    let built = builder.ascii_case_insensitive(ignores_case).match_kind(MatchKind::Standard).build(patterns);
    Ok((built.context("the planted values are too many to look for at once")?, disguises))
}

/// Shortest value and shortest word, in characters.
const SHORTEST: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_disguise_is_seen_through_and_named_without_the_value() {
        let value = "Hrq.Wzkv+Bnpl@mxc-example.org";
        let canaries = Canaries::read(&format!("\n{value}\n")).unwrap();
        let reversed: String = value.chars().rev().collect();
        for (form, text) in [
            ("as it is", format!("x{value}y")),
            ("as it is", value.to_uppercase()),
            ("reversed", reversed),
            ("in hexadecimal", hex::encode_upper(value)),
            ("in base64", STANDARD_NO_PAD.encode(format!("{value} more"))),
            ("in base64", STANDARD_NO_PAD.encode(format!("a{value} more"))),
            ("in base64", URL_SAFE_NO_PAD.encode(format!("ab{value} more"))),
        ] {
            let found = canaries.find_in(text.as_bytes());
            assert!(found.contains(&Disguise { line: 2, form }), "{form}: {found:?}");
        }
        assert!(canaries.find_in(b"nothing of the kind, not even hrq or wzkv").is_empty());
        assert!(Canaries::read("short").is_err() && Canaries::read("\n \n").is_err());
    }
}
