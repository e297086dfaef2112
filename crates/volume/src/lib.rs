//! Named volumes: directories (or mounts described by options) that outlive containers.
//!
//! ```text
//! volumes/<name>/volume.json   driver, options, labels, creation time
//! volumes/<name>/_data         the files, for volumes that are plain directories
//! volumes/.new-*, .old-*       being made, replaced or removed; swept when the volumes are opened
//! ```
//!
//! A volume appears and disappears by one rename. The crate never knows which container uses a
//! volume: the engine passes in what is used. It hands a volume out as a *detached mount*, so that
//! nothing is ever mounted in the host's namespace.

mod draft;
mod error;
mod model;
mod name;
mod populate;
mod source;
mod volumes;

pub use draft::Draft;
pub use error::{Error, Result};
pub use model::{CreateOptions, ListFilter, NewVolume, PruneFilter, Pruned, Volume};
pub use name::{check_name, random_name};
pub use volumes::Volumes;
