//! Things that happened, as `GET /events` tells them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// What a thing is that something happened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// A container.
    Container,
    /// An image.
    Image,
    /// A network.
    Network,
    /// A volume.
    Volume,
    /// The daemon itself.
    Daemon,
    /// The build cache.
    Builder,
}

impl Subject {
    /// Docker's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Network => "network",
            Self::Volume => "volume",
            Self::Daemon => "daemon",
            Self::Builder => "builder",
        }
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// To what.
    pub subject: Subject,
    /// What: `create`, `start`, `die`, `exec_start: sh`, …
    pub action: String,
    /// The id (or name) of what it happened to.
    pub id: String,
    /// Name, image, labels, exit code and the like.
    pub attributes: BTreeMap<String, String>,
    /// When.
    pub time: Timestamp,
}
