//! The report as a page: one file of HTML that fetches nothing, with its plots drawn in it.

use std::fmt::Write as _;

use super::machine::Machine;
use super::number::{share, shown};
use super::report::{Report, Row, Unit};
use super::sizes::Sizes;
use super::table;

const STYLE: &str = include_str!("page.css");
/// Width of the plot's drawing; what it is shown with is the page's.
const WIDTH: f64 = 720.0;
/// Where bars begin, and how long the longest is.
const LEFT: f64 = 80.0;
const LONGEST: f64 = 440.0;
/// Height of a bar with the room above it.
const STEP: f64 = 30.0;

/// The page.
pub(super) fn render(report: &Report, sizes: &Sizes) -> String {
    let title = format!("{} behind each wall", escaped(&report.image));
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta name=\"color-scheme\" content=\"light dark\"/>\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
    );
    let kind = if report.quick { "A quick look: small pieces of work. " } else { "" };
    let _ = writeln!(
        page,
        "<p>{kind}Medians of {} in turn: every contestant once in each turn. In brackets the share \
         of the native figure: a factor where less is better, per cent where more is.</p>",
        runs(report.runs)
    );
    figures(&mut page, report);
    remarks(&mut page, report);
    facts(&mut page, report);
    for row in &report.rows {
        section(&mut page, row, sizes);
    }
    page.push_str("</body>\n</html>\n");
    page
}

fn runs(count: usize) -> String {
    if count == 1 { "1 run".to_owned() } else { format!("{count} runs") }
}

/// The table.
fn figures(page: &mut String, report: &Report) {
    page.push_str("<div class=\"wide\"><table>\n<thead><tr><th></th>");
    for column in &report.columns {
        let _ = write!(page, "<th>{}</th>", column.wall.name());
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    for row in &report.rows {
        let _ = write!(page, "<tr><th>{}</th>", escaped(row.measure.title().trim()));
        for (column, cell) in row.cells.iter().enumerate() {
            let text = escaped(&table::cell(row, column));
            match cell.median() {
                Some(median) => {
                    let _ = write!(page, "<td><data value=\"{median}\">{text}</data></td>");
                }
                None => {
                    let _ = write!(page, "<td>{text}</td>");
                }
            }
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody>\n</table></div>\n");
}

/// What is to be known beside the figures.
fn remarks(page: &mut String, report: &Report) {
    let all = report.remarks();
    if all.is_empty() {
        return;
    }
    page.push_str("<ul>\n");
    for text in all {
        let _ = writeln!(page, "<li>{}</li>", escaped(&text));
    }
    page.push_str("</ul>\n");
}

/// The machine.
fn facts(page: &mut String, report: &Report) {
    page.push_str("<h2>The host</h2>\n<dl>\n");
    for (name, text) in known(&report.machine) {
        let _ = writeln!(page, "<dt>{name}</dt><dd>{}</dd>", escaped(&text));
    }
    page.push_str("</dl>\n");
}

fn known(machine: &Machine) -> Vec<(&'static str, String)> {
    let bytes = |count: f64| shown(count, Unit::Bytes);
    let accelerator = match machine.accelerator.as_str() {
        "kvm" => "hardware (KVM)".to_owned(),
        "tcg" => "translation (TCG): there is no KVM that works".to_owned(),
        other => other.to_owned(),
    };
    let memory = format!(
        "{}, of which {} were available",
        bytes(machine.memory as f64),
        bytes(machine.available as f64)
    );
    let mut facts = vec![
        ("kernel", machine.kernel.clone()),
        ("system", machine.system.clone()),
        ("processors", format!("{} {}", machine.processors, machine.processor)),
        ("memory", memory),
        ("load before", machine.load.clone()),
        ("cgroups", format!("version {}", machine.cgroups)),
        ("guests run by", accelerator),
        ("daemon", machine.daemon.clone()),
        ("isopod compare", machine.client.clone()),
        ("time", machine.time.clone()),
    ];
    facts.retain(|(_, text)| !text.trim().is_empty());
    facts
}

/// One measure: its plot, and how it was measured.
fn section(page: &mut String, row: &Row, sizes: &Sizes) {
    let title = row.measure.title().trim();
    let better = if row.unit.more_is_better() { "more is better" } else { "less is better" };
    let _ = writeln!(page, "<section>\n<h2>{} <small>({better})</small></h2>", escaped(title));
    let medians: Vec<Option<f64>> = row.cells.iter().map(|cell| cell.median()).collect();
    let longest = medians.iter().flatten().copied().fold(0.0, f64::max);
    let height = STEP * medians.len() as f64;
    let _ = writeln!(
        page,
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">",
        escaped(title)
    );
    for (index, (cell, median)) in row.cells.iter().zip(&medians).enumerate() {
        let top = STEP * index as f64 + 4.0;
        let name = cell.wall.name();
        let baseline = top + 16.0;
        let end = LEFT - 8.0;
        let _ =
            writeln!(page, "<text x=\"{end}\" y=\"{baseline}\" text-anchor=\"end\">{name}</text>");
        let Some(median) = median.filter(|_| longest > 0.0) else {
            let text = escaped(&table::cell(row, index));
            let _ = writeln!(page, "<text x=\"{LEFT}\" y=\"{baseline}\">{text}</text>");
            continue;
        };
        let length = (LONGEST * median / longest).max(1.0);
        let _ = writeln!(
            page,
            "<rect class=\"{name}\" x=\"{LEFT}\" y=\"{top}\" width=\"{length:.1}\" height=\"22\"/>"
        );
        let beside = LEFT + length + 8.0;
        let part = row.share(index).map(|part| share(part, row.unit));
        let part = part.map_or_else(String::new, |part| format!(" ({part})"));
        let text = escaped(&format!("{}{part}", shown(median, row.unit)));
        let _ = writeln!(page, "<text x=\"{beside:.1}\" y=\"{baseline}\">{text}</text>");
    }
    let meaning = escaped(&row.measure.meaning(sizes));
    let _ = writeln!(page, "</svg>\n<p>{meaning}</p>\n</section>");
}

/// A text that is no markup, also within an attribute. Characters that HTML has no place for are
/// left out.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            character if character.is_control() && character != '\n' => {}
            character => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::sample;
    use super::*;

    fn page() -> String {
        render(&sample(), &Sizes::quick())
    }

    /// Goes through all tags; those that are open must be closed in turn. Returns how many there were.
    fn tags(page: &str) -> usize {
        let mut open = Vec::new();
        let mut seen = 0;
        for piece in page.split('<').skip(1) {
            let (tag, _) = piece.split_once('>').expect("a tag ends");
            seen += 1;
            let name = tag.trim_start_matches('/').split([' ', '/']).next().expect("a name");
            assert!(tag.matches('"').count().is_multiple_of(2), "{tag}");
            if tag.starts_with('/') {
                assert_eq!(open.pop(), Some(name));
            } else if !tag.starts_with('!') && !tag.ends_with('/') {
                open.push(name);
            }
        }
        assert!(open.is_empty(), "{open:?}");
        seen
    }

    #[test]
    fn the_page_is_well_formed() {
        assert!(tags(&page()) > 100);
    }

    #[test]
    fn nothing_from_elsewhere_becomes_markup_or_is_fetched() {
        let page = page();
        assert!(page.contains("some/image:&lt;b&gt;"), "the image's name");
        assert!(page.contains("6.1 &lt;&amp;&quot;&#39;&gt;"), "the kernel's name");
        assert!(page.contains("no kernel &lt;script&gt;"), "a failure");
        for word in ["<script", "<b>", "http", "src=", "href", "url(", "@import"] {
            assert!(!page.contains(word), "{word}");
        }
        assert_eq!(escaped("a\u{1b}\u{0}b\n"), "ab\n");
    }

    #[test]
    fn the_table_has_the_exact_medians() {
        let page = page();
        assert!(page.contains("<data value=\"0.002\">2.00 ms</data>"), "{page}");
        assert!(page.contains("<data value=\"0.01\">10.0 ms (5.00x)</data>"), "{page}");
        assert!(page.contains("prefers-color-scheme"));
    }

    #[test]
    fn bars_are_as_long_as_their_medians() {
        let page = page();
        let section = page.split("<section>").nth(9).expect("that of memory");
        let bar =
            |class: &str, width: &str| format!("<rect class=\"{class}\" x=\"80\" y=\"{width}");
        assert!(section.contains(&bar("native", "4\" width=\"440.0\"")), "{section}");
        assert!(section.contains(&bar("vm", "64\" width=\"44.0\"")), "{section}");
    }
}
