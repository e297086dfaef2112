//! A snapshot that a step writes to.

use std::os::fd::AsFd;
use std::sync::Arc;

use image::{HeldLayer, MountOptions, UpperOptions};
use sys::fs::Root;
use types::ContainerId;
use types::digest::Digest;

use crate::error::Result;
use crate::schedule::Build;

/// A snapshot on layers; it is removed when this is dropped.
pub(super) struct Scratch<'b> {
    build: &'b Build<'b>,
    pub(super) id: ContainerId,
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        self.build.shop.worker.discard(&self.id);
    }
}

impl<'b> Scratch<'b> {
    /// Makes one.
    pub(super) fn new(build: &'b Build<'b>, layers: &[Digest]) -> Result<Self> {
        let id = build.shop.worker.new_id()?;
        // First, so that what a failure leaves goes as well.
        let scratch = Self { build, id };
        build.shop.store.prepare_on(&scratch.id, layers)?;
        Ok(scratch)
    }

    /// Mounts it to be written to.
    pub(super) fn mount(&self) -> Result<Root> {
        let options = MountOptions { volatile: true, bare: true, ..MountOptions::default() };
        Ok(Root::from(self.build.shop.store.mount(&self.id, options)?))
    }

    /// Makes a layer of what was written. Nothing may be mounted any more.
    pub(super) fn commit(self) -> Result<Option<Arc<HeldLayer>>> {
        let options = UpperOptions { consume: true, clamp_time: self.build.epoch };
        Ok(self.build.shop.store.commit_upper(&self.id, options)?.map(Arc::new))
    }

    /// Writes through a mount and makes a layer of it.
    pub(super) fn write(
        self,
        work: impl FnOnce(&Root) -> Result<()>,
    ) -> Result<Option<Arc<HeldLayer>>> {
        let root = self.mount()?;
        work(&root)?;
        drop(root);
        self.commit()
    }

    /// User and group of `user[:group]` in a tree.
    pub(super) fn user(build: &Build<'_>, root: &Root, user: &str) -> Result<(u32, u32)> {
        Ok(build.shop.worker.user(root.as_fd(), user)?)
    }
}
