//! Why nothing can be planned.

use crate::dockerfile::{MountError, Position, Span};
use crate::expand::ExpandError;

/// What is wrong and where; [`excerpt`](crate::dockerfile::excerpt) shows the lines.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct PlanError {
    /// Where; nothing when no line is to blame.
    pub span: Option<Span>,
    /// What.
    pub reason: Reason,
}

impl PlanError {
    pub(crate) fn at(span: Span, reason: Reason) -> Self {
        Self { span: Some(span), reason }
    }

    /// Line and column.
    pub fn position(&self) -> Option<Position> {
        self.span.map(|span| span.start)
    }
}

/// What is wrong, in Docker's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// A word that cannot be expanded.
    #[error("failed to process {0:?}: {1}")]
    Word(String, ExpandError),
    /// `FROM` with a variable that is empty.
    #[error("base name ({0}) should not be blank")]
    BlankBase(String),
    /// A base that is neither a stage nor can be an image.
    #[error("failed to parse stage name {0:?}: {1}")]
    BadBase(String, types::reference::InvalidReference),
    /// `--target` names nothing.
    #[error("target stage {0:?} could not be found{1}")]
    NoTarget(String, String),
    /// `--from=7` with fewer stages.
    #[error("invalid stage index {0}")]
    NoStage(String),
    /// Stages that need each other.
    #[error("circular dependency detected on stage: {0}")]
    Circle(String),
    /// `--from` with something that can be no image.
    #[error("invalid from flag value {0}: {1}")]
    BadOrigin(String, types::reference::InvalidReference),
    /// A `--mount` that makes no sense once its variables are known.
    #[error("{0}")]
    Mount(MountError),
    /// An image's trigger that makes no sense.
    #[error("failed to parse ONBUILD trigger {0:?}: {1}")]
    Trigger(String, String),
    /// A value that the configuration cannot have.
    #[error("{0}")]
    Configuration(String),
    /// An `ARG` or `ENV` whose name is empty once its variables are known.
    #[error("{0} names can not be blank")]
    BlankName(&'static str),
}
