//! A pull-through cache: what is not here is fetched from the registry behind it, kept, and sent
//! to everybody who waits for it while it comes.
//!
//! A tag is asked for upstream each time; if upstream cannot answer, what the tag stood for the
//! last time is given. Content by digest never changes and is asked for once.

mod download;

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use distribution::{Client, Credentials, Repository, Settings};
use serde_json::Value;
use types::ErrorKind;
use types::digest::Digest;
use types::reference::Reference;

use crate::app::{App, on_disk};
use crate::body::Body;
use crate::error::Error;
use crate::follow::Following;
use crate::manifest;
use crate::name::Name;
use crate::route::Target;
use crate::routes::manifests::{count, local};
use crate::storage::Stored;
use download::Download;

/// Why there can be no cache of this registry.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CacheError {
    /// The address is no URL.
    #[error("--proxy {0:?}: not of the form https://registry[:port]")]
    Address(String),
    /// The client cannot be made.
    #[error("--proxy: {0}")]
    Client(#[from] distribution::Error),
}

type Slots = HashMap<(Name, Digest), Arc<tokio::sync::Mutex<Option<Download>>>>;

/// The registry behind the cache.
#[derive(Debug)]
pub(crate) struct Cache {
    client: Client,
    /// What names begin with upstream: a host, and sometimes a path.
    prefix: String,
    credentials: Option<Credentials>,
    slots: Mutex<Slots>,
}

/// A blob that can be sent.
pub(crate) struct Found {
    /// Its length in bytes.
    pub(crate) size: u64,
    /// Makes the body for so many bytes from a first one on.
    pub(crate) follow: Box<dyn FnOnce(u64, u64) -> Body + Send>,
}

impl Cache {
    /// A cache of the registry at a URL.
    pub(crate) fn new(url: &str, credentials: Option<Credentials>) -> Result<Self, CacheError> {
        let bad = || CacheError::Address(url.to_owned());
        let (scheme, rest) = url.split_once("://").ok_or_else(bad)?;
        let prefix = rest.trim_end_matches('/').to_owned();
        let host = prefix.split('/').next().unwrap_or_default();
        let secure = match scheme {
            "https" => true,
            "http" => false,
            _ => return Err(bad()),
        };
        // Must be taken for a host in a reference, and not for a repository of Docker Hub.
        let reference = Reference::parse(&format!("{prefix}/a")).map_err(|_| bad())?;
        if host.is_empty() || reference.path() == prefix {
            return Err(bad());
        }
        let settings = Settings {
            proxies: distribution::Proxies::from_env(),
            insecure: if secure { Vec::new() } else { vec![host.to_owned()] },
            ..Settings::default()
        };
        let prefix = if host == "registry-1.docker.io" { "docker.io".to_owned() } else { prefix };
        let client = Client::new(settings)?;
        Ok(Self { client, prefix, credentials, slots: Mutex::default() })
    }

    /// The repository upstream; `None` for a name that is too long there.
    fn upstream(&self, name: &Name) -> Option<Repository> {
        let reference = Reference::parse(&format!("{}/{name}", self.prefix)).ok()?;
        Some(self.client.repository(&reference, self.credentials.clone()))
    }

    /// A manifest from here or from upstream.
    pub(crate) async fn manifest(
        &self,
        app: &Arc<App>,
        name: &Name,
        target: &Target,
    ) -> Result<Option<Stored>, Error> {
        let (at, wanted) = (name.clone(), target.clone());
        let here = on_disk(app, move |app| local(app, &at, &wanted)).await?;
        let Some(upstream) = self.upstream(name) else { return Ok(None) };
        match target {
            Target::Invalid(_) => return Ok(None),
            Target::Digest(_) if here.is_some() => {
                count(app, true);
                return Ok(here);
            }
            Target::Digest(_) => {}
            Target::Tag(tag) => match upstream.head_manifest(tag.as_str()).await {
                Ok(head) if here.as_ref().is_some_and(|here| here.digest == head.digest) => {
                    count(app, true);
                    return Ok(here);
                }
                Ok(_) => {}
                Err(error) => return stale(here, error),
            },
        }
        count(app, false);
        let fetched = match upstream.manifest(&target.to_string()).await {
            Ok(fetched) => fetched,
            Err(error) => return stale(here, error),
        };
        let (name, target) = (name.clone(), target.clone());
        on_disk(app, move |app| {
            let parsed = manifest::parse(Some(&fetched.media_type), &fetched.bytes)?;
            let tag = match &target {
                Target::Tag(tag) => Some(tag),
                _ => None,
            };
            let (digest, bytes) = (fetched.digest, fetched.bytes);
            let repository = app.storage.repository(&name);
            repository.put_manifest(&parsed, &digest, &bytes, tag, false)?;
            Ok(Some(Stored { media_type: parsed.media_type, digest, bytes: bytes.into() }))
        })
        .await
    }

    /// The length of a blob upstream.
    pub(crate) async fn blob_size(
        &self,
        name: &Name,
        digest: &Digest,
    ) -> Result<Option<u64>, Error> {
        let Some(upstream) = self.upstream(name) else { return Ok(None) };
        match upstream.has_blob(digest).await {
            Ok(size) => Ok(size),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(Error::Upstream(error)),
        }
    }

    /// A blob that is not here: joins whoever fetches it already, or begins to.
    pub(crate) async fn blob(
        &self,
        app: &Arc<App>,
        name: &Name,
        digest: &Digest,
    ) -> Result<Option<Found>, Error> {
        let key = (name.clone(), digest.clone());
        let slot = self.lock().entry(key.clone()).or_default().clone();
        let mut slot = slot.lock().await;
        if let Some(download) = slot.as_ref().filter(|download| download.is_of_use()) {
            return Ok(Some(follow(download)));
        }
        let Some(size) = self.blob_size(name, digest).await? else {
            self.lock().remove(&key);
            return Ok(None);
        };
        if let Some(found) = self.adopt(app, name, digest).await? {
            self.lock().remove(&key);
            return Ok(Some(found));
        }
        let Some(upstream) = self.upstream(name) else { return Ok(None) };
        let download = Download::begin(app, upstream, name, digest, size).await?;
        let found = follow(&download);
        *slot = Some(download.clone());
        let app = app.clone();
        tokio::spawn(async move {
            download.ended().await;
            if let Some(cache) = &app.cache {
                cache.lock().remove(&key);
            }
        });
        Ok(Some(found))
    }

    /// A blob that came for another repository, and that upstream has in this one too.
    async fn adopt(
        &self,
        app: &Arc<App>,
        name: &Name,
        digest: &Digest,
    ) -> Result<Option<Found>, Error> {
        let (name, digest) = (name.clone(), digest.clone());
        on_disk(app, move |app| {
            let Some(size) = app.storage.repository(&name).link(&digest)? else { return Ok(None) };
            let file = app
                .storage
                .blobs()
                .open_blob(&digest)
                .map_err(|error| Error::Storage(error.into()))?;
            let follow = Box::new(move |first, count| Body::file(file, first, count));
            Ok(Some(Found { size, follow }))
        })
        .await
    }

    /// The tags upstream, or those that are here if upstream cannot be reached.
    pub(crate) async fn tags(
        &self,
        name: &Name,
        local: impl Future<Output = Result<Option<Vec<String>>, Error>>,
    ) -> Result<Option<Vec<String>>, Error> {
        let Some(upstream) = self.upstream(name) else { return Ok(None) };
        match upstream.tags().await {
            Ok(mut tags) => {
                tags.sort();
                Ok(Some(tags))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => match local.await? {
                Some(tags) => Ok(Some(tags)),
                None => Err(Error::Upstream(error)),
            },
        }
    }

    /// The referrers upstream, or those that are here if upstream cannot be reached.
    pub(crate) async fn referrers(
        &self,
        name: &Name,
        subject: &Digest,
        local: impl Future<Output = Result<Vec<Value>, Error>>,
    ) -> Result<Vec<Value>, Error> {
        let Some(upstream) = self.upstream(name) else { return Ok(Vec::new()) };
        match upstream.referrers(subject, None).await {
            Ok(found) => {
                let values = found.iter().filter_map(|one| serde_json::to_value(one).ok());
                Ok(values.collect())
            }
            Err(_) => local.await,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn follow(download: &Download) -> Found {
    let download = download.clone();
    let size = download.size;
    let follow = move |first, count| {
        Body::Following(Following::new(download.file, first, count, download.growth))
    };
    Found { size, follow: Box::new(follow) }
}

/// What is here, when upstream cannot say what there should be.
fn stale(here: Option<Stored>, error: distribution::Error) -> Result<Option<Stored>, Error> {
    if error.is_not_found() {
        return Ok(None);
    }
    // A refusal is an answer; anything else is none.
    let denied = matches!(error.kind(), ErrorKind::Unauthorized | ErrorKind::Forbidden);
    let away = !denied
        && error.refusal().is_none_or(|refusal| refusal.status == 429 || refusal.status >= 500);
    match here {
        Some(here) if away => {
            tracing::warn!("upstream cannot be asked, so what was there before is given: {error}");
            Ok(Some(here))
        }
        _ => Err(Error::Upstream(error)),
    }
}
