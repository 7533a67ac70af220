//! A text as its reader means it: full-width signs as plain ones, escapes undone, and where each piece of it came from.
//!
//! Finders work on a view and know nothing of this; spans are carried back to the text as it was sent. Packed values
//! (base64, gzip) are not views, for no byte of theirs stands for one byte of the text: `packed` treats those.

/// A text that differs from what was sent, with the way back.
pub(super) struct View {
    text: String,
    /// Where its pieces come from, in order and without a gap.
    pieces: Vec<Piece>,
}

/// A piece of a view: the same bytes as in the text below, or one sign that stands for others there.
#[derive(Clone, Copy)]
struct Piece {
    /// Where it begins in the view.
    at: u32,
    /// Where it begins in the text below.
    from: u32,
    /// Where the signs end that it stands for; `None` where the bytes are the same.
    to: Option<u32>,
}

impl Piece {
    /// From where to where a byte of the view comes.
    fn of(self, byte: usize) -> (usize, usize) {
        let from = self.from as usize + byte.saturating_sub(self.at as usize);
        self.to.map_or((from, from + 1), |to| (self.from as usize, to as usize))
    }
}

impl View {
    /// The text with signs that look alike as one: full-width, digits of other scripts, odd blanks and dashes; signs without width
    /// vanish. `None` where that changes nothing.
    pub(super) fn folded(text: &str) -> Option<Self> {
        let mut follows_digit = false;
        let changes = text.chars().any(|c| {
            let is_other = !c.is_ascii() && (plain(c) != Some(c) || (c == LONG_VOWEL && follows_digit));
            follows_digit = c.is_ascii_digit();
            is_other
        });
        changes.then(|| {
            let mut view = Self::with_room(text.len());
            view.copy(text, 0, text.len());
            view
        })
    }

    /// One layer of escapes undone (`%40`, `\u0040`, `\"`, `&#64;`), folded as well. `None` where there are none.
    pub(super) fn unescaped(text: &str) -> Option<Self> {
        let first = next_escape(text, 0)?;
        let mut view = Self::with_room(text.len());
        let mut at = 0;
        let mut escape = Some(first);
        while let Some((from, signs)) = escape {
            view.copy(text, at, from);
            at = from;
            // Bytes of one sign may be escaped one by one.
            at += view.undo(text, at, signs);
            escape = next_escape(text, at);
        }
        view.copy(text, at, text.len());
        Some(view)
    }

    /// The text.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Where a span of this view stands in the text below.
    pub(super) fn back(&self, from: usize, to: usize) -> (usize, usize) {
        let begin = self.place(from).map_or(0, |place| place.0);
        let end = to.checked_sub(1).and_then(|last| self.place(last)).map_or(begin, |place| place.1);
        (begin, end.max(begin))
    }

    fn place(&self, byte: usize) -> Option<(usize, usize)> {
        if byte >= self.text.len() {
            return None;
        }
        let behind = self.pieces.partition_point(|piece| piece.at as usize <= byte);
        self.pieces.get(behind.checked_sub(1)?).map(|piece| piece.of(byte))
    }

    fn with_room(bytes: usize) -> Self {
        Self { text: String::with_capacity(bytes), pieces: Vec::with_capacity(PIECES) }
    }

    fn copy(&mut self, text: &str, from: usize, to: usize) {
        let (mut begun, mut here) = (from, from);
        let last_byte = |view: &Self, begun: usize, here: usize| {
            if here > begun { text.as_bytes().get(here - 1).copied() } else { view.text.as_bytes().last().copied() }
        };
        while let Some(rest) = text.get(here..to).filter(|rest| !rest.is_empty()) {
            here += rest.bytes().take_while(u8::is_ascii).count();
            let Some(c) = text.get(here..to).and_then(|rest| rest.chars().next()) else { break };
            // The mark of a long vowel stands for a dash between digits.
            let is_dash = c == LONG_VOWEL && last_byte(self, begun, here).is_some_and(|last| last.is_ascii_digit());
            if is_dash || plain(c) != Some(c) {
                self.same(text, begun, here);
                self.push(c, here, here + c.len_utf8());
                begun = here + c.len_utf8();
            }
            here += c.len_utf8();
        }
        self.same(text, begun, to);
    }

    /// Adds what stays as it is.
    fn same(&mut self, text: &str, from: usize, to: usize) {
        if let Some(same) = text.get(from..to).filter(|same| !same.is_empty()) {
            self.pieces.push(Piece { at: narrow(self.text.len()), from: narrow(from), to: None });
            self.text.push_str(same);
        }
    }

    fn push(&mut self, c: char, from: usize, to: usize) {
        let Some(folded) = (if c.is_ascii() { Some(c) } else { plain(c) }) else { return };
        let follows_digit = self.text.as_bytes().last().is_some_and(u8::is_ascii_digit);
        let folded = if folded == LONG_VOWEL && follows_digit { '-' } else { folded };
        self.pieces.push(Piece { at: narrow(self.text.len()), from: narrow(from), to: Some(narrow(to)) });
        self.text.push(folded);
    }

    /// Undoes the escape at a place; how many bytes it took.
    fn undo(&mut self, text: &str, at: usize, signs: Escape) -> usize {
        match signs {
            Escape::Sign { c, length } => {
                self.push(c, at, at + length);
                length
            }
            Escape::Bytes => {
                let bytes = text.as_bytes();
                let mut raw = [0_u8; 4];
                let mut count = 0;
                while let (Some(slot), Some(byte)) = (raw.get_mut(count), percent(bytes, at + 3 * count)) {
                    *slot = byte;
                    count += 1;
                }
                for taken in 1..=count {
                    let sign = raw.get(..taken).and_then(|raw| std::str::from_utf8(raw).ok());
                    if let Some(c) = sign.and_then(|sign| sign.chars().next()) {
                        self.push(c, at, at + 3 * taken);
                        return 3 * taken;
                    }
                }
                self.push('\u{FFFD}', at, at + 3);
                3
            }
        }
    }
}

/// An escape of a text.
enum Escape {
    /// One sign in so many bytes.
    Sign { c: char, length: usize },
    /// A byte in percent and two hexadecimal digits; more may follow.
    Bytes,
}

/// The next escape from a place on.
fn next_escape(text: &str, from: usize) -> Option<(usize, Escape)> {
    let bytes = text.as_bytes();
    let mut at = from;
    loop {
        at += memchr::memchr3(b'%', b'\\', b'&', bytes.get(at..)?)?;
        let escape = match bytes.get(at) {
            Some(b'%') => percent(bytes, at).map(|_| Escape::Bytes),
            Some(b'\\') => backslash(bytes, at),
            _ => entity(text, at),
        };
        if let Some(escape) = escape {
            return Some((at, escape));
        }
        at += 1;
    }
}

fn percent(bytes: &[u8], at: usize) -> Option<u8> {
    match bytes.get(at..at + 3)? {
        [b'%', high, low] => Some((hex(*high)? << 4) | hex(*low)?),
        _ => None,
    }
}

fn backslash(bytes: &[u8], at: usize) -> Option<Escape> {
    let sign = |c, length| Some(Escape::Sign { c, length });
    match bytes.get(at + 1)? {
        b'n' | b'r' => sign('\n', 2),
        b't' => sign(' ', 2),
        c @ (b'"' | b'\\' | b'/' | b'\'') => sign(char::from(*c), 2),
        b'u' => {
            let unit = |from: usize| {
                let digits = bytes.get(from..from + 4)?;
                digits.iter().try_fold(0_u32, |number, digit| Some((number << 4) | u32::from(hex(*digit)?)))
            };
            let high = unit(at + 2)?;
            let low = (bytes.get(at + 6..at + 8) == Some(b"\\u")).then(|| unit(at + 8)).flatten();
            match (high, low) {
                (0xD800..=0xDBFF, Some(low @ 0xDC00..=0xDFFF)) => {
                    let number = 0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00);
                    sign(char::from_u32(number)?, 12)
                }
                _ => sign(char::from_u32(high)?, 6),
            }
        }
        b'x' => sign(char::from((hex(*bytes.get(at + 2)?)? << 4) | hex(*bytes.get(at + 3)?)?), 4),
        _ => None,
    }
}

fn entity(text: &str, at: usize) -> Option<Escape> {
    let body = text.as_bytes().get(at + 1..)?;
    let length = body.iter().take(LONGEST_ENTITY).position(|byte| *byte == b';')?;
    let name = text.get(at + 1..at + 1 + length)?;
    let number = match name.strip_prefix('#') {
        Some(number) => match number.strip_prefix(['x', 'X']) {
            Some(number) => u32::from_str_radix(number, 16).ok()?,
            None => number.parse().ok()?,
        },
        None => u32::from(match name {
            "commat" => '@',
            "period" => '.',
            "lowbar" => '_',
            "plus" => '+',
            "amp" => '&',
            "quot" => '"',
            "lt" => '<',
            "gt" => '>',
            "nbsp" => ' ',
            _ => return None,
        }),
    };
    Some(Escape::Sign { c: char::from_u32(number)?, length: length + 2 })
}

/// The plain sign that a sign stands for; `None` for one that is not seen.
fn plain(c: char) -> Option<char> {
    let digit = |zero: u32| char::from_digit(c as u32 - zero, 10);
    match c {
        '\u{FF01}'..='\u{FF5E}' => char::from_u32(c as u32 - 0xFEE0),
        '\u{A0}' | '\u{2000}'..='\u{200A}' | '\u{202F}' | '\u{205F}' | '\u{3000}' => Some(' '),
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{FE58}' | '\u{FE63}' => Some('-'),
        '\u{660}'..='\u{669}' => digit(0x660),
        '\u{6F0}'..='\u{6F9}' => digit(0x6F0),
        '\u{966}'..='\u{96F}' => digit(0x966),
        '\u{1D7CE}'..='\u{1D7FF}' => char::from_digit((c as u32 - 0x1D7CE) % 10, 10),
        '\u{FE6B}' => Some('@'),
        '\u{AD}' | '\u{200B}'..='\u{200D}' | '\u{2060}' | '\u{FEFF}' => None,
        other => Some(other),
    }
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Texts are far shorter than 4 GiB: a record has a limit.
fn narrow(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// U+30FC, written for a dash in numbers typed with a Japanese keyboard.
const LONG_VOWEL: char = '\u{30FC}';
/// Room for the pieces of an ordinary view: growing to it costs more than taking it at once.
const PIECES: usize = 16;
/// Bytes of the longest entity that is undone, without `&`.
const LONGEST_ENTITY: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str, span: &str, original: &str) {
        let view = View::unescaped(text).or_else(|| View::folded(text)).expect("another view");
        assert_eq!(view.text(), expected);
        let from = expected.find(span).expect("the span");
        let (begin, end) = view.back(from, from + span.len());
        assert_eq!(&text[begin..end], original);
    }

    #[test]
    fn a_span_is_carried_back_to_what_was_sent() {
        check("番号４１１１。", "番号4111。", "4111", "４１１１");
        check("41\u{200B}11", "4111", "4111", "41\u{200B}11");
        check("０３ー１２３４　x", "03-1234 x", "03-1234", "０３ー１２３４");
        check("コーヒー１ーa", "コーヒー1-a", "1-", "１ー");
        check("q=a%40b.de&x", "q=a@b.de&x", "a@b.de", "a%40b.de");
        check("%E9%9B%BB x", "電 x", "電", "%E9%9B%BB");
        check("%FF%41", "\u{FFFD}A", "A", "%41");
        check(r#"{\"a\u0040b\":\ud83d\ude00}"#, "{\"a@b\":😀}", "a@b", r"a\u0040b");
        check("a&#64;b&#x2e;de &amp; &nosuch;", "a@b.de & &nosuch;", "a@b.de", "a&#64;b&#x2e;de");
        check("𝟒𝟏", "41", "41", "𝟒𝟏");
    }

    #[test]
    fn layers_lie_on_each_other() {
        let text = "x=a%2540b%EF%BC%91";
        let first = View::unescaped(text).expect("a layer");
        let second = View::unescaped(first.text()).expect("another");
        assert_eq!(second.text(), "x=a@b1");
        let (from, to) = second.back(2, 6);
        assert_eq!(first.back(from, to), (2, text.len()));
    }

    #[test]
    fn a_plain_text_has_no_other_view() {
        for text in ["", "100% sure", "a\\b & c", "漢字かな", "é%", "%4", "\\u12", "&#;", "&&&&"] {
            assert!(View::folded(text).is_none() && View::unescaped(text).is_none(), "{text}");
        }
    }
}
