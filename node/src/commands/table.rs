//! Plain tables for a terminal: columns as wide as their widest cell, nothing depends on colour alone.

use std::io::IsTerminal;

/// Prints a heading and rows in aligned columns. The last column may be as long as it likes.
pub(super) fn print(heading: &[&str], rows: &[Vec<String>]) {
    let widths = widths(heading, rows);
    println!("{}", line(&heading.iter().map(|cell| cell.to_uppercase()).collect::<Vec<_>>(), &widths));
    for row in rows {
        println!("{}", line(row, &widths));
    }
}

fn widths(heading: &[&str], rows: &[Vec<String>]) -> Vec<usize> {
    let mut widths: Vec<usize> = heading.iter().map(|cell| width(cell)).collect();
    for row in rows {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = (*widest).max(width(cell));
        }
    }
    widths
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let mut out = String::new();
    for (place, cell) in cells.iter().enumerate() {
        out.push_str(cell);
        if place + 1 < cells.len() {
            let missing = widths.get(place).copied().unwrap_or_default().saturating_sub(width(cell));
            out.push_str(&" ".repeat(missing + 2));
        }
    }
    out
}

/// Columns a text takes on a terminal: two for characters of East Asian scripts, none for marks of colour.
pub(super) fn width(text: &str) -> usize {
    let mut columns = 0;
    let mut in_mark = false;
    for c in text.chars() {
        match c {
            '\u{1b}' => in_mark = true,
            'm' if in_mark => in_mark = false,
            _ if in_mark => {}
            '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}' => columns += 2,
            '\u{f900}'..='\u{faff}' | '\u{fe30}'..='\u{fe6f}' | '\u{ff00}'..='\u{ff60}' => columns += 2,
            _ => columns += 1,
        }
    }
    columns
}

/// Whether output goes to a person who sees colours.
pub(super) fn has_colours() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// A text without control characters, so that a log line cannot steer the terminal.
pub(super) fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '·' } else { c }).collect()
}

/// A text for one look: the beginning of a very long one, and that there is more.
pub(super) fn cut(text: String) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => {
            format!("{}… ({} bytes; all of it with `--json`)", text.get(..end).unwrap_or_default(), text.len())
        }
        None => text,
    }
}

/// Characters of a text that a table shows.
const LONGEST: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_with_wide_characters_and_colours() {
        assert_eq!(width("決済"), 4);
        assert_eq!(width("\u{1b}[31mERROR\u{1b}[0m"), 5);
        let rows = vec![vec!["東京".to_owned(), "x".to_owned()], vec!["a".to_owned(), "y".to_owned()]];
        let widths = widths(&["r", "m"], &rows);
        assert_eq!(line(&rows[0], &widths), "東京  x");
        assert_eq!(line(&rows[1], &widths), "a     y");
    }

    #[test]
    fn a_very_long_text_is_cut_and_says_so() {
        assert_eq!(cut("短い".to_owned()), "短い");
        assert_eq!(cut("長".repeat(LONGEST)), "長".repeat(LONGEST));
        let long = cut("長".repeat(LONGEST + 1));
        assert!(long.starts_with(&"長".repeat(LONGEST)) && long.contains("… (3003 bytes"), "{long}");
    }

    #[test]
    fn a_log_line_cannot_steer_the_terminal() {
        assert_eq!(harmless("a\u{1b}[2Jb\r\n"), "a·[2Jb··");
    }
}
