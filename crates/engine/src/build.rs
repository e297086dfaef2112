//! Builds: what a Dockerfile needs of this engine.
//!
//! A build runs on threads of its own, which may block; its processes are containers that nobody
//! sees ([`crate::container::start::hidden`]).

mod agent;
mod git;
mod keep;
mod memory;
mod pull;
mod run;

use std::collections::{BTreeSet, HashMap};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::{Arc, Mutex};

pub use keep::CacheKeep;

use build::cache::{Cache, Record as CacheRecord};
use build::progress::Listener;
use build::worker::{Fetched, GitRemote, Output, Pulling, Run, Session};
use build::{Failure, Input, Outcome, Request, Shop};
use tokio::runtime::Handle;
use tokio::sync::watch;
use types::digest::Digest;
use types::event::Subject;
use types::filter::Filters;
use types::{ContainerId, Error};

use crate::spec::users;
use crate::{Credentials, Engine, aside, blocking, from_image};
use keep::{free_space, kept};

/// The builder's part of the engine.
#[derive(Debug)]
pub(crate) struct Builds {
    cache: Arc<Cache>,
    /// Builds that were given a name, to be cancelled by.
    named: Mutex<HashMap<String, Arc<watch::Sender<bool>>>>,
}

/// A build to be done.
pub struct BuildRequest {
    /// What is asked.
    pub request: Request,
    /// Its context.
    pub input: Input,
    /// The client's secrets, agents and places for results.
    pub session: Option<Arc<dyn Session>>,
    /// Logins for registries, by the registry's name.
    pub credentials: HashMap<String, Credentials>,
    /// A name to cancel it by.
    pub name: String,
}

impl std::fmt::Debug for BuildRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BuildRequest").field("request", &self.request).finish_non_exhaustive()
    }
}

/// A build's end of the engine.
pub(super) struct Worker {
    engine: Engine,
    runtime: Handle,
    session: Option<Arc<dyn Session>>,
    credentials: HashMap<String, Credentials>,
    stop: Arc<watch::Sender<bool>>,
    cancel: watch::Receiver<bool>,
    /// Said once a build: which wall its steps do not have.
    wall_said: std::sync::Once,
}

impl Builds {
    pub(crate) fn open(data_root: &Path, images: &Arc<image::Store>) -> Result<Self, Error> {
        let cache = Cache::open(&directory(data_root), images).map_err(from_build)?;
        Ok(Self { cache: Arc::new(cache), named: Mutex::default() })
    }
}

/// What is built here unless another platform is asked for: `os/architecture[/variant]`.
pub fn platform() -> String {
    match image::host_architecture() {
        (architecture, "") => format!("linux/{architecture}"),
        (architecture, variant) => format!("linux/{architecture}/{variant}"),
    }
}

/// The builder's directory.
pub(crate) fn directory(data_root: &Path) -> std::path::PathBuf {
    data_root.join("build")
}

fn from_build(error: build::error::Error) -> Error {
    Error { kind: error.kind(), message: crate::chain(&error) }
}

/// Cancels a build when whoever waits for it has gone.
struct Cancelling<'e> {
    engine: &'e Engine,
    name: String,
    stop: Arc<watch::Sender<bool>>,
}

impl Drop for Cancelling<'_> {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if !self.name.is_empty() {
            let mut named = crate::lock(&self.engine.builds.named);
            // Another build may have been given the same name since.
            if named.get(&self.name).is_some_and(|stop| Arc::ptr_eq(stop, &self.stop)) {
                named.remove(&self.name);
            }
        }
    }
}

impl Engine {
    /// Builds. When this is dropped before its end, the build is cancelled.
    ///
    /// # Errors
    /// Why it failed, with the place in the Dockerfile.
    pub async fn build(
        &self,
        build: BuildRequest,
        listener: Arc<dyn Listener>,
    ) -> Result<Outcome, Failure> {
        let (stop, cancel) = watch::channel(false);
        let stop = Arc::new(stop);
        let name = build.name.clone();
        if !name.is_empty() {
            crate::lock(&self.builds.named).insert(name.clone(), Arc::clone(&stop));
        }
        let _cancelling = Cancelling { engine: self, name, stop: Arc::clone(&stop) };
        let worker = Worker {
            engine: self.clone(),
            runtime: Handle::current(),
            session: build.session,
            credentials: build.credentials,
            stop,
            cancel,
            wall_said: std::sync::Once::new(),
        };
        let BuildRequest { request, input, .. } = build;
        let (engine, cache) = (self.clone(), Arc::clone(&self.builds.cache));
        let built = aside(move || {
            let shop = Shop {
                store: &engine.images,
                cache: &cache,
                worker: &worker,
                listener: &*listener,
            };
            Ok(build::build(shop, &request, input))
        });
        let built = built.await.map_err(|error| Failure::from(build::error::Error::from(error)))?;
        if let Ok(outcome) = &built
            && let Some(id) = &outcome.image
        {
            for name in &outcome.names {
                self.tell(Subject::Image, "tag", id.as_ref(), &[("name", name)]);
            }
        }
        built
    }

    /// Cancels the build of a name.
    ///
    /// # Errors
    /// Not found.
    pub fn cancel_build(&self, name: &str) -> Result<(), Error> {
        let named = crate::lock(&self.builds.named);
        let stop = named.get(name).filter(|_| !name.is_empty());
        let stop = stop.ok_or_else(|| Error::not_found(format!("no such build: {name}")))?;
        stop.send_replace(true);
        Ok(())
    }

    /// What the build cache holds.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub async fn build_cache(&self) -> Result<Vec<CacheRecord>, Error> {
        let engine = self.clone();
        blocking(move || {
            engine.builds.cache.records(&engine.layers_of_images()?).map_err(from_build)
        })
        .await
    }

    /// Layers that images have.
    fn layers_of_images(&self) -> Result<BTreeSet<Digest>, Error> {
        let all = image::ListFilter { all: true, ..Default::default() };
        let mut layers = BTreeSet::new();
        for image in self.images.list(&all).map_err(from_image)? {
            // One that has just been removed has none.
            if let Ok(config) = self.images.config(&image.id) {
                layers.extend(config.rootfs.diff_ids.iter().cloned());
            }
        }
        Ok(layers)
    }

    /// Removes records of the build cache: without `all` those whose layers no image has, oldest
    /// use first until no more is left than `keep` says.
    ///
    /// # Errors
    /// [`types::ErrorKind::Invalid`] for unknown filters.
    pub async fn build_prune(
        &self,
        filters: &Filters,
        all: bool,
        keep: CacheKeep,
    ) -> Result<(Vec<String>, u64), Error> {
        filters.allow(&[
            "description",
            "id",
            "inuse",
            "label",
            "parent",
            "private",
            "shared",
            "type",
            "until",
            "unused-for",
        ])?;
        let until = match filters.has("until") {
            true => crate::volumes::until(filters)?,
            false => unused_for(filters)?,
        };
        let (engine, filters) = (self.clone(), filters.clone());
        let (removed, space) = blocking(move || {
            let images = engine.layers_of_images()?;
            let cache = &engine.builds.cache;
            let records = cache.records(&images).map_err(from_build)?;
            let total = records.iter().map(|record| record.size).sum();
            let kept = kept(records, keep.bytes(total, free_space(&engine.config.data_root)));
            let pruned = cache.prune(&engine.images, &images, &|record| {
                (all || !record.shared)
                    && until.is_none_or(|until| record.last_used < until)
                    && matches(&filters, record)
                    && !kept.contains(&record.id)
            });
            let pruned = pruned.map_err(from_build)?;
            engine.images.collect_garbage().map_err(from_image)?;
            Ok((pruned.removed, pruned.reclaimed))
        })
        .await?;
        self.tell(Subject::Builder, "prune", "", &[("reclaimed", &space.to_string())]);
        Ok((removed, space))
    }
}

/// `unused-for=24h`.
fn unused_for(filters: &Filters) -> Result<Option<types::Timestamp>, Error> {
    let Some(text) = filters.values("unused-for").last() else { return Ok(None) };
    let duration =
        types::duration::parse(text).map_err(|error| Error::invalid(error.to_string()))?;
    Ok(Some(types::Timestamp(types::Timestamp::now().0.saturating_sub(duration))))
}

fn matches(filters: &Filters, record: &CacheRecord) -> bool {
    let any = |name: &str, fits: &dyn Fn(&str) -> bool| {
        !filters.has(name) || filters.values(name).any(fits)
    };
    let truth = |value: &str| matches!(value, "1" | "true" | "True" | "TRUE" | "t" | "T");
    any("id", &|value| record.id.starts_with(value))
        && any("parent", &|value| record.parent.as_deref().is_some_and(|id| id.starts_with(value)))
        && any("type", &|value| record.kind.as_str() == value)
        && any("description", &|value| record.description.contains(value))
        && any("inuse", &|value| truth(value) == record.in_use)
        && any("shared", &|value| truth(value) == record.shared)
        && any("private", &|value| truth(value) != record.shared)
}

impl build::Worker for Worker {
    fn image(
        &self,
        name: &str,
        platform: &str,
        always: bool,
        tell: &mut dyn FnMut(Pulling),
    ) -> Result<Digest, Error> {
        self.find_image(name, platform, always, tell)
    }

    fn new_id(&self) -> Result<ContainerId, Error> {
        crate::container::names::id()
    }

    fn run(&self, run: Run, output: &mut dyn FnMut(u8, &[u8])) -> Result<i32, Error> {
        self.run_step(run, output)
    }

    fn discard(&self, id: &ContainerId) {
        self.engine.discard_storage(id);
    }

    fn user(&self, root: BorrowedFd<'_>, user: &str) -> Result<(u32, u32), Error> {
        let found = users::resolve(root, user, &[])?;
        Ok((found.uid, found.gid))
    }

    fn fetch(&self, address: &str) -> Result<Fetched, Error> {
        self.open_address(address)
    }

    fn git(&self, remote: &GitRemote, keep_git_dir: bool, into: &Path) -> Result<String, Error> {
        let commit = git::check_out(remote, into, &|| *self.cancel.borrow())?;
        if !keep_git_dir {
            git::forget_history(into)?;
        }
        Ok(commit)
    }

    fn secret(&self, id: &str) -> Result<Option<Vec<u8>>, Error> {
        self.session.as_ref().map_or(Ok(None), |session| session.secret(id))
    }

    fn has_ssh(&self, id: &str) -> bool {
        self.session.as_ref().is_some_and(|session| session.ssh(id).is_ok())
    }

    fn stop(&self) {
        self.stop.send_replace(true);
    }

    fn output(&self, index: usize, kind: &str) -> Result<Box<dyn Output>, Error> {
        let session = self.session.as_ref().ok_or_else(|| {
            Error::invalid(format!("the output {kind} needs a session: use isopod build"))
        })?;
        session.output(index, kind)
    }

    fn is_cancelled(&self) -> bool {
        *self.cancel.borrow()
    }
}
