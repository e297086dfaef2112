use std::sync::Arc;

use types::reference::Reference;

use crate::credentials::Credentials;
use crate::error::Result;
use crate::registry::{Authorizations, Insecure};
use crate::repository::Repository;
use crate::settings::Settings;
use crate::wire::{Url, Wire};

/// What image names call Docker Hub.
const HUB_DOMAIN: &str = "docker.io";
/// Where its registry is.
const HUB_REGISTRY: &str = "registry-1.docker.io";
/// Where its index is.
const HUB_INDEX: &str = "index.docker.io";

/// Speaks to registries. Cheap to clone; clones share connections and tokens.
///
/// Its functions must run on a tokio runtime with I/O and time enabled.
#[derive(Clone, Debug)]
pub struct Client(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) wire: Wire,
    pub(crate) authorizations: Authorizations,
    pub(crate) insecure: Insecure,
    pub(crate) mirrors: Vec<Url>,
}

impl Client {
    /// A client for these settings.
    ///
    /// # Errors
    /// [`crate::Error::Address`] for mirrors and proxies that are no URLs.
    pub fn new(settings: Settings) -> Result<Self> {
        let mirrors = settings.mirrors.iter().map(|mirror| Url::parse(mirror.trim()));
        let mirrors = mirrors.collect::<Result<_>>()?;
        Ok(Self(Arc::new(Inner {
            wire: Wire::new(&settings)?,
            authorizations: Authorizations::default(),
            insecure: Insecure::new(&settings.insecure),
            mirrors,
            settings,
        })))
    }

    /// The repository of a reference; its tag and digest do not matter.
    ///
    /// Docker Hub's repositories are read from the mirrors first, which are never told who we
    /// are, and written at the Hub.
    pub fn repository(
        &self,
        reference: &Reference,
        credentials: Option<Credentials>,
    ) -> Repository {
        Repository::new(&self.0, reference, credentials.filter(|who| !who.is_empty()))
    }
}

/// Whether an image's domain is Docker Hub's.
pub(crate) fn is_hub(domain: &str) -> bool {
    matches!(domain, "" | HUB_DOMAIN | HUB_INDEX | HUB_REGISTRY)
}

/// The registry's `host[:port]` for the domain of an image's name.
pub(crate) fn registry_host(domain: &str) -> &str {
    if is_hub(domain) { HUB_REGISTRY } else { domain }
}

/// The index's `host[:port]` for the name of an index.
pub(crate) fn index_host(name: &str) -> &str {
    if is_hub(name) { HUB_INDEX } else { name }
}
