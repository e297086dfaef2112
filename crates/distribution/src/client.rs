use std::sync::Arc;

use types::reference::Reference;

use crate::credentials::Credentials;
use crate::error::{Error, Result};
use crate::repository::Repository;
use crate::search::SearchHit;
use crate::settings::Settings;

/// Speaks to registries. Cheap to clone; clones share connections and tokens.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) settings: Arc<Settings>,
}

/// What a registry said to a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// `Login Succeeded`.
    pub status: String,
    /// A token to be kept instead of the password; empty if the registry gives none.
    pub identity_token: String,
}

impl Client {
    /// A client for these settings.
    ///
    /// # Errors
    /// [`Error::Address`] for mirrors and proxies that are no URLs.
    pub fn new(settings: Settings) -> Result<Self> {
        Ok(Self { settings: Arc::new(settings) })
    }

    /// Asks a registry whether these credentials are good. `server` is a host or a URL;
    /// empty for Docker Hub.
    ///
    /// # Errors
    /// [`types::ErrorKind::Unauthorized`] if they are not.
    pub async fn login(&self, server: &str, _credentials: &Credentials) -> Result<Login> {
        Err(Error::Address { address: server.to_owned(), reason: "not reachable yet" })
    }

    /// Looks for images in an index by a word. `index` is a host, empty for Docker Hub.
    ///
    /// # Errors
    /// [`Error`] when the index does not answer.
    pub async fn search(
        &self,
        index: &str,
        _term: &str,
        _limit: u32,
        _credentials: Option<&Credentials>,
    ) -> Result<Vec<SearchHit>> {
        Err(Error::Address { address: index.to_owned(), reason: "not reachable yet" })
    }

    /// The repository of a reference; its tag and digest do not matter.
    pub fn repository(
        &self,
        reference: &Reference,
        credentials: Option<Credentials>,
    ) -> Repository {
        Repository::new(self.clone(), reference.without_tag(), credentials)
    }
}
