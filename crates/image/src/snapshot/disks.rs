//! A container's layers as disks of a virtual machine.

use std::collections::HashSet;
use std::path::PathBuf;

use types::ContainerId;

use crate::error::Result;
use crate::store::Store;

/// The most disks that layers become: with what the container writes they fit any template, and
/// leave places for shared directories.
const MOST: usize = 8;

impl Store {
    /// The layers below a container as images, lowest first; what is not there is made. There is
    /// one for each of the highest, which change the most, and one for all below.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`](crate::Error::NoSnapshot); those of making one.
    pub fn disks(&self, container: &ContainerId) -> Result<Vec<PathBuf>> {
        let record = self.record_of(container)?;
        // Whatever is in the lower occurrence of a layer is in the upper one as well.
        let mut seen = HashSet::new();
        let mut layers: Vec<_> =
            record.layers.iter().rev().filter(|layer| seen.insert(*layer)).cloned().collect();
        layers.reverse();
        let merged = if layers.len() > MOST { layers.len() - (MOST - 1) } else { 0 };
        let (low, high) = layers.split_at(merged);
        let mut disks = Vec::new();
        if !low.is_empty() {
            disks.push(self.merged_erofs(low)?);
        }
        for layer in high {
            disks.push(self.erofs(layer)?);
        }
        Ok(disks)
    }
}
