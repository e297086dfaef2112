//! Registries: logins, searches, and images that come and go.
//!
//! ```text
//!  pull ─► manifest ─► platform ─► configuration ─► each layer, once for all who want it:
//!            body ─► bounded channel ─► thread: check, keep, unpack ─► image gets its names
//!  push ─► each layer: is it there? lent by a neighbour? upload ─► configuration ─► manifest
//! ```
//!
//! The client and its certificates are made when they are first needed: a daemon that speaks to
//! no registry does not pay for them.

mod address;
mod find;
mod flight;
mod layer;
mod progress;
mod pull;
mod push;
mod upload;

use std::sync::{Arc, Mutex};

use distribution::{Client, Proxies};
use tokio::sync::Semaphore;
use types::{Error, ErrorKind};

pub use address::ImportRequest;
pub use distribution::{Credentials, Login, SearchHit};
pub use find::RegistryImage;
pub use progress::{LayerState, TransferStep};
pub use pull::PullRequest;
pub use push::PushRequest;

use crate::{Engine, RegistrySettings, lock};
use flight::Flights;

/// What the engine has to do with registries.
#[derive(Debug)]
pub(crate) struct Registries {
    current: Mutex<Current>,
    /// Layers on their way in, by the digest of what is fetched.
    layers: Arc<Flights<image::Ingest>>,
}

/// What a reload of the configuration replaces.
#[derive(Debug)]
struct Current {
    settings: RegistrySettings,
    client: Option<Client>,
    downloads: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
}

impl Current {
    fn new(settings: RegistrySettings) -> Self {
        let permits = |count: usize| Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
        let (downloads, uploads) = (permits(settings.downloads), permits(settings.uploads));
        Self { settings, client: None, downloads, uploads }
    }
}

impl Registries {
    pub(crate) fn new(settings: RegistrySettings) -> Self {
        Self { current: Mutex::new(Current::new(settings)), layers: Arc::default() }
    }

    /// The client, made now if need be.
    pub(crate) fn client(&self) -> Result<Client, Error> {
        let mut current = lock(&self.current);
        if let Some(client) = &current.client {
            return Ok(client.clone());
        }
        let settings = client_settings(&current.settings, Proxies::from_env());
        let client = Client::new(settings).map_err(|error| error.plain())?;
        current.client = Some(client.clone());
        Ok(client)
    }
}

/// What the client is told. What the configuration leaves open, the environment says.
fn client_settings(settings: &RegistrySettings, env: Proxies) -> distribution::Settings {
    let no_proxy = settings.no_proxy.as_deref().map(distribution::proxy::split_list);
    distribution::Settings {
        insecure: settings.insecure.clone(),
        mirrors: settings.mirrors.clone(),
        proxies: Proxies {
            http: settings.http_proxy.clone().or(env.http),
            https: settings.https_proxy.clone().or(env.https),
            no_proxy: no_proxy.unwrap_or(env.no_proxy),
        },
        attempts: settings.attempts,
        ..distribution::Settings::default()
    }
}

impl Engine {
    /// How registries are spoken to.
    pub fn registry_settings(&self) -> RegistrySettings {
        lock(&self.registries.current).settings.clone()
    }

    /// Speaks to registries in another way from now on; what is under way goes on as it began.
    pub fn set_registry_settings(&self, settings: RegistrySettings) {
        let mut current = lock(&self.registries.current);
        if current.settings != settings {
            *current = Current::new(settings);
        }
    }

    /// Asks a registry whether credentials are good.
    ///
    /// # Errors
    /// [`ErrorKind::Unauthorized`] when they are not.
    pub async fn login(&self, credentials: &Credentials) -> Result<Login, Error> {
        let client = self.registries.client()?;
        let login = client.login(&credentials.server_address, credentials).await;
        login.map_err(|error| of_the_other_side(error.plain()))
    }
}

/// A registry that does not answer or is not trusted is a failure of this request, not of this
/// daemon's readiness: dockerd says 500, and some clients try again at 503.
fn of_the_other_side(error: Error) -> Error {
    match error.kind {
        ErrorKind::Unavailable => Error { kind: ErrorKind::System, ..error },
        _ => error,
    }
}

/// As [`of_the_other_side`], where dockerd makes no difference between who asks and what fails.
fn plainly(error: Error) -> Error {
    match error.kind {
        ErrorKind::NotFound | ErrorKind::Invalid => error,
        _ => Error { kind: ErrorKind::System, ..error },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_goes_before_the_environment() {
        let env = Proxies {
            http: Some("http://env".to_owned()),
            https: Some("http://env-tls".to_owned()),
            no_proxy: vec!["env".to_owned()],
        };
        let settings = RegistrySettings {
            https_proxy: Some("http://mine".to_owned()),
            no_proxy: Some("a,b".to_owned()),
            attempts: 2,
            ..RegistrySettings::default()
        };
        let told = client_settings(&settings, env);
        assert_eq!(told.proxies.http.as_deref(), Some("http://env"));
        assert_eq!(told.proxies.https.as_deref(), Some("http://mine"));
        assert_eq!(told.proxies.no_proxy, ["a", "b"]);
        assert_eq!(told.attempts, 2);
    }

    #[test]
    fn what_a_registry_says_is_no_state_of_the_daemon() {
        assert_eq!(of_the_other_side(Error::unavailable("x")).kind, ErrorKind::System);
        assert_eq!(of_the_other_side(Error::unauthorized("x")).kind, ErrorKind::Unauthorized);
        assert_eq!(plainly(Error::unauthorized("x")).kind, ErrorKind::System);
        assert_eq!(plainly(Error::not_found("x")).kind, ErrorKind::NotFound);
    }
}
