//! Mounts that come to a running container, or go.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use oci_spec::runtime::Mount;
use proto::launch::mount_source;
use runtime::failure;
use types::Error;

use crate::monitor::{Monitor, State};
use crate::requests::not_running;

impl Monitor<'_> {
    /// Adds a bind mount; its source may be the detached mount that came along.
    pub(crate) fn mount(&mut self, mut mount: Mount, tree: Option<OwnedFd>) -> Result<(), Error> {
        let container = self.place()?;
        if mount.source().as_deref() == Some(&*mount_source(0)) {
            let tree =
                tree.as_ref().ok_or_else(|| Error::invalid("the mount did not come along"))?;
            mount.set_source(Some(sys::fs::proc_fd_path(tree)));
        }
        runtime::attach(container, &mount).map_err(|error| failure::of_runtime(&error))
    }

    /// Takes a mount away.
    pub(crate) fn unmount(&mut self, target: &Path) -> Result<(), Error> {
        runtime::detach(self.place()?, target).map_err(|error| failure::of_runtime(&error))
    }

    fn place(&self) -> Result<runtime::Place<'_>, Error> {
        match self.state {
            State::Running | State::Paused => {
                Ok(runtime::Place { pidfd: self.pidfd.as_fd(), spec: &self.spec })
            }
            _ => Err(not_running()),
        }
    }
}
