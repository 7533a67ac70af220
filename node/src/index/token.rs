//! The form of a pseudonym token, `‹class:` and 26 characters of base32 `›`, and of a mark, `‹class›` or
//! `‹class:*last›`: how `words` and `query` know one when they see it. Knows no list of classes, and neither makes nor opens a token.

/// U+2039, with which a token begins.
pub(crate) const OPENING: char = '\u{2039}';
/// U+203A, with which it ends.
pub(crate) const CLOSING: char = '\u{203A}';
/// Characters of base32 in a token: 16 bytes.
const LETTERS: usize = 26;
/// Letters of a token that stand in the index. On disk.
const TELLING_LETTERS: usize = 16;
/// Bytes at the end of a token that do not.
const LEFT_OUT: usize = LETTERS - TELLING_LETTERS + CLOSING.len_utf8();
/// [`CLOSING`] in UTF-8.
const CLOSED: &[u8] = "\u{203A}".as_bytes();
/// Longest class, and longest rest of a mark, in bytes.
const MAX_PART_BYTES: usize = 64;

/// Bytes of the token or mark that a text begins with.
pub(crate) fn at_start(text: &str) -> Option<usize> {
    match plain_at_start(text) {
        Some(length) => Some(length),
        None => any_at_start(text),
    }
}

/// The token or mark that a text begins with: its bytes, and the part of them that becomes a term.
pub(crate) fn telling_at_start(text: &str) -> Option<(usize, &str)> {
    if let Some(length) = plain_at_start(text) {
        return Some((length, text.get(..length - LEFT_OUT)?));
    }
    let length = any_at_start(text)?;
    Some((length, telling(text.get(..length)?)))
}

/// Bytes of the token that a text begins with, as the node makes them: what is asked for most is answered by its bytes.
fn plain_at_start(text: &str) -> Option<usize> {
    let inner = text.strip_prefix(OPENING)?.as_bytes();
    let class = inner.iter().take_while(|byte| is_class(**byte)).count();
    let (letters, rest) = inner.get(class..)?.strip_prefix(b":")?.split_at_checked(LETTERS)?;
    let is_plain =
        (1..=MAX_PART_BYTES).contains(&class) && letters.iter().fold(true, |all, byte| all & is_base32(*byte));
    let ends = CLOSING.len_utf8();
    let is_closed = rest.get(..ends).is_some_and(|end| end == CLOSED);
    (is_plain && is_closed).then_some(OPENING.len_utf8() + class + 1 + LETTERS + ends)
}

fn any_at_start(text: &str) -> Option<usize> {
    let inner = text.strip_prefix(OPENING)?;
    let class = inner.bytes().take_while(|byte| is_class(*byte)).count();
    let rest = inner.get(class..).filter(|_| (1..=MAX_PART_BYTES).contains(&class))?;
    let length = match rest.strip_prefix(':') {
        None => 0,
        Some(word) => {
            let end = word.char_indices().take_while(|(at, _)| *at <= MAX_PART_BYTES);
            let (end, _) = end.into_iter().find(|(_, c)| matches!(*c, OPENING | CLOSING) || c.is_whitespace())?;
            Some(end + 1).filter(|_| end > 0)?
        }
    };
    let is_closed = rest.get(length..)?.starts_with(CLOSING);
    is_closed.then(|| OPENING.len_utf8() + class + length + CLOSING.len_utf8())
}

/// The part of a token that becomes a term: its class and 80 of its 128 bits, so that it costs little more than a word. A mark
/// is all of itself.
fn telling(token: &str) -> &str {
    let inner = token.trim_start_matches(OPENING).trim_end_matches(CLOSING);
    let is_token = inner.split_once(':').is_some_and(|(class, letters)| halves(class, letters));
    if is_token { token.get(..token.len() - LEFT_OUT).unwrap_or(token) } else { token }
}

/// Whether a text ends inside of something that could become a token: the byte where that begins.
pub(crate) fn begun_in(text: &str) -> Option<usize> {
    let at = text.rfind(OPENING)?;
    let inner = text.get(at + OPENING.len_utf8()..)?;
    let (class, word) = inner.split_once(':').unwrap_or((inner, ""));
    let goes_on = |c: char| c != CLOSING && !c.is_whitespace();
    let is_open = class.bytes().all(is_class) && word.chars().all(goes_on);
    is_open.then_some(at)
}

/// Whether `class` and `letters` are the two halves of a token, as somebody writes it who leaves out the quotation marks.
pub(crate) fn halves(class: &str, letters: &str) -> bool {
    !class.is_empty() && class.bytes().all(is_class) && letters.len() == LETTERS && letters.bytes().all(is_base32)
}

/// Whether a text holds a token or a piece of one, with its quotation marks or without.
pub(crate) fn is_in(text: &str) -> bool {
    text.contains([OPENING, CLOSING]) || quoted_in(text).is_some()
}

/// A token in its quotation marks.
pub(crate) fn quoted(class: &str, letters: &str) -> String {
    format!("{OPENING}{class}:{letters}{CLOSING}")
}

/// A text of a search with quotation marks round every token that was written without; `None` where there is none.
pub(crate) fn quoted_in(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut copied = 0;
    for (colon, _) in text.match_indices(':') {
        let (before, after) = (text.get(copied..colon).unwrap_or_default(), text.get(colon + 1..).unwrap_or_default());
        let class = before.bytes().rev().take_while(|byte| is_class(*byte)).count();
        let letters = after.bytes().take_while(u8::is_ascii_alphanumeric).count();
        let (before, class) = before.split_at(before.len() - class);
        let letters = after.get(..letters).unwrap_or_default();
        let behind = after.get(letters.len()..).unwrap_or_default();
        let stands_apart = !before.ends_with(|c: char| c == OPENING || c.is_alphanumeric());
        if stands_apart && !behind.starts_with(CLOSING) && halves(class, letters) {
            out.push_str(before);
            out.push_str(&quoted(class, letters));
            copied = colon + 1 + letters.len();
        }
    }
    out.push_str(text.get(copied..).unwrap_or_default());
    (copied > 0).then_some(out)
}

const fn is_class(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_')
}

const fn is_base32(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'2'..=b'7')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LETTERS_OF_ONE: &str = "abcdefghijklmnopqrstuvwx27";

    #[test]
    fn a_token_is_known_by_its_form_alone() {
        for class in ["email", "jp_my_number", "x9"] {
            let token = format!("‹{class}:{LETTERS_OF_ONE}›");
            assert_eq!(at_start(&format!("{token}rest")), Some(token.len()));
            assert_eq!(quoted_in(&format!("to {class}:{LETTERS_OF_ONE}, ok")), Some(format!("to {token}, ok")));
            assert_eq!(quoted_in(&format!("to {token}")), None, "it has its quotation marks already");
        }
        for mark in ["‹email›", "‹card:*1111›", "‹declared:*一二三四›", "‹card:withheld›"] {
            assert_eq!(at_start(&format!("{mark} x")), Some(mark.len()), "{mark}");
        }
        for text in [
            "‹Zitat›",
            "‹email",
            "‹card:*11‹email›",
            "‹a b:c›",
            "‹:abc›",
            "‹email:›",
            "‹Email:abc›",
            "‹email:abc",
            "email:abc",
            "",
            "‹",
        ] {
            assert_eq!(at_start(text), None, "{text}");
        }
        for text in ["time:12", "Email:x", &format!("e:{LETTERS_OF_ONE}a"), &format!("é{LETTERS_OF_ONE}")] {
            assert_eq!(quoted_in(text), None, "{text}");
        }
    }

    #[test]
    fn the_beginning_of_a_token_is_known_too() {
        for (text, at) in [("a ‹", 2), ("‹ema", 0), ("‹email:", 0), ("x‹email:7q", 1)] {
            assert_eq!(begun_in(text), Some(at), "{text}");
        }
        for text in ["", "email", "‹email:abc›", "‹a b"] {
            assert_eq!(begun_in(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(text in "(?s)[‹›a-c7:_ é]{0,80}") {
            let _ = (begun_in(&text), quoted_in(&text));
            if let Some(length) = at_start(&text) {
                prop_assert!(text.get(..length).is_some_and(|token| token.ends_with(CLOSING)));
            }
        }

        #[test]
        fn what_is_plain_is_read_as_anything_is(text in "‹?[a-z_2]{0,3}:?[a-z2-8]{0,2}[a-z2-7]{24,26}[a-z27]{0,1}[›‹: ]{0,2}x?") {
            let length = any_at_start(&text);
            prop_assert_eq!(at_start(&text), length);
            let telling = length.map(|length| (length, telling(&text[..length])));
            prop_assert_eq!(telling_at_start(&text), telling);
        }
    }
}
