//! Aligned tables, by the width that a terminal gives to each character.

use anstyle::Style;
use unicode_width::UnicodeWidthStr;

use super::terminal::{FAINT, harmless, styled};

/// What stands between two columns.
const GAP: usize = 3;

/// What stands in a cell that has nothing to say, as kubectl writes it.
const NOTHING: &str = "";

/// One cell.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// A text in a style.
    pub fn new(text: &str, style: Style) -> Self {
        Self { text: harmless(text), style }
    }

    /// A text, or nothing.
    pub fn maybe(text: Option<&str>) -> Self {
        Self::from(text.unwrap_or(NOTHING))
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::new(text, Style::new())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

/// A table as it is filled.
#[derive(Debug, Default)]
pub(super) struct Table {
    headers: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with these columns.
    pub fn new(headers: &[&'static str]) -> Self {
        Self { headers: headers.to_vec(), rows: Vec::new() }
    }

    /// Adds a row, one cell for each column.
    pub fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.headers.len(), "a cell for each column");
        self.rows.push(cells);
    }

    /// The lines, each closed by a line break; without blanks at their ends.
    pub fn render(&self, with_headers: bool) -> String {
        let width_of = |column: usize| {
            let header = if with_headers { self.headers[column].width() } else { 0 };
            self.rows.iter().map(|row| row[column].text.width()).fold(header, usize::max)
        };
        let widths: Vec<usize> = (0..self.headers.len()).map(width_of).collect();
        let mut lines = String::new();
        if with_headers {
            let cells: Vec<Cell> = self.headers.iter().map(|header| Cell::new(header, FAINT)).collect();
            push_line(&mut lines, &cells, &widths);
        }
        for row in &self.rows {
            push_line(&mut lines, row, &widths);
        }
        lines
    }
}

fn push_line(lines: &mut String, cells: &[Cell], widths: &[usize]) {
    let last = cells.iter().rposition(|cell| !cell.text.is_empty()).unwrap_or(0);
    for (column, cell) in cells.iter().enumerate().take(last + 1) {
        lines.push_str(&styled(&cell.text, cell.style));
        if column < last {
            let padding = widths[column] - cell.text.width() + GAP;
            lines.extend(std::iter::repeat_n(' ', padding));
        }
    }
    lines.push('\n');
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::super::terminal::{BAD, plain};
    use super::*;

    #[test]
    fn columns_are_aligned_by_what_a_terminal_shows() {
        let mut table = Table::new(&["NAME", "OWNER", "AGE"]);
        table.row(vec!["acme".into(), Cell::new("日本", BAD), "5m".into()]);
        table.row(vec!["a-longer-name".into(), Cell::maybe(None), Cell::maybe(None)]);
        expect![[r#"
            NAME            OWNER   AGE
            acme            日本    5m
            a-longer-name
        "#]]
        .assert_eq(&plain(&table.render(true)));
        assert_eq!(plain(&table.render(false)).lines().count(), 2);
    }
}
