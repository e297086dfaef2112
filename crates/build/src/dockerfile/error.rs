//! What is wrong with a file, and the lines that show it.

use std::fmt::Write as _;

use super::{Position, Span};

/// A file that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("dockerfile parse error on line {}: {message}", span.start.line)]
pub struct SyntaxError {
    /// Where: the start is the place itself, the end is the instruction's.
    pub span: Span,
    /// What, in Docker's words.
    pub message: String,
    /// The lines around it, as [`excerpt`] draws them for a file named `Dockerfile`.
    pub excerpt: String,
}

impl SyntaxError {
    pub(super) fn new(text: &str, span: Span, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), excerpt: excerpt("Dockerfile", text, span) }
    }

    /// Line and column.
    pub fn position(&self) -> Position {
        self.span.start
    }
}

/// Lines that are shown before and after.
const AROUND: usize = 2;
/// Lines of one instruction that are shown.
const MOST: usize = 20;
/// Characters of a line that are shown.
const WIDEST: usize = 200;

/// Draws the lines of `text` around `span`: those that belong to it are marked, and the column is
/// pointed at where it is not the line's first.
///
/// ```
/// use build::dockerfile::{Position, Span, excerpt};
/// let span = Span { start: Position { line: 2, column: 5 }, end_line: 2 };
/// assert_eq!(
///     excerpt("Dockerfile", "FROM a\nRUN --x\n", span),
///     "Dockerfile:2:5\n--------------------\n   1 |     FROM a\n   2 | >>> RUN --x\n     |         ^\n--------------------\n"
/// );
/// ```
pub fn excerpt(name: &str, text: &str, span: Span) -> String {
    let (first, column) = (span.start.line as usize, span.start.column as usize);
    let last = (span.end_line as usize).clamp(first, first + MOST);
    let mut out = format!("{name}:{}\n--------------------\n", span.start);
    let lines = text.lines().enumerate().skip(first.saturating_sub(AROUND + 1));
    for (index, line) in lines.take_while(|(index, _)| *index < last + AROUND) {
        let number = index + 1;
        let mark = if (first..=last).contains(&number) { ">>>" } else { "   " };
        // A file from elsewhere must not steer the terminal.
        let shown: String = line
            .chars()
            .take(WIDEST)
            .map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c })
            .collect();
        let _ = writeln!(out, "{}", format!("{number:4} | {mark} {shown}").trim_end());
        if number == first && column > 1 && column <= WIDEST {
            // Tabs are kept, so that the mark stands below what it means.
            let pad: String = shown
                .chars()
                .chain(std::iter::repeat(' '))
                .take(column - 1)
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            let _ = writeln!(out, "     |     {pad}^");
        }
    }
    out.push_str("--------------------\n");
    out
}
