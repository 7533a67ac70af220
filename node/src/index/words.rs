//! The tokenizer `words`: how messages, and what people search in them, become terms.
//!
//! Runs of letters and digits in lower case; Chinese, Japanese and Korean script as overlapping pairs of characters (a
//! lone character stands for itself), since it is written without blanks. A pseudonym token is one word, that begins with its
//! quotation mark as no other word does. A word of more than 255 bytes is left out but keeps its place. Does no
//! stemming: logs are searched for what stands in them.

use tantivy::tokenizer::{TextAnalyzer, Token, TokenStream, Tokenizer, TokenizerManager};

use super::schema::WORDS;
use super::token;

/// Longest word that becomes a term, in bytes.
pub(crate) const MAX_WORD_BYTES: usize = 255;

/// All tokenizers of a segment.
pub(crate) fn tokenizers() -> TokenizerManager {
    let tokenizers = TokenizerManager::default();
    tokenizers.register(WORDS, TextAnalyzer::from(Words::default()));
    tokenizers
}

/// The words of a text in their order, as they stand in the index.
pub(crate) fn words_of(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut tokenizer = Words::default();
    let mut stream = tokenizer.token_stream(text);
    while stream.advance() {
        words.push(stream.token().text.clone());
    }
    words
}

/// The tokenizer.
#[derive(Clone, Default)]
pub(crate) struct Words {
    token: Token,
}

impl Tokenizer for Words {
    type TokenStream<'a> = WordStream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> WordStream<'a> {
        self.token.reset();
        WordStream { text, at: 0, in_run: false, token: &mut self.token }
    }
}

/// The words of one text.
pub(crate) struct WordStream<'a> {
    text: &'a str,
    /// First byte not yet looked at.
    at: usize,
    /// Whether the character at `at` was the second of a pair already given.
    in_run: bool,
    token: &'a mut Token,
}

impl WordStream<'_> {
    fn char_at(&self, at: usize) -> Option<char> {
        self.text.get(at..).and_then(|rest| rest.chars().next())
    }

    /// A run of ASCII letters and digits, the usual case; leaves other letters to [`Self::finish_word`].
    fn ascii_run(&mut self) {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(rest.len());
        if let Some(run) = self.text.get(self.at..self.at + length) {
            self.token.text.push_str(run);
            self.at += length;
        }
    }

    /// Takes letters and digits until something else comes.
    fn finish_word(&mut self) {
        let mut ascii = true;
        loop {
            self.ascii_run();
            match self.char_at(self.at) {
                Some(c) if c.is_alphanumeric() && !is_pair_script(c) => {
                    ascii = false;
                    self.token.text.push(c);
                    self.at += c.len_utf8();
                }
                _ => break,
            }
        }
        self.token.text.make_ascii_lowercase();
        if !ascii && self.token.text.chars().any(char::is_uppercase) {
            self.token.text = self.token.text.to_lowercase();
        }
    }

    /// Takes a pseudonym token that stands here.
    fn pseudonym(&mut self) -> bool {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let Some((length, telling)) = token::telling_at_start(rest) else { return false };
        self.token.text.push_str(telling);
        self.at += length;
        true
    }

    /// Gives the pair that begins with `first`, or `first` alone. `false` where the pair before has already covered it.
    fn pair(&mut self, first: char) -> bool {
        let next = self.at + first.len_utf8();
        let second = self.char_at(next).filter(|c| is_pair_script(*c));
        let covered = self.in_run && second.is_none();
        self.token.text.push(first);
        self.token.text.extend(second);
        self.token.offset_to = next + second.map_or(0, char::len_utf8);
        self.at = next;
        self.in_run = second.is_some();
        !covered
    }
}

impl TokenStream for WordStream<'_> {
    fn advance(&mut self) -> bool {
        loop {
            self.token.text.clear();
            let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
            self.at += rest.iter().position(|b| b.is_ascii_alphanumeric() || !b.is_ascii()).unwrap_or(rest.len());
            let Some(c) = self.char_at(self.at) else { return false };
            self.token.offset_from = self.at;
            if c == token::OPENING && self.pseudonym() {
                self.token.offset_to = self.at;
            } else if is_pair_script(c) {
                if !self.pair(c) {
                    continue;
                }
            } else if c.is_alphanumeric() {
                self.finish_word();
                self.token.offset_to = self.at;
            } else {
                self.at += c.len_utf8();
                continue;
            }
            self.token.position = self.token.position.wrapping_add(1);
            if self.token.text.len() <= MAX_WORD_BYTES {
                return true;
            }
        }
    }

    fn token(&self) -> &Token {
        self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        self.token
    }
}

/// Whether a character belongs to a script written without blanks between words: Han, Hiragana, Katakana, Hangul.
fn is_pair_script(c: char) -> bool {
    matches!(u32::from(c),
        0x1100..=0x11FF | 0x3005..=0x3007 | 0x3041..=0x3096 | 0x309D..=0x309F | 0x30A1..=0x30FA | 0x30FC..=0x30FF
        | 0x3131..=0x318E | 0x31F0..=0x31FF | 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xAC00..=0xD7A3 | 0xF900..=0xFAFF
        | 0xFF66..=0xFF9F | 0x20000..=0x3FFFF)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_become_words() {
        for (text, words) in [
            ("Hello, happy TAX payer!", vec!["hello", "happy", "tax", "payer"]),
            ("blk_-16089 10.0.0.1:50010", vec!["blk", "16089", "10", "0", "0", "1", "50010"]),
            ("東京都", vec!["東京", "京都"]),
            ("東", vec!["東"]),
            ("エラー: タイムアウト", vec!["エラ", "ラー", "タイ", "イム", "ムア", "アウ", "ウト"]),
            ("abc東京1", vec!["abc", "東京", "1"]),
            ("연결 실패", vec!["연결", "실패"]),
            ("Größe ÄRGER naïve", vec!["größe", "ärger", "naïve"]),
            ("to ‹email:abcdefghijklmnopqrstuvwx27›, ok", vec!["to", "‹email:abcdefghijklmnop", "ok"]),
            ("‹ip›東京‹card:*1111›‹Zitat›", vec!["‹ip›", "東京", "‹card:*1111›", "zitat"]),
            ("", vec![]),
            (" \u{0}\u{1}…—", vec![]),
        ] {
            assert_eq!(words_of(text), words, "{text}");
        }
    }

    #[test]
    fn a_word_that_is_too_long_is_left_out_and_keeps_its_place() {
        let text = format!("a {} b {}", "x".repeat(256), "y".repeat(255));
        let mut tokenizer = Words::default();
        let mut stream = tokenizer.token_stream(&text);
        let mut seen = Vec::new();
        while stream.advance() {
            seen.push((stream.token().position, stream.token().text.len()));
        }
        assert_eq!(seen, [(0, 1), (2, 1), (3, 255)]);
    }

    proptest! {
        #[test]
        fn offsets_lie_inside_the_text_and_positions_rise(text in "(?s).{0,80}") {
            let mut tokenizer = Words::default();
            let mut stream = tokenizer.token_stream(&text);
            let mut last = None;
            while stream.advance() {
                let token = stream.token();
                prop_assert!(text.get(token.offset_from..token.offset_to).is_some());
                prop_assert!(!token.text.is_empty());
                prop_assert!(last.is_none_or(|last| token.position > last));
                last = Some(token.position);
            }
        }
    }
}
