//! The report for a terminal.

use super::number::{share, shown};
use super::report::{Report, Row, Wall};
use crate::show::human::ellipsis;
use crate::show::table::Table;

/// How long a line of what is to be known may be.
const LONGEST: usize = 300;

/// The table, and below it what is to be known about it.
pub(super) fn render(report: &Report) -> String {
    let mut table = Table::default();
    let mut heads = vec!["MEASURE".to_owned()];
    heads.extend(report.columns.iter().map(|column| column.wall.name().to_uppercase()));
    table.row(&heads.join("\t"));
    for row in &report.rows {
        let mut cells = vec![row.measure.title().to_owned()];
        cells.extend((0..row.cells.len()).map(|column| cell(row, column)));
        table.row(&cells.join("\t"));
    }
    let mut text = table.render();
    text.push_str(
        "\nMedians. In brackets the share of the native figure: a factor where less is better, \
         per cent where more is.\n",
    );
    for remark in report.remarks() {
        text.push_str(&line(&remark));
        text.push('\n');
    }
    text
}

/// One cell.
pub(super) fn cell(row: &Row, column: usize) -> String {
    let Some(cell) = row.cells.get(column) else { return String::new() };
    match (cell.median(), row.share(column)) {
        (Some(median), None) => shown(median, row.unit),
        (Some(median), Some(part)) => {
            format!("{} ({})", shown(median, row.unit), share(part, row.unit))
        }
        (None, _) if cell.failure.is_some() => "failed".to_owned(),
        // A process has no container that could cost anything.
        (None, _) if cell.wall == Wall::Native => "none".to_owned(),
        (None, _) => "-".to_owned(),
    }
}

/// A text as one line without what could move a terminal's cursor.
fn line(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    ellipsis(&plain.split_whitespace().collect::<Vec<_>>().join(" "), LONGEST)
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::sample;
    use super::*;

    #[test]
    fn the_table_has_a_line_for_each_measure() {
        let text = render(&sample());
        let lines: Vec<&str> = text.lines().collect();
        let words = |line: &str| line.split("   ").map(str::trim).filter(|w| !w.is_empty()).count();
        assert!(lines[0].starts_with("MEASURE ") && lines[0].ends_with(" VM"), "{text}");
        assert!(lines[..16].iter().all(|line| words(line) == 4), "{text}");
        assert!(lines[1].contains(" 2.00 ms ") && lines[1].contains(" 10.0 ms (5.00x) "), "{text}");
        assert!(lines[1].ends_with(" -") && lines[11].ends_with(" failed"), "{text}");
        assert!(lines[9].ends_with(" 970 MB/s (97.0 %)   100 MB/s (10.0 %)"), "{text}");
        assert!(lines.contains(&"vm: 1 of 2 processors"), "{text}");
        assert!(lines.contains(&"vm failed: no kernel <script>"), "{text}");
    }

    #[test]
    fn remarks_keep_to_their_line() {
        assert_eq!(line("a\n\x1b[2J  b"), "a [2J b");
    }
}
