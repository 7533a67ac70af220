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
    put(&mut html, format_args!("<h1>{}</h1>\n", escape(&paper.title)));
    for words in &paper.lead {
        put(&mut html, format_args!("<p class=\"lead\">{}</p>\n", escape(words)));
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

fn section(html: &mut String, number: usize, section: &Section) {
    let (id, title) = (escape(&section.id), escape(&section.title));
    put(html, format_args!("<section id=\"{id}\" aria-labelledby=\"{id}-title\">\n"));
    put(html, format_args!("<h2 id=\"{id}-title\">{number}. {title}</h2>\n"));
    for words in &section.words {
        put(html, format_args!("<p>{}</p>\n", escape(words)));
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
        put(html, format_args!("<p class=\"none\"><strong>{caption}</strong>: {}</p>\n", escape(&table.empty)));
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
        for (place, cell) in row.iter().enumerate() {
            let class = class_of(cell);
            let cell = escape(cell);
            match place {
                0 => put(html, format_args!("<th scope=\"row\"{class}>{cell}</th>")),
                _ => put(html, format_args!("<td{class}>{cell}</td>")),
            }
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody>\n</table>\n</div>\n");
}

/// Numbers stand to the right; what needs a look has a mark beside its word, never a colour alone.
fn class_of(cell: &str) -> &'static str {
    let is_number = !cell.is_empty() && cell.chars().all(|letter| letter.is_ascii_digit() || letter == ' ');
    let is_digest = cell.len() == 64 && cell.chars().all(|letter| letter.is_ascii_hexdigit());
    match cell {
        _ if is_number => " class=\"number\"",
        _ if is_digest => " class=\"digest\"",
        _ if cell.starts_with("ATTENTION") => " class=\"attention\"",
        _ => "",
    }
}

fn picture(html: &mut String, map: &Map) {
    put(
        html,
        format_args!("<figure>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-labelledby=\"map-words\">\n"),
    );
    put(html, format_args!("<title id=\"map-words\">{}</title>\n", escape(&map.words)));
    html.push_str("<defs><marker id=\"tip\" viewBox=\"0 0 10 10\" refX=\"9\" refY=\"5\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\"><path d=\"M0 0L10 5L0 10z\" class=\"tip\"/></marker></defs>\n");
    for route in &map.routes {
        let arrow = map.arrow(route);
        let class = if route.is_open { "way" } else { "way shut" };
        let ((x1, y1), (x2, y2), (x, y)) = (arrow.from, arrow.to, arrow.badge);
        put(
            html,
            format_args!(
                "<line class=\"{class}\" stroke=\"#1f4e8c\" stroke-width=\"2\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" marker-end=\"url(#tip)\"/>\n"
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
