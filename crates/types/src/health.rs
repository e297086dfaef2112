//! Health checks: how to probe a container and what the probes said.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

docker_json! {
/// How to find out whether a container is well. Durations are nanoseconds; zero inherits.
pub struct HealthConfig {
    /// Empty inherits, `["NONE"]` disables, `["CMD", …]` runs, `["CMD-SHELL", "…"]` uses a shell.
    pub test: Vec<String>,
    /// Time between two probes.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// Time after which a probe has failed.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// Consecutive failures that make the container unhealthy.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: i64,
    /// Time from the start in which failures do not count.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Time between two probes within the start period.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: i64,
}

/// What the probes have said so far.
pub struct Health {
    /// `starting`, `healthy` or `unhealthy`.
    pub status: HealthStatus,
    /// How many probes in a row have failed.
    pub failing_streak: i64,
    /// The last five results, oldest first.
    pub log: Vec<HealthResult>,
}

/// One probe's outcome.
pub struct HealthResult {
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// 0 well, 1 unwell, 2 reserved, other values: the probe itself failed.
    pub exit_code: i64,
    /// At most 4096 bytes of its output.
    pub output: String,
}
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(value: &i64) -> bool {
    *value == 0
}

/// A container's health in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// No health check.
    #[default]
    None,
    /// Not yet known.
    Starting,
    /// The last probe was well.
    Healthy,
    /// Too many probes in a row failed.
    Unhealthy,
}

impl HealthStatus {
    /// Docker's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}
