//! Where each controller lives on this host.

use std::path::PathBuf;

use super::Error;

/// Which generation of cgroups carries the controllers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Only v1 hierarchies.
    V1,
    /// v1 hierarchies and a unified tree beside them.
    Hybrid,
    /// One unified tree.
    V2,
}

/// The hierarchies of this host, probed once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    pub(super) version: Version,
    pub(super) v1: Vec<PathBuf>,
}

impl Layout {
    /// Reads `/proc/self/mountinfo` and `/proc/self/cgroup`.
    pub fn probe() -> Result<Layout, Error> {
        Err(Error::NotMounted)
    }

    /// The generation.
    pub fn version(&self) -> Version {
        self.version
    }

    /// What can be limited here.
    pub fn capabilities(&self) -> super::Capabilities {
        super::Capabilities::default()
    }
}
