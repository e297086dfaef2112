//! Variables and quotes of Dockerfile words, by BuildKit's rules.
//!
//! A word knows `$NAME`, `${NAME}`, `${NAME:-word}`, `:+`, `:?` (and each without the colon),
//! `${NAME#pattern}`, `##`, `%`, `%%`, `${NAME/pattern/text}` and `//`. Single quotes keep
//! everything, double quotes everything but variables.

mod lexer;
mod pattern;

use std::collections::BTreeMap;

use lexer::{Lexer, Splitter};

/// The longest text that comes out; values that grow from line to line end here.
pub const MAX_EXPANDED: usize = 1 << 20;

/// How deep `${a:-${b:-…}}` may go.
const MAX_DEPTH: u32 = 64;

/// Why a word cannot be expanded, in BuildKit's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// A quote without its end.
    #[error("unexpected end of statement while looking for matching {0}-quote")]
    Quote(&'static str),
    /// A brace without its end.
    #[error("syntax error: missing '}}'")]
    Brace,
    /// `${name/pattern` without the second slash.
    #[error("syntax error: missing '/' in ${{}}")]
    Slash,
    /// `${}`, `${{`, `${:`.
    #[error("syntax error: bad substitution")]
    Substitution,
    /// `${name^}` and others.
    #[error("unsupported modifier ({0}) in substitution")]
    Modifier(String),
    /// `\x` in a pattern, where only `*`, `?`, `\`, `/` and `}` can be escaped.
    #[error("invalid pattern ({0}) in substitution: invalid escape '\\{1}'")]
    Pattern(String, String),
    /// `${name:?message}` and no value.
    #[error("{0}: {1}")]
    Required(String, String),
    /// Braces within braces within braces.
    #[error("substitutions are nested more than {MAX_DEPTH} deep")]
    Depth,
    /// More than [`MAX_EXPANDED`] bytes.
    #[error("the expanded text is longer than {MAX_EXPANDED} bytes")]
    TooLong,
}

/// Where values come from.
pub trait Variables {
    /// A variable's value; `None` if it is not set.
    fn value(&self, name: &str) -> Option<&str>;
}

impl Variables for BTreeMap<String, String> {
    fn value(&self, name: &str) -> Option<&str> {
        self.get(name).map(String::as_str)
    }
}

/// `NAME=value`, the last of several wins.
impl Variables for [String] {
    fn value(&self, name: &str) -> Option<&str> {
        self.iter().rev().find_map(|found| found.strip_prefix(name)?.strip_prefix('='))
    }
}

/// No variable at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nothing;

impl Variables for Nothing {
    fn value(&self, _name: &str) -> Option<&str> {
        None
    }
}

/// What came out of a word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expanded {
    /// The text.
    pub text: String,
    /// Names that were asked for without a default and have no value.
    pub unset: Vec<String>,
}

/// Replaces variables and takes quotes and escapes away.
///
/// # Errors
/// [`ExpandError`].
pub fn word(
    text: &str,
    escape: char,
    vars: &(impl Variables + ?Sized),
) -> Result<Expanded, ExpandError> {
    let mut lexer = Lexer::new(text, escape, vars);
    let text = lexer.until(None, false)?;
    Ok(Expanded { text, unset: lexer.unset })
}

/// As [`word`]; blanks outside of quotes, also those in values, divide the result.
///
/// # Errors
/// [`ExpandError`].
pub fn words(
    text: &str,
    escape: char,
    vars: &(impl Variables + ?Sized),
) -> Result<Vec<String>, ExpandError> {
    let mut lexer = Lexer::new(text, escape, vars);
    lexer.splitter = Some(Splitter::default());
    lexer.until(None, false)?;
    Ok(lexer.splitter.take().map(Splitter::finish).unwrap_or_default())
}

/// Replaces the variables of a here-document: quotes are plain text there.
///
/// # Errors
/// [`ExpandError`].
pub fn here_document(
    text: &str,
    escape: char,
    vars: &(impl Variables + ?Sized),
) -> Result<String, ExpandError> {
    let mut lexer = Lexer::new(text, escape, vars);
    lexer.plain_quotes = true;
    lexer.until(None, false)
}

/// The words of a line with their quotes and escapes, variables untouched.
pub(crate) fn split_raw(line: &str, escape: char) -> Result<Vec<String>, ExpandError> {
    let mut lexer = Lexer::new(line, escape, &Nothing);
    lexer.keep_variables = true;
    lexer.raw_quotes = true;
    lexer.raw_escapes = true;
    lexer.splitter = Some(Splitter::default());
    lexer.until(None, true)?;
    Ok(lexer.splitter.take().map(Splitter::finish).unwrap_or_default())
}

/// A word without its quotes and escapes, variables untouched.
pub(crate) fn unquote(text: &str, escape: char) -> Result<String, ExpandError> {
    let mut lexer = Lexer::new(text, escape, &Nothing);
    lexer.keep_variables = true;
    lexer.until(None, false)
}

#[cfg(test)]
mod tests;
