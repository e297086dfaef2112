//! What a run holds, on disk and to give back.

use types::Error;

use crate::container::Container;
use crate::record::Run;
use crate::{Engine, from_network};

impl Engine {
    /// Gives back what a run held of the networks.
    pub(crate) fn release_run(&self, container: &Container, run: &Run) {
        self.names.remove(container.id.as_str());
        for endpoint in &run.endpoints {
            if let Err(error) = self.networks.release(endpoint) {
                let error = from_network(error);
                tracing::error!(container = container.id.short(), "{error}");
            }
        }
    }

    /// Removes the directory of a monitor that has ended.
    pub(crate) fn forget_monitor(&self, id: &types::ContainerId) {
        let directory = self.config.monitor_dir(id.as_str());
        match std::fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::error!("cannot remove {}: {error}", directory.display());
            }
            _ => {}
        }
    }
}

/// The endpoints as they were when the run began, for a daemon that starts again.
pub(super) fn write_run(directory: &std::path::Path, run: &Run) -> Result<(), Error> {
    let failed = |error: &dyn std::fmt::Display| {
        Error::system(format!("cannot write {}: {error}", directory.display()))
    };
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(&error)),
        _ => {}
    }
    std::fs::create_dir_all(directory).map_err(|error| failed(&error))?;
    replace_run(directory, run)
}

/// Writes what a run holds: whoever reads finds all of the old or all of the new. There is no
/// fsync, because what is written here is worth nothing after a restart of the machine.
pub(crate) fn replace_run(directory: &std::path::Path, run: &Run) -> Result<(), Error> {
    let failed = |error: &dyn std::fmt::Display| {
        Error::system(format!("cannot write {}: {error}", directory.display()))
    };
    let json = serde_json::to_vec(run).map_err(|error| failed(&error))?;
    let temporary = directory.join("run.json.new");
    std::fs::write(&temporary, json).map_err(|error| failed(&error))?;
    std::fs::rename(&temporary, directory.join("run.json")).map_err(|error| failed(&error))
}
