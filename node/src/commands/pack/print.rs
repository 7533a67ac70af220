//! The report as a PDF: A4, numbered pages, a list of its parts beside them, and the same sentences and tables as the pages.
//!
//! The same report gives the same bytes, so that a verifier can make them again.

use pdf_writer::types::{LineCapStyle, PageMode};
use pdf_writer::{Content, Finish, Name, Pdf, Rect, Ref, Str, TextStr};

use super::letters::{Face, encode, width, wrap};
use super::map::{BADGE, BOX, HEIGHT, Map, WIDTH};
use super::paper::{Paper, Section, Table};

/// A4 in points.
const PAGE: (f32, f32) = (595.0, 842.0);
const MARGIN: f32 = 48.0;
const INNER: f32 = PAGE.0 - 2.0 * MARGIN;
/// Lowest place of a line, above the number of the page.
const FOOT: f32 = 62.0;

/// The bytes of the file.
pub(super) fn print(paper: &Paper) -> Vec<u8> {
    let mut sheets = Sheets::default();
    sheets.turn();
    sheets.words(&paper.title, Face::Bold, 19.0, 8.0);
    for words in &paper.lead {
        sheets.words(words, Face::Plain, 11.0, 5.0);
    }
    for (number, section) in (1..).zip(&paper.sections) {
        sheets.section(number, section);
    }
    sheets.bind(&paper.title)
}

/// Pages as they are filled from the top.
#[derive(Default)]
struct Sheets {
    pages: Vec<Content>,
    /// Where the next line stands.
    y: f32,
    /// Titles with the page and the height at which they stand.
    parts: Vec<(String, usize, f32)>,
}

impl Sheets {
    /// A new page.
    fn turn(&mut self) {
        self.pages.push(Content::new());
        self.y = PAGE.1 - MARGIN;
    }

    /// Makes sure that so much fits on this page.
    fn need(&mut self, height: f32) {
        if self.y - height < FOOT {
            self.turn();
        }
    }

    fn line(&mut self, bytes: &[u8], (x, y): (f32, f32), face: Face, size: f32) {
        let font = if face == Face::Bold { Name(b"B") } else { Name(b"P") };
        if let Some(page) = self.pages.last_mut() {
            page.begin_text().set_font(font, size).next_line(x, y).show(Str(bytes)).end_text();
        }
    }

    /// A paragraph, and room behind it.
    fn words(&mut self, words: &str, face: Face, size: f32, after: f32) {
        let lead = size * 1.35;
        for line in wrap(words, face, size, INNER) {
            self.need(lead);
            self.y -= lead;
            self.line(&line, (MARGIN, self.y), face, size);
        }
        self.y -= after;
    }

    fn section(&mut self, number: usize, section: &Section) {
        self.y -= 14.0;
        self.need(90.0);
        let title = format!("{number}. {}", section.title);
        self.parts.push((title.clone(), self.pages.len().saturating_sub(1), self.y));
        self.words(&title, Face::Bold, 14.0, 5.0);
        for words in &section.words {
            self.words(words, Face::Plain, 10.0, 4.0);
        }
        if let Some(map) = &section.map {
            self.map(map);
        }
        for table in &section.tables {
            self.table(table);
        }
    }

    fn table(&mut self, table: &Table) {
        self.y -= 6.0;
        if table.rows.is_empty() {
            self.words(&format!("{}: {}", table.caption, table.empty), Face::Plain, 10.0, 4.0);
            return;
        }
        self.need(70.0);
        self.words(&table.caption, Face::Bold, 10.0, 3.0);
        let widths = widths(table);
        self.row(&table.columns, &widths, Face::Bold);
        for row in &table.rows {
            let page = self.pages.len();
            self.need(row_height(row, &widths, Face::Plain));
            if self.pages.len() != page {
                self.row(&table.columns, &widths, Face::Bold);
            }
            self.row(row, &widths, Face::Plain);
        }
        self.y -= 6.0;
    }

    fn row(&mut self, cells: &[String], widths: &[f32], face: Face) {
        let height = row_height(cells, widths, face);
        let top = self.y;
        if let Some(page) = self.pages.last_mut() {
            if face == Face::Bold {
                page.set_fill_gray(0.92).rect(MARGIN, top - height, INNER, height).fill_nonzero().set_fill_gray(0.0);
            }
            page.set_stroke_gray(0.7).set_line_width(0.4);
            page.move_to(MARGIN, top - height).line_to(MARGIN + INNER, top - height).stroke();
        }
        let mut x = MARGIN;
        for (cell, wide) in cells.iter().zip(widths) {
            for (number, line) in (1_u16..).zip(wrap(cell, face, CELL, wide - 2.0 * PAD)) {
                self.line(&line, (x + PAD, top - f32::from(number) * CELL * 1.25), face, CELL);
            }
            x += wide;
        }
        self.y = top - height;
    }

    #[allow(clippy::cast_possible_truncation, reason = "places on a page")]
    fn map(&mut self, map: &Map) {
        self.need(HEIGHT as f32 + 20.0);
        let (left, top) = (MARGIN + (INNER - WIDTH as f32) / 2.0, self.y - 6.0);
        let at = |(x, y): (f64, f64)| (left + x as f32, top - y as f32);
        for route in &map.routes {
            let arrow = map.arrow(route);
            let ((x1, y1), (x2, y2), badge) = (at(arrow.from), at(arrow.to), at(arrow.badge));
            if let Some(page) = self.pages.last_mut() {
                way(page, (x1, y1), (x2, y2), route.is_open);
                ring(page, badge, BADGE as f32);
            }
            let number = encode(&route.number.to_string());
            let x = badge.0 - width(&number, Face::Bold, 10.0) / 2.0;
            self.line(&number, (x, badge.1 - 3.5), Face::Bold, 10.0);
        }
        for (number, place) in map.places.iter().enumerate() {
            let (x, y) = at(map.middle(number));
            let (wide, high) = (BOX.0 as f32, BOX.1 as f32);
            if let Some(page) = self.pages.last_mut() {
                page.set_fill_gray(0.94).set_stroke_gray(0.2).set_line_width(1.0);
                page.rect(x - wide / 2.0, y - high / 2.0, wide, high).fill_nonzero_and_stroke().set_fill_gray(0.0);
            }
            let lines = std::iter::once((&place.name, Face::Bold, 12.0));
            let lines = lines.chain(place.about.iter().map(|about| (about, Face::Plain, 9.0)));
            let mut down = y + high / 2.0 - 20.0;
            for (words, face, size) in lines {
                let bytes = encode(words);
                self.line(&bytes, (x - width(&bytes, face, size) / 2.0, down), face, size);
                down -= 14.0;
            }
        }
        self.y = top - HEIGHT as f32 - 8.0;
        self.words(&map.words, Face::Plain, 9.0, 4.0);
    }

    /// Puts the pages together.
    fn bind(self, title: &str) -> Vec<u8> {
        let mut next = 0;
        let mut fresh = || {
            next += 1;
            Ref::new(next)
        };
        let (catalog, tree, plain, bold, info, outline) = (fresh(), fresh(), fresh(), fresh(), fresh(), fresh());
        let pages: Vec<(Ref, Ref)> = self.pages.iter().map(|_| (fresh(), fresh())).collect();
        let parts: Vec<Ref> = self.parts.iter().map(|_| fresh()).collect();
        let mut pdf = Pdf::new();
        pdf.document_info(info).title(TextStr(title)).creator(TextStr("Domicile"));
        let mut root = pdf.catalog(catalog);
        root.pages(tree).outlines(outline).page_mode(PageMode::UseOutlines).lang(TextStr("en"));
        root.finish();
        let count = i32::try_from(pages.len()).unwrap_or(i32::MAX);
        pdf.pages(tree).kids(pages.iter().map(|(page, _)| *page)).count(count);
        for (font, name) in [(plain, &b"Helvetica"[..]), (bold, &b"Helvetica-Bold"[..])] {
            pdf.type1_font(font).base_font(Name(name)).encoding_predefined(Name(b"WinAnsiEncoding"));
        }
        let total = pages.len();
        for ((number, mut content), (page, stream)) in (1..).zip(self.pages).zip(&pages) {
            let foot = encode(&format!("{title} – page {number} of {total}"));
            let x = PAGE.0 - MARGIN - width(&foot, Face::Plain, 8.0);
            content.begin_text().set_font(Name(b"P"), 8.0).next_line(x, 34.0).show(Str(&foot)).end_text();
            let mut sheet = pdf.page(*page);
            sheet.media_box(Rect::new(0.0, 0.0, PAGE.0, PAGE.1)).parent(tree).contents(*stream);
            sheet.resources().fonts().pair(Name(b"P"), plain).pair(Name(b"B"), bold);
            sheet.finish();
            pdf.stream(*stream, &content.finish());
        }
        outlines(&mut pdf, outline, &parts, &self.parts, &pages);
        pdf.finish()
    }
}

/// The list of parts that a reader shows beside the pages.
fn outlines(pdf: &mut Pdf, outline: Ref, ids: &[Ref], parts: &[(String, usize, f32)], pages: &[(Ref, Ref)]) {
    let mut list = pdf.outline(outline);
    if let (Some(first), Some(last)) = (ids.first(), ids.last()) {
        list.first(*first).last(*last).count(i32::try_from(ids.len()).unwrap_or(i32::MAX));
    }
    list.finish();
    for (place, (title, page, y)) in parts.iter().enumerate() {
        let (Some(id), Some((page, _))) = (ids.get(place), pages.get(*page)) else { continue };
        let mut item = pdf.outline_item(*id);
        item.title(TextStr(title)).parent(outline);
        if let Some(before) = place.checked_sub(1).and_then(|before| ids.get(before)) {
            item.prev(*before);
        }
        if let Some(after) = ids.get(place + 1) {
            item.next(*after);
        }
        item.dest().page(*page).xyz(0.0, *y + 4.0, None);
    }
}

fn way(page: &mut Content, from: (f32, f32), to: (f32, f32), is_open: bool) {
    let (x, y) = (to.0 - from.0, to.1 - from.1);
    let length = x.hypot(y).max(1.0);
    let (x, y) = (x / length, y / length);
    page.save_state().set_line_width(1.4).set_line_cap(LineCapStyle::ButtCap).set_stroke_gray(0.25);
    if !is_open {
        page.set_dash_pattern([4.0, 4.0], 0.0);
    }
    page.move_to(from.0, from.1).line_to(to.0 - x * 6.0, to.1 - y * 6.0).stroke();
    page.set_fill_gray(0.25).move_to(to.0, to.1).line_to(to.0 - x * 9.0 - y * 4.0, to.1 - y * 9.0 + x * 4.0);
    page.line_to(to.0 - x * 9.0 + y * 4.0, to.1 - y * 9.0 - x * 4.0).close_path().fill_nonzero().restore_state();
}

/// A white disc with an edge, of four curves.
fn ring(page: &mut Content, (x, y): (f32, f32), radius: f32) {
    let bow = radius * 0.552_3;
    page.save_state().set_fill_gray(1.0).set_stroke_gray(0.25).set_line_width(1.0).move_to(x + radius, y);
    page.cubic_to(x + radius, y + bow, x + bow, y + radius, x, y + radius);
    page.cubic_to(x - bow, y + radius, x - radius, y + bow, x - radius, y);
    page.cubic_to(x - radius, y - bow, x - bow, y - radius, x, y - radius);
    page.cubic_to(x + bow, y - radius, x + radius, y - bow, x + radius, y);
    page.fill_nonzero_and_stroke().restore_state();
}

/// Size of the letters in a table, and room beside them.
const CELL: f32 = 7.5;
const PAD: f32 = 3.0;

fn row_height(cells: &[String], widths: &[f32], face: Face) -> f32 {
    let lines = cells.iter().zip(widths).map(|(cell, wide)| wrap(cell, face, CELL, wide - 2.0 * PAD).len());
    let lines = u16::try_from(lines.max().unwrap_or(1)).unwrap_or(u16::MAX);
    f32::from(lines) * CELL * 1.25 + 4.0
}

/// Each column at least as wide as its longest word, so that no word is cut; what is left goes to those with more to say.
fn widths(table: &Table) -> Vec<f32> {
    let least: Vec<f32> = (0..table.columns.len()).map(|place| need(table, place, true)).collect();
    let wanted: Vec<f32> = (0..table.columns.len()).map(|place| need(table, place, false)).collect();
    let (narrow, wide) = (least.iter().sum::<f32>(), wanted.iter().sum::<f32>());
    if narrow >= INNER || wide <= narrow {
        return least.iter().map(|column| column * INNER / narrow.max(1.0)).collect();
    }
    let share = (INNER - narrow) / (wide - narrow);
    least.iter().zip(&wanted).map(|(least, wanted)| least + (wanted - least) * share).collect()
}

/// How wide a column must be for its longest word, or would be for its longest cell, at most half of a page.
fn need(table: &Table, place: usize, is_by_word: bool) -> f32 {
    let measure = |text: &str, face: Face| {
        let bytes = encode(text);
        let pieces = bytes.split(|byte| is_by_word && *byte == b' ');
        pieces.map(|piece| width(piece, face, CELL)).fold(0.0, f32::max)
    };
    let head = table.columns.get(place).map_or(0.0, |column| measure(column, Face::Bold));
    let cells = table.rows.iter().filter_map(|row| row.get(place));
    let widest = cells.map(|cell| measure(cell, Face::Plain)).fold(head, f32::max);
    (widest + 2.0 * PAD + 1.0).min(INNER * 0.5)
}

#[cfg(test)]
mod tests {
    use super::super::specimen;
    use super::*;

    #[test]
    fn the_same_report_gives_the_same_whole_file() {
        let bytes = print(&specimen::paper());
        assert_eq!(bytes, print(&specimen::paper()));
        assert!(bytes.starts_with(b"%PDF-1.") && bytes.ends_with(b"%%EOF"));
        let has = |words: &str| memchr::memmem::find(&bytes, words.as_bytes()).is_some();
        // The foot has a dash, which is no ASCII: such text stands in the file in hexadecimal digits.
        assert!(has("Helvetica-Bold") && has(&hex::encode_upper("page 1 of")));
        assert!(has("(1. ") && !has("/URI") && !has("/JavaScript"), "parts are there; nothing runs or leads out");
    }

    #[test]
    fn a_long_table_goes_on_over_the_pages_with_its_head_on_each() {
        let mut paper = specimen::paper();
        let row = vec!["a cell of several words".to_owned(); paper.sections[0].tables[0].columns.len()];
        paper.sections[0].tables[0].rows = vec![row; 400];
        paper.sections[0].tables[0].columns[0] = "Unmistakable".to_owned();
        let bytes = print(&paper);
        let heads = memchr::memmem::find_iter(&bytes, b"Unmistakable").count();
        let pages = memchr::memmem::find_iter(&bytes, b"/MediaBox").count();
        assert!(pages > 5 && heads >= pages - 2, "{heads} heads on {pages} pages");
    }
}
