//! Disk images of machines that boot their own system: recognised by their content, written to
//! through overlays, kept as snapshots; and the small seed image that tells a new machine who it is.
//!
//! ```text
//!  machine's directory              snapshot's directory        host
//!  disk.2.qcow2  (written to)
//!  disk.1.qcow2  ═══ same file ═══  disk.1.qcow2
//!       └── reads what it lacks from ────────────────────────►  base image, never written to
//! ```
//!
//! What it owns of the data root:
//!
//! ```text
//! containers/<id>/disk.N.qcow2, disk.json      a machine's layers, and which there are
//! machines/snapshots/<name>/…                  the same of a snapshot
//! ```
//!
//! Layers are hard links: a snapshot can be removed while machines that began as its clones live, and
//! the other way round. No layer names another file in its own header, so whatever a guest, or a
//! program that was taken over by one, writes there leads nowhere.

mod error;
pub mod qcow2;
pub mod seed;
mod store;

pub use error::Error;
pub use qcow2::{Format, Found};
pub use store::{Layer, Seen, Snapshot, Snapshots, create, freed, layers, taken};
