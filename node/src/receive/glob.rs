//! Patterns in which `*` stands for any characters, as paths, index expressions and `filter_path` have them.
//!
//! One walk with one place to go back to: the time is at most the product of both lengths, whatever the pattern. Knows neither
//! what is matched nor who asks.

/// Whether a text fits a pattern.
pub(crate) fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut read) = (0, 0);
    // Behind the last `*`, and where the text after what it stands for begins.
    let mut back: Option<(usize, usize)> = None;
    while let Some(byte) = text.get(read) {
        match pattern.get(at) {
            Some(b'*') => {
                at += 1;
                back = Some((at, read));
            }
            Some(wanted) if wanted == byte => {
                at += 1;
                read += 1;
            }
            _ => {
                // Only the last `*` has to take more: what an earlier one could take, the last one can as well.
                let Some((behind, start)) = &mut back else { return false };
                *start += 1;
                (at, read) = (*behind, *start);
            }
        }
    }
    pattern.iter().skip(at).all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, for short inputs.
    fn by_definition(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => (0..=text.len()).any(|skipped| by_definition(rest, &text[skipped..])),
            Some((c, rest)) => text.split_first().is_some_and(|(t, left)| t == c && by_definition(rest, left)),
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_longer_than_its_length() {
        let text = "a".repeat(63);
        let pattern = format!("{}x", "*a".repeat(4_000));
        assert!(!fits(&pattern, &text));
        assert!(!fits(&format!("{}x", "*".repeat(8_000)), &text));
        assert!(fits(&"*".repeat(8_000), &text));
    }

    proptest! {
        #[test]
        fn it_matches_what_the_definition_matches(pattern in "[ab*\u{e9}]{0,8}", text in "[ab\u{e9}]{0,8}") {
            let (p, t): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
            prop_assert_eq!(fits(&pattern, &text), by_definition(&p, &t));
        }
    }
}
