//! Columns, laid out as Go's `tabwriter` lays them out: a column is as wide as its widest cell
//! among the lines that follow each other and have it.

/// Lines of cells with tabs between them.
#[derive(Debug)]
pub(crate) struct Table {
    minimum: usize,
    padding: usize,
    lines: Vec<Vec<String>>,
}

impl Default for Table {
    /// What Docker uses for its lists.
    fn default() -> Self {
        Self::with_minimum(10)
    }
}

impl Table {
    /// Columns of at least so many characters, three blanks between them.
    pub(crate) fn with_minimum(minimum: usize) -> Self {
        Self { minimum, padding: 3, lines: Vec::new() }
    }

    /// Adds the lines of a text whose cells are separated by tabs.
    pub(crate) fn row(&mut self, text: &str) {
        for line in text.split('\n') {
            self.lines.push(line.split('\t').map(str::to_owned).collect());
        }
    }

    /// The text.
    pub(crate) fn render(&self) -> String {
        let mut out = String::new();
        self.block(&mut out, &mut Vec::new(), 0, self.lines.len());
        out
    }

    /// Lays out the lines `from..to`, whose first columns are as wide as `widths` says. Columns
    /// never cross a line that lacks them, so each run of lines is laid out by itself.
    fn block(&self, out: &mut String, widths: &mut Vec<usize>, from: usize, to: usize) {
        let column = widths.len();
        let has = |at: usize| self.lines[at].len() > column + 1;
        let mut at = from;
        while at < to {
            if !has(at) {
                self.line(out, widths, at);
                at += 1;
                continue;
            }
            let end = (at..to).find(|line| !has(*line)).unwrap_or(to);
            let cells = || self.lines[at..end].iter().map(|line| line[column].chars().count());
            let widest = cells().max().unwrap_or(0);
            let width = self.minimum.max(widest + self.padding);
            widths.push(width);
            self.block(out, widths, at, end);
            widths.pop();
            at = end;
        }
    }

    fn line(&self, out: &mut String, widths: &[usize], at: usize) {
        let cells = &self.lines[at];
        for (index, cell) in cells.iter().enumerate() {
            out.push_str(cell);
            if index + 1 < cells.len() {
                let width = widths.get(index).copied().unwrap_or(0);
                let missing = width.saturating_sub(cell.chars().count());
                out.extend(std::iter::repeat_n(' ', missing));
            }
        }
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::default();
        table.row("CONTAINER ID\tIMAGE\tNAMES");
        table.row("0123456789ab\tbusybox:latest\tx");
        assert_eq!(
            table.render(),
            "CONTAINER ID   IMAGE            NAMES\n0123456789ab   busybox:latest   x\n"
        );
        let mut narrow = Table::default();
        narrow.row("A\tB\tC");
        assert_eq!(narrow.render(), "A         B         C\n");
    }

    #[test]
    fn a_line_without_a_column_parts_it() {
        let mut table = Table::with_minimum(0);
        table.row("aaaa\tb");
        table.row("nothing");
        table.row("a\tb");
        assert_eq!(table.render(), "aaaa   b\nnothing\na   b\n");
    }
}
