//! From instructions to stages.

use super::error::SyntaxError;
use super::instructions::{self, Parsed};
use super::lines::{self, Logical};
use super::words::Problem;
use super::{Dockerfile, Instruction, Node, Span, StageText, lint};

/// Stages of one file.
const MAX_STAGES: usize = 1000;

/// Reads a whole file.
///
/// # Errors
/// [`SyntaxError`] at the first thing that makes no sense.
///
/// ```
/// let file = build::dockerfile::parse("FROM busybox AS a\nRUN true").unwrap();
/// assert_eq!(file.stages[0].from.value.base, "busybox");
/// let error = build::dockerfile::parse("FROM busybox\n\nFOO bar").unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "dockerfile parse error on line 3: unknown instruction: FOO (did you mean FROM?)"
/// );
/// ```
pub fn parse(text: &str) -> Result<Dockerfile, SyntaxError> {
    let (directives, lines) = lines::read(text)?;
    let mut file =
        Dockerfile { directives, arguments: Vec::new(), stages: Vec::new(), warnings: Vec::new() };
    for line in &lines {
        let parsed = instructions::parse(line, file.directives.escape)
            .map_err(|found| located(text, line, found))?;
        if line.empty_continuation {
            file.warnings.push(lint::empty_continuation(line));
        }
        let count = file.stages.len();
        match (parsed, file.stages.last_mut()) {
            (Parsed::From(_), _) if count == MAX_STAGES => {
                let message = format!("more than {MAX_STAGES} build stages");
                return Err(SyntaxError::new(text, line.span, message));
            }
            (Parsed::From(from), _) => {
                let from = node(line, from);
                file.stages.push(StageText { from, instructions: Vec::new() });
            }
            (Parsed::Other(instruction), Some(stage)) => {
                stage.instructions.push(node(line, instruction));
            }
            (Parsed::Other(Instruction::Arg(arguments)), None) => {
                file.arguments.push(node(line, arguments));
            }
            (Parsed::Other(_), None) => {
                let message = "no build stage in current context";
                return Err(SyntaxError::new(text, line.span, message));
            }
        }
    }
    if file.stages.is_empty() {
        let span = lines.last().map_or_else(Span::default, |line| line.span);
        return Err(SyntaxError::new(text, span, "no build stage in current context"));
    }
    lint::check(&mut file);
    Ok(file)
}

/// Reads the trigger of an `ONBUILD`, as it stands in an image.
///
/// # Errors
/// [`SyntaxError`] when it is not exactly one instruction, or one that no trigger can be.
pub fn parse_trigger(text: &str) -> Result<Node<Instruction>, SyntaxError> {
    let (directives, lines) = lines::read(text)?;
    let [line] = lines.as_slice() else {
        let span = lines.last().map_or_else(Span::default, |line| line.span);
        return Err(SyntaxError::new(text, span, "a trigger must be one instruction"));
    };
    let (keyword, _) = line.keyword();
    let keyword = keyword.to_ascii_uppercase();
    match instructions::parse(line, directives.escape) {
        Ok(
            Parsed::From(_) | Parsed::Other(Instruction::OnBuild(_) | Instruction::Maintainer(_)),
        ) => {
            let message = format!("{keyword} isn't allowed as an ONBUILD trigger");
            Err(SyntaxError::new(text, line.span, message))
        }
        Ok(Parsed::Other(instruction)) => Ok(node(line, instruction)),
        Err(found) => Err(located(text, line, found)),
    }
}

fn node<T>(line: &Logical, value: T) -> Node<T> {
    Node { span: line.span, text: line.text.clone(), value, parts: line.parts.clone() }
}

fn located(text: &str, line: &Logical, found: Problem) -> SyntaxError {
    let span = Span { start: line.position(found.at), end_line: line.span.end_line };
    SyntaxError::new(text, span, found.message)
}
