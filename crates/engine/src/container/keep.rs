//! Bringing a container's record to disk.
//!
//! Changes go to the database in the order in which they were made in memory, because both
//! happen under the record's lock: what is written later is never older. After its removal has
//! been written, nothing about a container is.

use types::Error;

use super::Container;
use crate::Engine;
use crate::database::{Change, Pending, Table};
use crate::record::Record;

impl Engine {
    /// Changes a container's record, and waits until that is on disk. If it cannot be written,
    /// the record is as it was.
    ///
    /// The caller holds the container's `operation`.
    pub(crate) async fn change(
        &self,
        container: &Container,
        change: impl FnOnce(&mut Record),
    ) -> Result<(), Error> {
        let before = container.record().clone();
        let failed = match self.begin_change(container, change) {
            Ok(Some(pending)) => pending.done().await.err(),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        let Some(error) = failed else { return Ok(()) };
        let mut record = container.record();
        let now = std::mem::replace(&mut *record, before);
        // What changes without `operation` has gone on meanwhile.
        record.stopped_by_user = now.stopped_by_user;
        record.state.oom_killed = now.state.oom_killed;
        Err(error)
    }

    /// Changes a container's record and has that written. `None` when it has been removed.
    pub(crate) fn begin_change(
        &self,
        container: &Container,
        change: impl FnOnce(&mut Record),
    ) -> Result<Option<Pending>, Error> {
        let mut record = container.record();
        change(&mut record);
        if container.is_gone() {
            return Ok(None);
        }
        let change = Change::put(Table::Containers, container.id.as_str(), &*record)?;
        self.database.begin(change).map(Some)
    }

    /// Changes a container's record and has that written soon. For what can be found out again
    /// after a crash.
    pub(crate) fn change_soon(&self, container: &Container, change: impl FnOnce(&mut Record)) {
        match self.begin_change(container, change) {
            // The database thread itself says when it cannot write.
            Ok(pending) => drop(pending),
            Err(error) => tracing::error!(container = container.id.short(), "{error}"),
        }
    }

    /// Removes a container's record for good, and waits until that is on disk.
    pub(crate) async fn forget_record(&self, container: &Container) -> Result<(), Error> {
        let pending = {
            let _record = container.record();
            container.set_gone(true);
            self.database.begin(Change::remove(Table::Containers, container.id.as_str()))
        };
        let removed = match pending {
            Ok(pending) => pending.done().await,
            Err(error) => Err(error),
        };
        if removed.is_err() {
            container.set_gone(false);
        }
        removed
    }
}
