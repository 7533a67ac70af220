//! The report of an audit pack as it is before anybody has given it a form: sections of sentences and tables.
//!
//! The pages, the PDF, the JSON and the CSV files are all made from this, so that none of them can say something else.

use serde::{Deserialize, Serialize};

use super::map::Map;

/// A whole report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Paper {
    pub(super) title: String,
    /// What a reader in a hurry must know.
    pub(super) lead: Vec<String>,
    pub(super) sections: Vec<Section>,
}

/// One part of a report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Section {
    /// The end of its address in the pages.
    pub(super) id: String,
    pub(super) title: String,
    /// Paragraphs.
    pub(super) words: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) map: Option<Map>,
    pub(super) tables: Vec<Table>,
}

/// A table; a file of its own among the CSV files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Table {
    /// Name of the CSV file, without its ending.
    pub(super) name: String,
    pub(super) caption: String,
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
    /// What is said where there is no row.
    pub(super) empty: String,
}

impl Section {
    pub(super) fn new(id: &str, title: &str) -> Self {
        Self { id: id.to_owned(), title: title.to_owned(), ..Self::default() }
    }

    /// One more paragraph.
    pub(super) fn say(mut self, words: impl Into<String>) -> Self {
        self.words.push(words.into());
        self
    }

    pub(super) fn show(mut self, map: Map) -> Self {
        self.map = Some(map);
        self
    }

    pub(super) fn table(mut self, table: Table) -> Self {
        self.tables.push(table);
        self
    }
}

impl Table {
    pub(super) fn new(name: &str, caption: &str, columns: &[&str], empty: &str) -> Self {
        let columns = columns.iter().map(|column| (*column).to_owned()).collect();
        Self { name: name.to_owned(), caption: caption.to_owned(), columns, rows: Vec::new(), empty: empty.to_owned() }
    }

    /// With these rows.
    pub(super) fn rows<const N: usize>(mut self, rows: impl IntoIterator<Item = [String; N]>) -> Self {
        self.rows.extend(rows.into_iter().map(Vec::from));
        self
    }

    /// As RFC 4180 has it. A cell that a spreadsheet would take for a formula is quoted with an apostrophe.
    pub(super) fn csv(&self) -> String {
        let mut text = String::new();
        for row in std::iter::once(&self.columns).chain(&self.rows) {
            let cells: Vec<String> = row.iter().map(|cell| field(cell)).collect();
            text.push_str(&cells.join(","));
            text.push_str("\r\n");
        }
        text
    }
}

fn field(cell: &str) -> String {
    let is_formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']) && cell.parse::<f64>().is_err();
    let cell = if is_formula { format!("'{cell}") } else { cell.to_owned() };
    if cell.contains([',', '"', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_with_commas_quotes_and_formulas_are_written_so_that_they_stay_text() {
        let rows = [["a,b".to_owned(), "say \"x\"".to_owned()], ["=1+1".to_owned(), "-5".to_owned()]];
        let table = Table::new("t", "", &["one", "two"], "").rows(rows);
        assert_eq!(table.csv(), "one,two\r\n\"a,b\",\"say \"\"x\"\"\"\r\n'=1+1,-5\r\n");
    }
}
