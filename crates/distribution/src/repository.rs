//! One repository of a registry.

mod blob;
mod listing;
mod manifests;
mod push;
mod upload;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use types::reference::Reference;

pub use blob::BlobStream;
pub use manifests::Fetched;

use crate::client::{Inner, is_hub, registry_host};
use crate::credentials::Credentials;
use crate::error::{Error, Result};
use crate::registry::Registry;
use crate::wire::Url;

/// One repository of a registry. Cheap to clone; clones share what they have learned.
#[derive(Clone, Debug)]
pub struct Repository(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    name: Reference,
    /// Where it can be read, the best first; the last is the registry itself.
    sources: Vec<Registry>,
    /// The first of them that has not failed.
    reading: AtomicUsize,
    /// Uploads that the registry has begun and that nobody uses yet.
    begun: Mutex<Vec<Url>>,
}

impl Repository {
    pub(crate) fn new(
        client: &Arc<Inner>,
        reference: &Reference,
        credentials: Option<Credentials>,
    ) -> Self {
        let domain = reference.domain();
        let mut sources = Vec::new();
        if is_hub(domain) {
            let mirror = |url: &Url| Registry::mirror(Arc::clone(client), url.clone());
            sources.extend(client.mirrors.iter().map(mirror));
        }
        sources.push(Registry::at(Arc::clone(client), registry_host(domain), credentials));
        Self(Arc::new(Shared {
            name: reference.without_tag(),
            sources,
            reading: AtomicUsize::new(0),
            begun: Mutex::default(),
        }))
    }

    /// The repository's name.
    pub fn name(&self) -> &Reference {
        &self.0.name
    }

    /// The registry itself, where things are written.
    fn registry(&self) -> &Registry {
        // There is always one; the first is the last if there are no mirrors.
        self.0.sources.last().unwrap_or(&self.0.sources[0])
    }

    /// The sources that may still be read, with their positions.
    fn sources(&self) -> impl Iterator<Item = (usize, &Registry)> {
        let first = self.0.reading.load(Ordering::Relaxed);
        self.0.sources.iter().enumerate().skip(first)
    }

    /// Goes on to the next source after a failure of the one at `position`.
    ///
    /// # Errors
    /// The failure, if that was the last one.
    fn pass_over(&self, position: usize, failure: Error) -> Result<()> {
        if position + 1 >= self.0.sources.len() {
            return Err(failure);
        }
        tracing::info!("a mirror does not serve {}: {failure}", self.0.name);
        self.0.reading.fetch_max(position + 1, Ordering::Relaxed);
        Ok(())
    }

    /// A path of the API for this repository.
    fn path(&self, rest: &str) -> String {
        format!("v2/{}/{rest}", self.0.name.path())
    }

    /// The rights to do something here.
    fn scopes(&self, rights: &str) -> Vec<String> {
        vec![format!("repository:{}:{rights}", self.0.name.path())]
    }
}

/// The rights to read.
const PULL: &str = "pull";
/// The rights to write.
const PUSH: &str = "pull,push";
/// The rights to delete.
const DELETE: &str = "delete";
