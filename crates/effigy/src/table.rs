//! Tables for people: columns as wide as they have to be, the last one as wide as there is room for.

use crate::print::Page;

/// How the cells of a column are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// A table. Columns in which no row has anything are left out.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// One with these columns.
    pub(crate) fn new(columns: &[(&'static str, Align)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row: a cell for each column, safe for a terminal.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.columns.len(), "a cell for each column");
        self.rows.push(cells.into());
    }

    /// Prints it. On a terminal, lines that are too long are cut.
    pub(crate) fn print(&self, page: &mut Page) {
        let width = page.width();
        for line in self.lines(width) {
            page.line(line);
        }
    }

    fn lines(&self, width: Option<usize>) -> impl Iterator<Item = String> + '_ {
        let shown: Vec<(usize, usize)> = (0..self.columns.len())
            .filter(|column| self.rows.iter().any(|row| row.get(*column).is_some_and(|cell| !cell.is_empty())))
            .map(|column| (column, self.width_of(column)))
            .collect();
        let head = self.columns.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>();
        let rows = std::iter::once(head).chain(self.rows.iter().cloned());
        let any = !self.rows.is_empty();
        rows.filter(move |_| any).map(move |row| self.line(&row, &shown, width))
    }

    fn width_of(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.max().unwrap_or(0).max(self.columns[column].0.chars().count())
    }

    fn line(&self, row: &[String], shown: &[(usize, usize)], width: Option<usize>) -> String {
        let mut line = String::new();
        for (place, (column, room)) in shown.iter().enumerate() {
            if place > 0 {
                line.push_str("  ");
            }
            let cell = row.get(*column).map_or("", String::as_str);
            let padding = room.saturating_sub(cell.chars().count());
            let before = if self.columns[*column].1 == Align::Right { padding } else { 0 };
            line.extend(std::iter::repeat_n(' ', before));
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', padding - before));
        }
        shorten(line.trim_end(), width)
    }
}

/// A line that is no wider than the terminal.
pub(crate) fn shorten(line: &str, width: Option<usize>) -> String {
    match width {
        Some(width) if line.chars().count() > width => {
            line.chars().take(width.saturating_sub(1)).chain(['…']).collect()
        }
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&[("name", Align::Left), ("size", Align::Right), ("note", Align::Left)]);
        table.row(["heap".into(), "12".into(), String::new()]);
        table.row(["a long name".into(), "4096".into(), String::new()]);
        table
    }

    #[test]
    fn columns_are_aligned_and_empty_ones_left_out() {
        let lines: Vec<_> = table().lines(None).collect();
        assert_eq!(lines, ["name         size", "heap           12", "a long name  4096"]);
    }

    #[test]
    fn lines_end_at_the_edge_of_the_terminal() {
        let lines: Vec<_> = table().lines(Some(14)).collect();
        assert_eq!(lines[2], "a long name  …");
        assert_eq!(Table::new(&[("x", Align::Left)]).lines(None).count(), 0);
    }
}
