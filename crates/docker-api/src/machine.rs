//! Machines beyond containers; our own, for our own command line.

use types::Timestamp;

api_json! {
/// Answer of `POST /isopod/machines/templates/build`.
pub struct TemplateBuilt {
    pub name: String,
}
}

api_json! {
/// Body and answer of `POST /isopod/machines/snapshots/create`.
pub struct SnapshotBody {
    /// The machine, by name or id.
    pub machine: String,
    /// What its disk is to be called.
    pub name: String,
}
}

api_json! {
/// One of `GET /isopod/machines/snapshots`.
pub struct DiskSnapshot {
    pub name: String,
    pub created: Timestamp,
    /// Bytes of the disk.
    pub size: u64,
    /// Bytes that it takes on the host's disk, which machines may share.
    pub taken: u64,
    /// The image that it began as, on the daemon's host.
    pub base: String,
}
}
