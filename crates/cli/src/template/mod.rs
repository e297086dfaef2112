//! Go's `text/template`, as far as `--format` uses it: fields, variables, pipelines, `if`,
//! `range`, `with`, Go's built-in functions and Docker's (`json`, `join`, `split`, `pad`, …).
//! There are no named templates (`define`, `template`, `block`).
//!
//! [`parse`] makes a tree, [`Template::execute`] walks it over a [`Value`]. Nothing here knows
//! what is being shown.

mod eval;
mod functions;
mod lex;
mod parse;
mod printf;
mod value;

#[cfg(test)]
mod tests;

pub(crate) use eval::Methods;
pub(crate) use printf::{general, quote};
pub(crate) use value::{Number, Value};

/// Why a template cannot be read or carried out; Go's words where they are short.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// The text is no template.
    #[error("template parsing error: template: :{line}: {reason}")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// There is no such field.
    #[error(
        "template parsing error: template: :1: executing \"\" at <.{0}>: map has no entry for key \"{0}\""
    )]
    Field(String),
    /// A function did not like its arguments.
    #[error("template parsing error: template: :1: executing \"\": {0}")]
    Call(String),
}

/// A parsed template.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    nodes: Vec<parse::Node>,
}

/// Reads a template.
///
/// # Errors
/// [`Error::Syntax`].
pub(crate) fn parse(text: &str) -> Result<Template, Error> {
    Ok(Template { nodes: parse::parse(lex::lex(text)?)? })
}

/// How functions behave: on values, or on the headings of a table, where those that change a
/// value leave the heading alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Anything.
    Values,
    /// Rows of a list, whose JSON has `<`, `>` and `&` escaped, as Docker's has.
    Rows,
    /// The heading.
    Header,
}

impl Template {
    /// Carries the template out over `data`.
    ///
    /// # Errors
    /// [`Error::Field`] and [`Error::Call`].
    pub(crate) fn execute(
        &self,
        data: &Value,
        methods: Option<&Methods<'_>>,
        mode: Mode,
    ) -> Result<String, Error> {
        eval::execute(&self.nodes, data, methods, mode)
    }

    /// Whether the template asks for a field of that name anywhere.
    pub(crate) fn mentions(&self, field: &str) -> bool {
        parse::mentions(&self.nodes, field)
    }
}
