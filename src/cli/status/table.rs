//! Columns that stand under one another.

use std::fmt::Write;

/// How a column stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Column {
    /// Words, to the left.
    Left(&'static str),
    /// Numbers, to the right.
    Right(&'static str),
}

impl Column {
    fn title(self) -> &'static str {
        match self {
            Column::Left(title) | Column::Right(title) => title,
        }
    }
}

/// Title line and rows, two spaces between columns, no space at line ends. A line of `under` stands below
/// its row, indented.
#[derive(Debug)]
pub(in crate::cli) struct Table {
    columns: Vec<Column>,
    rows: Vec<(Vec<String>, Vec<String>)>,
}

impl Table {
    pub(in crate::cli) fn new(columns: &[Column]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    pub(in crate::cli) fn row(&mut self, cells: Vec<String>) {
        self.row_with(cells, Vec::new());
    }

    pub(in crate::cli) fn row_with(&mut self, cells: Vec<String>, under: Vec<String>) {
        let clean = |texts: Vec<String>| texts.iter().map(|text| printable(text)).collect();
        self.rows.push((clean(cells), clean(under)));
    }

    pub(in crate::cli) fn render(&self) -> String {
        let titles: Vec<String> = self.columns.iter().map(|c| c.title().to_owned()).collect();
        let widths: Vec<usize> = (0..self.columns.len()).map(|n| self.width(n)).collect();
        let mut text = self.line(&titles, &widths);
        for (cells, under) in &self.rows {
            text.push_str(&self.line(cells, &widths));
            for line in under {
                let _infallible = writeln!(text, "      {line}");
            }
        }
        text
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|(cells, _)| cells.get(column));
        let title = self.columns.get(column).map_or(0, |c| c.title().len());
        cells.map(|cell| cell.chars().count()).fold(title, usize::max)
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let padded =
            self.columns.iter().zip(cells).zip(widths).map(|((column, cell), &width)| match column {
                Column::Left(_) => format!("{cell:<width$}"),
                Column::Right(_) => format!("{cell:>width$}"),
            });
        let line = padded.collect::<Vec<_>>().join("  ");
        format!("  {}\n", line.trim_end())
    }
}

/// Without control characters: what a broker or a sender put into a text must not steer the terminal.
pub(in crate::cli) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_have_no_tail() {
        let mut table = Table::new(&[Column::Left("name"), Column::Right("n"), Column::Left("state")]);
        table.row(vec!["a".into(), "1,000".into(), "ok".into()]);
        table.row_with(vec!["long-name".into(), "2".into(), String::new()], vec!["why".into()]);
        assert_eq!(
            table.render(),
            "  name           n  state\n  a          1,000  ok\n  long-name      2\n      why\n"
        );
    }

    #[test]
    fn escape_sequences_do_not_reach_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
    }
}
