//! Where a container stands in its life.
//!
//! ```text
//!  create        start            exit
//! ───────► created ───► running ───────► exited ──► (removing) ──► gone
//!                        │   ▲             │ ▲
//!                  pause ▼   │ unpause     │ │ restart policy
//!                       paused           restarting
//! ```

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// A container's state in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It has never run.
    #[default]
    Created,
    /// Its process runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// It ended and will start again by its restart policy.
    Restarting,
    /// It is being removed.
    Removing,
    /// Its process ended.
    Exited,
    /// Its removal failed half way.
    Dead,
}

impl Status {
    /// Docker's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Removing => "removing",
            Self::Exited => "exited",
            Self::Dead => "dead",
        }
    }

    /// Whether there is a live process (Docker counts `restarting` in).
    pub fn is_active(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Restarting)
    }
}

impl std::str::FromStr for Status {
    type Err = crate::Error;

    fn from_str(word: &str) -> Result<Self, crate::Error> {
        [
            Self::Created,
            Self::Running,
            Self::Paused,
            Self::Restarting,
            Self::Removing,
            Self::Exited,
            Self::Dead,
        ]
        .into_iter()
        .find(|status| status.as_str() == word)
        .ok_or_else(|| crate::Error::invalid(format!("invalid filter 'status={word}'")))
    }
}

/// The last thing that is known of a container's process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// In one word.
    pub status: Status,
    /// The process's id on the host; 0 when there is none.
    pub pid: i32,
    /// Exit status of the last run: the process's, or 128 plus the signal.
    pub exit_code: i32,
    /// Why the last start failed; empty when it did not.
    pub error: String,
    /// The kernel killed it for want of memory.
    pub oom_killed: bool,
    /// When the last run began.
    pub started_at: Timestamp,
    /// When the last run ended.
    pub finished_at: Timestamp,
}
