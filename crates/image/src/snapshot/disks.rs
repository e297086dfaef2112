//! A container's layers as disks of a virtual machine.

use std::collections::HashSet;
use std::path::PathBuf;

use types::ContainerId;

use crate::error::Result;
use crate::store::Store;

impl Store {
    /// The image of each layer below a container, lowest first; what is not there is made.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`](crate::Error::NoSnapshot); those of making one.
    pub fn disks(&self, container: &ContainerId) -> Result<Vec<PathBuf>> {
        let record = self.record_of(container)?;
        // Whatever is in the lower occurrence of a layer is in the upper one as well.
        let mut seen = HashSet::new();
        let mut layers: Vec<_> =
            record.layers.iter().rev().filter(|layer| seen.insert(*layer)).collect();
        layers.reverse();
        layers.into_iter().map(|layer| self.erofs(layer)).collect()
    }
}
