//! What is said at the end: why it failed, and what is likely wrong.

use std::fmt::Write as _;

use super::board::Board;

/// The output of the step that failed, and where in the Dockerfile it stands.
pub(super) fn describe(board: &Board, failed: bool, out: &mut Vec<u8>) {
    if !failed {
        return;
    }
    let mut text = String::new();
    if let Some(step) = board.failed() {
        let _ = writeln!(text, "------\n > {}:", step.label);
        for (seconds, line) in &step.log {
            let _ = writeln!(text, "{seconds:.3} {line}");
        }
        text.push_str("------\n");
    }
    if let Some(source) = &board.source {
        let place = format!("{}:{}:{}", source.file, source.line, source.column);
        let _ = writeln!(text, "{place}\n--------------------");
        for (number, line) in &source.excerpt {
            let mark = if *number == source.line { ">>>" } else { "   " };
            let line = calm(line);
            let _ = writeln!(text, "{}", format!("{number:>4} | {mark} {line}").trim_end());
            let before = (source.column as usize).saturating_sub(1);
            if *number == source.line && (1..=line.chars().count()).contains(&before) {
                // Tabs stay, so that the mark stands below what it means.
                let blank = |c| if c == '\t' { '\t' } else { ' ' };
                let blanks: String = line.chars().take(before).map(blank).collect();
                let _ = writeln!(text, "     |     {blanks}^");
            }
        }
        text.push_str("--------------------\n");
    }
    out.extend(text.bytes());
}

/// A line that does not steer the terminal: the file may be a stranger's.
fn calm(line: &str) -> String {
    line.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// What is likely wrong in the Dockerfile.
pub(super) fn warnings(board: &Board, out: &mut Vec<u8>) {
    let count = board.warnings.len();
    if count == 0 {
        return;
    }
    let plural = if count == 1 { "" } else { "s" };
    let mut text = format!("\n {count} warning{plural} found:\n");
    for warning in &board.warnings {
        let place = match warning.line {
            0 => String::new(),
            line => format!(" (line {line})"),
        };
        let _ = writeln!(text, " - {}{place}", warning.message);
    }
    out.extend(text.bytes());
}
