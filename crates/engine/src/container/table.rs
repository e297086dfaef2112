//! Every container, by id and by name.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use types::{ContainerId, Error};

use super::Container;

/// Every container the engine knows.
#[derive(Debug, Default)]
pub(crate) struct Containers {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    by_id: BTreeMap<ContainerId, Arc<Container>>,
    names: HashMap<String, ContainerId>,
}

/// Docker's words for a container that is not there.
pub(crate) fn unknown(reference: &str) -> Error {
    Error::not_found(format!("No such container: {reference}"))
}

impl Inner {
    fn release(&mut self, name: &str, id: &ContainerId) {
        if self.names.get(name) == Some(id) {
            self.names.remove(name);
        }
    }
}

impl Containers {
    /// Takes `name` for `id`, so that nobody else gets it.
    ///
    /// # Errors
    /// [`types::ErrorKind::Conflict`] in Docker's words when it is taken.
    pub(crate) fn reserve(&self, name: &str, id: &ContainerId) -> Result<(), Error> {
        let mut inner = crate::lock(&self.inner);
        if let Some(owner) = inner.names.get(name) {
            return Err(Error::conflict(format!(
                "Conflict. The container name \"/{name}\" is already in use by container \
                 \"{owner}\". You have to remove (or rename) that container to be able to reuse \
                 that name."
            )));
        }
        inner.names.insert(name.to_owned(), id.clone());
        Ok(())
    }

    /// Gives a name back, if `id` has it.
    pub(crate) fn release(&self, name: &str, id: &ContainerId) {
        crate::lock(&self.inner).release(name, id);
    }

    pub(crate) fn insert(&self, container: Arc<Container>) {
        crate::lock(&self.inner).by_id.insert(container.id.clone(), container);
    }

    pub(crate) fn remove(&self, container: &Container) {
        let name = container.record().name.clone();
        let mut inner = crate::lock(&self.inner);
        inner.by_id.remove(&container.id);
        inner.release(&name, &container.id);
    }

    /// All of them, the newest first.
    pub(crate) fn all(&self) -> Vec<Arc<Container>> {
        let mut all: Vec<_> = crate::lock(&self.inner).by_id.values().cloned().collect();
        all.sort_by_key(|container| std::cmp::Reverse(container.record().created));
        all
    }

    /// Finds by full id, name, or unambiguous beginning of the id, in this order.
    ///
    /// # Errors
    /// Not found, or an ambiguous beginning, in Docker's words.
    pub(crate) fn find(&self, reference: &str) -> Result<Arc<Container>, Error> {
        let inner = crate::lock(&self.inner);
        let named = reference.strip_prefix('/').unwrap_or(reference);
        if let Ok(id) = reference.parse::<ContainerId>()
            && let Some(container) = inner.by_id.get(&id)
        {
            return Ok(Arc::clone(container));
        }
        if let Some(container) = inner.names.get(named).and_then(|id| inner.by_id.get(id)) {
            return Ok(Arc::clone(container));
        }
        let hex = !reference.is_empty() && reference.bytes().all(|b| b.is_ascii_hexdigit());
        let mut matches =
            inner.by_id.iter().filter(|(id, _)| hex && id.as_str().starts_with(reference));
        match (matches.next(), matches.next()) {
            (Some((_, container)), None) => Ok(Arc::clone(container)),
            (Some(_), Some(_)) => {
                Err(Error::invalid(format!("multiple IDs found with provided prefix: {reference}")))
            }
            (None, _) => Err(unknown(reference)),
        }
    }
}
