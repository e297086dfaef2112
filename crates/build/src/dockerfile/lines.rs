//! From lines of a file to lines of meaning: continuations, comments, here-documents and the
//! directives at the head.

use super::error::SyntaxError;
use super::heredoc::{Heredoc, heredocs_in};
use super::words::{FlagTexts, json_words};
use super::{Check, Directives, Position, Span};

/// Here-documents of one line.
const MAX_HEREDOCS: usize = 256;

/// One instruction's text.
#[derive(Clone, Debug)]
pub(super) struct Logical {
    /// Continuations joined, comments left out, no blanks around it.
    pub(super) text: String,
    /// Byte offsets at which the parts from different lines begin, and where these stand.
    pub(super) parts: Vec<(usize, Position)>,
    pub(super) span: Span,
    pub(super) heredocs: Vec<Heredoc>,
    /// An empty line stood between its lines.
    pub(super) empty_continuation: bool,
}

impl Logical {
    /// Where a byte of the text stands in the file.
    pub(super) fn position(&self, at: usize) -> Position {
        position(&self.text, &self.parts, at)
    }

    /// The keyword as written, and where the rest begins.
    pub(super) fn keyword(&self) -> (&str, usize) {
        let end = self.text.find(char::is_whitespace).unwrap_or(self.text.len());
        let rest = &self.text[end..];
        (&self.text[..end], end + rest.len() - rest.trim_start().len())
    }
}

/// Where the byte `at` of a joined text stands.
pub(super) fn position(text: &str, parts: &[(usize, Position)], at: usize) -> Position {
    let index = parts.partition_point(|(start, _)| *start <= at).saturating_sub(1);
    let Some((start, position)) = parts.get(index) else { return Position::default() };
    let skipped = text.get(*start..at).map_or(0, |text| text.chars().count());
    Position {
        line: position.line,
        column: position.column.saturating_add(u32::try_from(skipped).unwrap_or(u32::MAX)),
    }
}

/// The lines of a file with their numbers.
struct Source<'a> {
    whole: &'a str,
    lines: std::str::SplitInclusive<'a, char>,
    number: u32,
}

impl<'a> Source<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let line = self.lines.next()?;
        self.number += 1;
        Some(line)
    }

    fn error(&self, start: u32, message: impl Into<String>) -> SyntaxError {
        let start = Position { line: start.max(1), column: 1 };
        SyntaxError::new(self.whole, Span { start, end_line: self.number }, message)
    }
}

/// Reads the head of a file and divides it into instructions.
///
/// # Errors
/// [`SyntaxError`] for directives that make no sense and here-documents without an end.
pub(super) fn read(text: &str) -> Result<(Directives, Vec<Logical>), SyntaxError> {
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut source = Source { whole: text, lines: body.split_inclusive('\n'), number: 0 };
    let mut head = Head::default();
    let mut found = Vec::new();
    while let Some(raw) = source.next() {
        let line = trim_newline(raw).trim_start();
        if !head.done {
            head.read(line).map_err(|message| source.error(source.number, message))?;
        }
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(logical) = logical(&mut source, raw, head.escape())? {
            found.push(logical);
        }
    }
    if found.is_empty() {
        return Err(source.error(source.number, "file with no instructions"));
    }
    let directives = Directives {
        escape: head.escape(),
        syntax: head.syntax,
        check: head.check.unwrap_or_default(),
    };
    Ok((directives, found))
}

/// Reads on from an instruction's first line to its end.
fn logical(
    source: &mut Source<'_>,
    first: &str,
    escape: char,
) -> Result<Option<Logical>, SyntaxError> {
    let start = source.number;
    let (mut joined, mut parts) = (String::new(), Vec::new());
    let mut empty_continuation = false;
    let (mut raw, mut begun) = (first, false);
    loop {
        let line = trim_newline(raw);
        let bare = line.trim_start();
        // The first line cannot be one of these: the caller has looked.
        if begun && bare.is_empty() {
            empty_continuation = true;
        } else if !begun || !bare.starts_with('#') {
            let kept = if begun { line } else { bare };
            let column = line.chars().count() - kept.chars().count() + 1;
            let (part, goes_on) = without_continuation(kept, escape);
            parts.push((
                joined.len(),
                Position { line: source.number, column: u32::try_from(column).unwrap_or(u32::MAX) },
            ));
            joined.push_str(part);
            if !goes_on {
                break;
            }
        }
        begun = true;
        let Some(next) = source.next() else { break };
        raw = next;
    }
    let text = joined.trim_end().to_owned();
    if text.trim_start().is_empty() {
        return Ok(None);
    }
    let (text, parts) = without_leading_blanks(&text, parts);
    let mut logical = Logical {
        span: Span {
            start: Position { line: start, column: parts.first().map_or(1, |(_, at)| at.column) },
            end_line: source.number,
        },
        text,
        parts,
        heredocs: Vec::new(),
        empty_continuation,
    };
    logical.span.start = logical.position(0);
    if may_have_heredocs(&logical.text) {
        let asked = heredocs_in(&logical.text);
        if asked.len() > MAX_HEREDOCS {
            return Err(source.error(start, format!("more than {MAX_HEREDOCS} here-documents")));
        }
        for heredoc in asked {
            let heredoc = filled(source, heredoc)
                .ok_or_else(|| source.error(start, "unterminated heredoc"))?;
            logical.heredocs.push(heredoc);
        }
        logical.span.end_line = source.number;
    }
    Ok(Some(logical))
}

/// A first line that is nothing but a continuation leaves blanks before the keyword.
fn without_leading_blanks(
    text: &str,
    mut parts: Vec<(usize, Position)>,
) -> (String, Vec<(usize, Position)>) {
    let kept = text.trim_start();
    let cut = text.len() - kept.len();
    if cut > 0 {
        let last = parts.partition_point(|(start, _)| *start <= cut).saturating_sub(1);
        parts.drain(..last);
        for (index, (start, position)) in parts.iter_mut().enumerate() {
            if index == 0 {
                let blanks = text[*start..cut].chars().count();
                position.column += u32::try_from(blanks).unwrap_or(u32::MAX);
            }
            *start = start.saturating_sub(cut);
        }
    }
    (kept.to_owned(), parts)
}

/// Reads a here-document's lines; `None` if its end does not come.
fn filled(source: &mut Source<'_>, mut heredoc: Heredoc) -> Option<Heredoc> {
    while let Some(line) = source.next() {
        if heredoc.ends_with(trim_newline(line)) {
            return Some(heredoc);
        }
        heredoc.content.push_str(line);
    }
    None
}

/// Only these instructions have here-documents, and none in the JSON form.
fn may_have_heredocs(text: &str) -> bool {
    let mut rest = text;
    for _ in 0..2 {
        let (keyword, tail) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        match keyword.to_ascii_uppercase().as_str() {
            "ONBUILD" => rest = tail.trim_start(),
            "ADD" | "COPY" | "RUN" => {
                let (_, at) = FlagTexts::take(tail);
                return !matches!(json_words(&tail[at..], 0), Ok(Some(_)));
            }
            _ => return false,
        }
    }
    false
}

fn trim_newline(line: &str) -> &str {
    line.trim_end_matches(['\r', '\n'])
}

/// The line without the character that continues it, and whether there was one. A doubled
/// character escapes itself and continues nothing.
fn without_continuation(line: &str, escape: char) -> (&str, bool) {
    let Some(part) = line.trim_end_matches([' ', '\t']).strip_suffix(escape) else {
        return (line, false);
    };
    if part.ends_with(escape) { (line, false) } else { (part, true) }
}

/// Comments at the head, up to the first line that is no directive.
#[derive(Default)]
struct Head {
    done: bool,
    escape: Option<char>,
    syntax: Option<String>,
    check: Option<Check>,
}

impl Head {
    fn escape(&self) -> char {
        self.escape.unwrap_or('\\')
    }

    fn read(&mut self, line: &str) -> Result<(), String> {
        let Some((name, value)) = directive(line) else {
            self.done = true;
            return Ok(());
        };
        let name = name.to_ascii_lowercase();
        let seen = match name.as_str() {
            "escape" => self.escape.is_some(),
            "syntax" => self.syntax.is_some(),
            "check" => self.check.is_some(),
            // One that nobody knows is a comment, and after a comment comes no directive.
            _ => {
                self.done = true;
                return Ok(());
            }
        };
        if seen {
            return Err(format!("only one {name} parser directive can be used"));
        }
        match name.as_str() {
            "escape" => match value {
                "\\" => self.escape = Some('\\'),
                "`" => self.escape = Some('`'),
                _ => {
                    return Err(format!("invalid escape token '{value}' does not match ` or \\"));
                }
            },
            "syntax" => self.syntax = Some(value.to_owned()),
            _ => self.check = Some(check(value)),
        }
        Ok(())
    }
}

/// `# name = value`
fn directive(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.strip_prefix('#')?.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    let letters = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric());
    (letters && !value.is_empty()).then_some((name, value))
}

fn check(value: &str) -> Check {
    let mut check = Check::default();
    for part in value.split(';') {
        match part.split_once('=') {
            Some((key, rules)) if key.trim() == "skip" => {
                check.skip = rules.split(',').map(|rule| rule.trim().to_owned()).collect();
            }
            Some((key, flag)) if key.trim() == "error" => check.error = flag.trim() == "true",
            _ => {}
        }
    }
    check
}
