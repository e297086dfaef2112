//! What a Dockerfile says: its stages and instructions as written, with their places.
//!
//! [`parse`] reads text and nothing else: variables stay as they are written (see
//! [`expand`](crate::expand)), stage names are not looked up (see [`plan`](crate::plan)).

mod copy;
mod error;
mod health;
mod heredoc;
mod instructions;
mod lines;
mod lint;
mod mount;
mod run;
mod stage;
mod suggest;
mod words;

use std::fmt;

pub use copy::{Copy, CopySource, Inline};
pub use error::{SyntaxError, excerpt};
pub use health::HealthCheck;
pub use heredoc::Heredoc;
pub use image::instruction::Command;
pub use lint::Warning;
pub(crate) use lint::{skips, warning};
pub use mount::{Mount, MountError, MountKind, Sharing};
pub use run::{MountFlag, Network, Run, Script, Security};
pub use stage::{parse, parse_trigger};
pub(crate) use suggest::did_you_mean;

/// A place in the file; both count from one, columns in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// From a place up to and including another line's end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The first character.
    pub start: Position,
    /// The last line that belongs to it: continuations and here-documents included.
    pub end_line: u32,
}

/// Something with the place where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node<T> {
    /// Where it stands.
    pub span: Span,
    /// The instruction on one line, continuations joined and comments left out: what is shown to
    /// people (`RUN echo hi`). Here-documents are not in it.
    pub text: String,
    /// What it says.
    pub value: T,
    /// Where the parts of `text` stand that come from different lines: byte offsets and places.
    pub(crate) parts: Vec<(usize, Position)>,
}

impl<T> Node<T> {
    /// Where a part of the instruction stands; its beginning if it is not found in the text.
    pub fn position_of(&self, part: &str) -> Position {
        let at = self.text.find(part).filter(|_| !part.is_empty());
        at.map_or(self.span.start, |at| lines::position(&self.text, &self.parts, at))
    }

    /// The span of the instruction that begins at a part of it.
    pub fn span_of(&self, part: &str) -> Span {
        Span { start: self.position_of(part), ..self.span }
    }
}

/// The comments at the head of a file that change how it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directives {
    /// The character that escapes and continues lines: `\` or `` ` ``.
    pub escape: char,
    /// `# syntax=`: the frontend that the author wanted. It has no effect.
    pub syntax: Option<String>,
    /// `# check=`: which warnings are skipped, and whether one fails the build.
    pub check: Check,
}

/// `# check=skip=A,B;error=true`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Check {
    /// Rules whose warnings are not shown; `all` skips every one.
    pub skip: Vec<String>,
    /// A warning fails the build.
    pub error: bool,
}

/// A whole file.
#[derive(Clone, Debug, PartialEq)]
pub struct Dockerfile {
    /// Comments that change how it is read.
    pub directives: Directives,
    /// `ARG`s before the first `FROM`, each instruction with all that it declares.
    pub arguments: Vec<Node<Vec<Argument>>>,
    /// The stages, at least one, in the file's order.
    pub stages: Vec<StageText>,
    /// What its author might want to write otherwise.
    pub warnings: Vec<Warning>,
}

/// A stage as written.
#[derive(Clone, Debug, PartialEq)]
pub struct StageText {
    /// Its first line.
    pub from: Node<From>,
    /// All the others.
    pub instructions: Vec<Node<Instruction>>,
}

/// `FROM [--platform=P] BASE [AS NAME]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct From {
    /// The platform, as written.
    pub platform: Option<String>,
    /// An image, an earlier stage or `scratch`, as written.
    pub base: String,
    /// The stage's name in lower case.
    pub name: Option<String>,
}

/// One of an `ARG`'s declarations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// Its name, as written.
    pub name: String,
    /// Its default, as written; `Some("")` for `ARG X=`.
    pub default: Option<String>,
}

/// A name and a value, as written.
pub type Pair = (String, String);

/// Everything that stands below a `FROM`.
#[derive(Clone, Debug, PartialEq)]
pub enum Instruction {
    /// `ADD`
    Add(Copy),
    /// `ARG`
    Arg(Vec<Argument>),
    /// `CMD`
    Cmd(Command),
    /// `COPY`
    Copy(Copy),
    /// `ENTRYPOINT`
    Entrypoint(Command),
    /// `ENV`
    Env(Vec<Pair>),
    /// `EXPOSE`
    Expose(Vec<String>),
    /// `HEALTHCHECK`
    HealthCheck(HealthCheck),
    /// `LABEL`
    Label(Vec<Pair>),
    /// `MAINTAINER`
    Maintainer(String),
    /// `ONBUILD`: the trigger's text with its here-documents, as it goes into the image. It is
    /// known to parse ([`parse_trigger`]).
    OnBuild(String),
    /// `RUN`
    Run(Run),
    /// `SHELL`
    Shell(Vec<String>),
    /// `STOPSIGNAL`
    StopSignal(String),
    /// `USER`
    User(String),
    /// `VOLUME`
    Volume(Vec<String>),
    /// `WORKDIR`
    WorkDir(String),
}

impl Instruction {
    /// Its keyword in upper case.
    pub fn keyword(&self) -> &'static str {
        match self {
            Self::Add(_) => "ADD",
            Self::Arg(_) => "ARG",
            Self::Cmd(_) => "CMD",
            Self::Copy(_) => "COPY",
            Self::Entrypoint(_) => "ENTRYPOINT",
            Self::Env(_) => "ENV",
            Self::Expose(_) => "EXPOSE",
            Self::HealthCheck(_) => "HEALTHCHECK",
            Self::Label(_) => "LABEL",
            Self::Maintainer(_) => "MAINTAINER",
            Self::OnBuild(_) => "ONBUILD",
            Self::Run(_) => "RUN",
            Self::Shell(_) => "SHELL",
            Self::StopSignal(_) => "STOPSIGNAL",
            Self::User(_) => "USER",
            Self::Volume(_) => "VOLUME",
            Self::WorkDir(_) => "WORKDIR",
        }
    }
}

#[cfg(test)]
mod tests;
