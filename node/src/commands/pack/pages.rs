//! The report as one HTML file: no script, no request to anywhere, readable on a screen, on paper and by a screen reader.

use std::fmt::Write;

use super::map::{BADGE, BOX, HEIGHT, Map, WIDTH};
use super::paper::{Paper, Section, Table};

/// The whole file.
pub(super) fn pages(paper: &Paper) -> String {
    let mut html = String::with_capacity(64 << 10);
    html.push_str("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    html.push_str(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n",
    );
    html.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    html.push_str("<meta name=\"color-scheme\" content=\"light dark\">\n");
    put(
        &mut html,
        format_args!("<title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n", escape(&paper.title)),
    );
    html.push_str("<a class=\"skip\" href=\"#main\">To the report</a>\n<header>\n");
    put(&mut html, format_args!("<h1>{}</h1>\n", words(&paper.title)));
    for said in &paper.lead {
        put(&mut html, format_args!("<p class=\"lead\">{}</p>\n", linked(said, &paper.sections)));
    }
    html.push_str("</header>\n<nav aria-label=\"Contents\">\n<h2>Contents</h2>\n<ol>\n");
    for section in &paper.sections {
        let (id, title) = (escape(&section.id), escape(&section.title));
        put(&mut html, format_args!("<li><a href=\"#{id}\">{title}</a></li>\n"));
    }
    html.push_str("</ol>\n</nav>\n<main id=\"main\">\n");
    for (number, part) in (1..).zip(&paper.sections) {
        section(&mut html, number, part);
    }
    html.push_str("</main>\n</body>\n</html>\n");
    html
}

/// Writing into a text cannot fail.
fn put(html: &mut String, arguments: std::fmt::Arguments<'_>) {
    let _ = html.write_fmt(arguments);
}

/// As text between tags, or as an attribute in double quotes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(letter),
        }
    }
    escaped
}

/// Text between tags; what stands between two backticks is something to type, or a name.
fn words(text: &str) -> String {
    let escaped = escape(text);
    if escaped.matches('`').count() % 2 == 1 {
        return escaped;
    }
    let mut parts = escaped.split('`');
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for (place, part) in parts.enumerate() {
        shown.push_str(if place % 2 == 0 { "<code>" } else { "</code>" });
        shown.push_str(part);
    }
    shown
}

/// The same, with a way to each section that it names by its number.
fn linked(text: &str, sections: &[Section]) -> String {
    let mut shown = words(text);
    for (number, section) in (1..).zip(sections) {
        let (named, id) = (format!("(section {number})"), escape(&section.id));
        shown = shown.replace(&named, &format!("(<a href=\"#{id}\">section {number}</a>)"));
    }
    shown
}

/// What stands in a cell: long numbers in groups of three, times as a day and a time that are not broken.
fn cell(text: &str) -> String {
    let is_number = text.len() > 4 && text.len() < 20 && text.bytes().all(|letter| letter.is_ascii_digit());
    if is_number {
        let digits: Vec<&str> = text.split("").filter(|digit| !digit.is_empty()).collect();
        let groups: Vec<String> = digits.rchunks(3).rev().map(|group| group.concat()).collect();
        return groups.join("\u{202f}");
    }
    match text.split_once('T') {
        Some((day, time)) if is_day(day) && time.ends_with('Z') && !time.contains(' ') => {
            format!("<time>{day}</time> <time>{}</time>", escape(time))
        }
        None if is_day(text) => format!("<time>{text}</time>"),
        _ => words(text),
    }
}

fn is_day(text: &str) -> bool {
    text.len() == 10
        && text.bytes().enumerate().all(
            |(place, letter)| {
                if place == 4 || place == 7 { letter == b'-' } else { letter.is_ascii_digit() }
            },
        )
}

fn section(html: &mut String, number: usize, section: &Section) {
    let (id, title) = (escape(&section.id), escape(&section.title));
    put(html, format_args!("<section id=\"{id}\" aria-labelledby=\"{id}-title\">\n"));
    put(html, format_args!("<h2 id=\"{id}-title\">{number}. {title}</h2>\n"));
    for said in &section.words {
        put(html, format_args!("<p>{}</p>\n", words(said)));
    }
    if let Some(map) = &section.map {
        picture(html, map);
    }
    for one in &section.tables {
        table(html, one);
    }
    html.push_str("</section>\n");
}

fn table(html: &mut String, table: &Table) {
    let caption = escape(&table.caption);
    if table.rows.is_empty() {
        put(html, format_args!("<p class=\"none\"><strong>{caption}</strong>: {}</p>\n", words(&table.empty)));
        return;
    }
    put(
        html,
        format_args!(
            "<div class=\"wide\" role=\"region\" tabindex=\"0\" aria-label=\"{caption}\">\n<table>\n<caption>{caption}</caption>\n<thead>\n<tr>"
        ),
    );
    for column in &table.columns {
        put(html, format_args!("<th scope=\"col\">{}</th>", escape(column)));
    }
    html.push_str("</tr>\n</thead>\n<tbody>\n");
    for row in &table.rows {
        html.push_str("<tr>");
        for (place, text) in row.iter().enumerate() {
            let (class, cell) = (class_of(text), cell(text));
            match place {
                0 => put(html, format_args!("<th scope=\"row\"{class}>{cell}</th>")),
                _ => put(html, format_args!("<td{class}>{cell}</td>")),
            }
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody>\n</table>\n</div>\n");
}

/// Numbers stand to the right; what has no place to break may be broken anywhere; what needs a look has a mark beside its word, never a colour alone.
fn class_of(cell: &str) -> &'static str {
    let is_number = !cell.is_empty() && cell.chars().all(|letter| letter.is_ascii_digit() || letter == ' ');
    let is_digest = cell.len() == 64 && cell.chars().all(|letter| letter.is_ascii_hexdigit());
    let is_long = cell.split([' ', '-', '/']).any(|word| word.chars().count() > 20);
    match cell {
        _ if is_number => " class=\"number\"",
        _ if is_digest => " class=\"digest\"",
        _ if cell.starts_with("ATTENTION") => " class=\"attention\"",
        _ if is_long => " class=\"long\"",
        _ => "",
    }
}

fn picture(html: &mut String, map: &Map) {
    put(
        html,
        format_args!("<figure>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-labelledby=\"map-words\">\n"),
    );
    put(html, format_args!("<title id=\"map-words\">{}</title>\n", escape(&map.words)));
    html.push_str("<defs><marker id=\"tip\" viewBox=\"0 0 10 10\" refX=\"9\" refY=\"5\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\"><path d=\"M0 0L10 5L0 10z\" class=\"tip\"/></marker><marker id=\"tip-shut\" viewBox=\"0 0 10 10\" refX=\"9\" refY=\"5\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\"><path d=\"M0 0L10 5L0 10z\" class=\"tip-shut\"/></marker></defs>\n");
    for route in &map.routes {
        let arrow = map.arrow(route);
        let (class, tip) = if route.is_open { ("way", "tip") } else { ("way shut", "tip-shut") };
        let ((x1, y1), (x2, y2), (x, y)) = (arrow.from, arrow.to, arrow.badge);
        put(
            html,
            format_args!(
                "<line class=\"{class}\" stroke=\"#1f4e8c\" stroke-width=\"2\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" marker-end=\"url(#{tip})\"/>\n"
            ),
        );
        put(
            html,
            format_args!(
                "<circle class=\"badge\" fill=\"#ffffff\" stroke=\"#1f4e8c\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{BADGE}\"/>"
            ),
        );
        put(
            html,
            format_args!(
                "<text class=\"count\" text-anchor=\"middle\" font-size=\"12\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>\n",
                y + 4.0,
                route.number
            ),
        );
    }
    for (number, place) in map.places.iter().enumerate() {
        let (x, y) = map.middle(number);
        let (left, top) = (x - BOX.0 / 2.0, y - BOX.1 / 2.0);
        put(
            html,
            format_args!(
                "<rect class=\"place\" fill=\"#f2f4f7\" stroke=\"#1b1f24\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{}\" height=\"{}\" rx=\"8\"/>",
                BOX.0, BOX.1
            ),
        );
        put(
            html,
            format_args!(
                "<text class=\"name\" text-anchor=\"middle\" font-size=\"14\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
                top + 22.0,
                escape(&place.name)
            ),
        );
        for (line, words) in (0_u8..).zip(&place.about) {
            let y = top + 38.0 + 14.0 * f64::from(line);
            put(
                html,
                format_args!(
                    "<text class=\"about\" text-anchor=\"middle\" font-size=\"11\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>",
                    escape(words)
                ),
            );
        }
        html.push('\n');
    }
    put(html, format_args!("</svg>\n<figcaption>{}</figcaption>\n</figure>\n", escape(&map.words)));
}

const STYLE: &str = include_str!("pages.css");

#[cfg(test)]
mod tests {
    use super::super::specimen;
    use super::*;

    #[test]
    fn the_pages_ask_nobody_for_anything_and_run_nothing() {
        let html = pages(&specimen::paper());
        for forbidden in ["<script", "http://", "https://", "src=", "@import", "<link", "<iframe", "javascript:"] {
            assert!(!html.contains(forbidden), "{forbidden}");
        }
        assert!(html.contains("default-src 'none'"));
        assert!(!STYLE.contains("url("), "a style may fetch too");
    }

    #[test]
    fn what_stands_in_a_cell_is_never_taken_for_markup() {
        let mut paper = specimen::paper();
        paper.title = "<b>&\"'".to_owned();
        paper.sections[0].tables[0].rows[0][0] = "<img onerror=x>".to_owned();
        let html = pages(&paper);
        assert!(html.contains("<title>&lt;b&gt;&amp;&quot;&#39;</title>"));
        assert!(!html.contains("<img") && html.contains("&lt;img onerror=x&gt;"));
    }

    #[test]
    fn numbers_days_and_names_are_shown_as_people_read_them() {
        for (text, shown) in [
            ("1234", "1234"),
            ("50000", "50\u{202f}000"),
            ("1234567", "1\u{202f}234\u{202f}567"),
            ("2026-11-21", "<time>2026-11-21</time>"),
            ("2026-11-21T21:26:40Z", "<time>2026-11-21</time> <time>21:26:40Z</time>"),
            ("tenant `a<b`", "tenant <code>a&lt;b</code>"),
            ("one ` alone", "one ` alone"),
            ("2026-11-2<", "2026-11-2&lt;"),
        ] {
            assert_eq!(cell(text), shown);
        }
        let mut paper = specimen::paper();
        paper.lead = vec!["1 thing needs attention: it (section 2).".to_owned()];
        assert!(pages(&paper).contains("(<a href=\"#second\">section 2</a>)"));
    }

    #[test]
    fn every_tag_is_closed_and_every_table_can_be_read_aloud() {
        let html = pages(&specimen::paper());
        for tag in [
            "html", "head", "body", "header", "nav", "main", "section", "table", "thead", "tbody", "tr", "th", "td",
            "p", "svg", "figure", "ol", "li",
        ] {
            let opened = html.matches(&format!("<{tag}>")).count() + html.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, html.matches(&format!("</{tag}>")).count(), "{tag}");
        }
        assert_eq!(html.matches("<table>").count(), html.matches("<caption>").count());
        assert!(html.contains("scope=\"col\"") && html.contains("lang=\"en\"") && html.contains("role=\"img\""));
        let ids: Vec<&str> = html.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let unique: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(ids.len(), unique.len(), "an id stands twice");
        for target in html.split("href=\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(ids.contains(&target), "{target}");
        }
    }
}
