//! Letters of the two typefaces that every PDF reader has, Helvetica and Helvetica-Bold: their codes and how wide they are.
//!
//! Widths are those of Adobe's published font metrics, in thousandths of the size.

/// A typeface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Face {
    Plain,
    Bold,
}

/// Text as the bytes of WinAnsi. What has no place there is written as its Unicode number.
pub(super) fn encode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            ' '..='~' | '\u{a0}'..='\u{ff}' => bytes.push(u8::try_from(u32::from(letter)).unwrap_or(b'?')),
            '–' => bytes.push(0x96),
            '—' => bytes.push(0x97),
            '‘' => bytes.push(0x91),
            '’' => bytes.push(0x92),
            '“' => bytes.push(0x93),
            '”' => bytes.push(0x94),
            '…' => bytes.push(0x85),
            '→' => bytes.extend_from_slice(b"to"),
            '\n' | '\t' | '\r' => bytes.push(b' '),
            other => bytes.extend_from_slice(format!("U+{:04X}", u32::from(other)).as_bytes()),
        }
    }
    bytes
}

/// How wide encoded text is at a size.
pub(super) fn width(bytes: &[u8], face: Face, size: f32) -> f32 {
    let widths = if face == Face::Bold { &BOLD } else { &PLAIN };
    let thousandths: u32 = bytes
        .iter()
        .map(|byte| {
            let index = usize::from(*byte).checked_sub(32);
            u32::from(index.and_then(|index| widths.get(index)).copied().unwrap_or(OTHER))
        })
        .sum();
    #[allow(clippy::cast_precision_loss, reason = "a line is short")]
    let thousandths = thousandths as f32;
    thousandths * size / 1_000.0
}

/// Lines of at most so many points. A word that is wider than a line is cut.
pub(super) fn wrap(text: &str, face: Face, size: f32, most: f32) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    let mut line: Vec<u8> = Vec::new();
    for word in encode(text).split(|byte| *byte == b' ').filter(|word| !word.is_empty()) {
        let mut joined = line.clone();
        if !joined.is_empty() {
            joined.push(b' ');
        }
        joined.extend_from_slice(word);
        if width(&joined, face, size) <= most {
            line = joined;
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        for byte in word {
            line.push(*byte);
            if width(&line, face, size) > most && line.len() > 1 {
                line.pop();
                lines.push(std::mem::replace(&mut line, vec![*byte]));
            }
        }
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}

/// Letters beyond ASCII: as wide as most of them are.
const OTHER: u16 = 556;

/// From the blank to the tilde.
#[rustfmt::skip]
const PLAIN: [u16; 95] = [
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278,
    556, 556, 556, 556, 556, 556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556,
    1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833, 722, 778,
    667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469, 556,
    333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556,
    556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584,
];
#[rustfmt::skip]
const BOLD: [u16; 95] = [
    278, 333, 474, 556, 556, 889, 722, 238, 333, 333, 389, 584, 278, 333, 278, 278,
    556, 556, 556, 556, 556, 556, 556, 556, 556, 556, 333, 333, 584, 584, 584, 611,
    975, 722, 722, 722, 722, 667, 611, 778, 722, 278, 556, 722, 611, 833, 722, 778,
    667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 333, 278, 333, 584, 556,
    333, 556, 611, 556, 611, 556, 333, 611, 611, 278, 278, 556, 278, 889, 611, 611,
    611, 611, 389, 556, 333, 611, 556, 778, 556, 556, 500, 389, 280, 389, 584,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_wider_than_asked_and_no_letter_is_lost() {
        let text = format!("a few words and {} and § 5 – “so” 東", "x".repeat(200));
        let lines = wrap(&text, Face::Bold, 9.0, 80.0);
        assert!(lines.len() > 5);
        assert!(lines.iter().all(|line| width(line, Face::Bold, 9.0) <= 80.0));
        let letters = |bytes: &[u8]| bytes.iter().copied().filter(|byte| *byte != b' ').collect::<Vec<u8>>();
        assert_eq!(letters(&lines.concat()), letters(&encode(&text)));
        assert!(encode("東").starts_with(b"U+6771"), "never left out in silence");
        assert_eq!(wrap("", Face::Plain, 9.0, 80.0), [Vec::<u8>::new()]);
    }
}
