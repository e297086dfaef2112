//! What the API says of volumes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use types::time::Timestamp;

/// A volume (`Volume` of the API).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Volume {
    /// When it was made.
    pub created_at: Timestamp,
    /// Always `local`.
    pub driver: String,
    /// Labels; `null` when none were given.
    pub labels: Option<BTreeMap<String, String>>,
    /// Path of its files on the host.
    pub mountpoint: String,
    /// Its name.
    pub name: String,
    /// Options of the driver; `null` when none were given.
    pub options: Option<BTreeMap<String, String>>,
    /// Always `local`.
    pub scope: String,
    /// Nobody may write to it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// The volume whose content of that time it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_of: Option<String>,
}

impl Volume {
    /// Was it made without a name (a label says so)?
    pub fn is_anonymous(&self) -> bool {
        self.labels.as_ref().is_some_and(|labels| labels.contains_key(ANONYMOUS))
    }
}

/// The label that marks volumes without a name of their own; Docker's.
pub(crate) const ANONYMOUS: &str = "com.docker.volume.anonymous";

/// What a new volume is asked to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CreateOptions {
    /// Its name; empty draws a random one and marks it anonymous.
    #[serde(deserialize_with = "types::null_default")]
    pub name: String,
    /// `local` or empty.
    #[serde(deserialize_with = "types::null_default")]
    pub driver: String,
    /// `type`, `o`, `device`.
    #[serde(deserialize_with = "types::null_default")]
    pub driver_opts: BTreeMap<String, String>,
    /// Labels.
    #[serde(deserialize_with = "types::null_default")]
    pub labels: BTreeMap<String, String>,
}

/// What a volume is to be that is made with its content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewVolume {
    /// Its name.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// It keeps the content of this volume as it is now, read-only.
    pub snapshot_of: Option<String>,
}

/// Which volumes a list shows; every given condition must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListFilter {
    /// The name contains one of these.
    pub names: Vec<String>,
    /// The driver is one of these.
    pub drivers: Vec<String>,
    /// `key` or `key=value`.
    pub labels: Vec<String>,
}

/// Which unused volumes a prune removes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PruneFilter {
    /// Named ones too (`all`, the rule before API 1.42); otherwise anonymous ones only.
    pub all: bool,
    /// `key` or `key=value`; all must match.
    pub labels: Vec<String>,
    /// `key` or `key=value`; none may match.
    pub not_labels: Vec<String>,
}

/// What a prune did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Names of the volumes that are gone.
    pub removed: Vec<String>,
    /// Bytes that were freed.
    pub reclaimed: u64,
}

/// Whether labels satisfy `key` or `key=value`.
pub(crate) fn has_label(labels: Option<&BTreeMap<String, String>>, wanted: &str) -> bool {
    let Some(labels) = labels else { return false };
    match wanted.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
        None => labels.contains_key(wanted),
    }
}
