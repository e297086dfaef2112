//! Base images, and what addresses have.

use std::io::{self, Read};

use build::worker::{Fetched, Pulling};
use bytes::{Buf, Bytes};
use tokio::sync::mpsc;
use types::Error;
use types::digest::Digest;
use types::reference::Reference;

use super::Worker;
use crate::registries::{LayerState, PullRequest, TransferStep};
use crate::{Credentials, Engine, from_image};

/// Pieces of a body that may wait.
const QUEUE: usize = 8;

impl Worker {
    /// The image of a name, pulled if need be.
    pub(super) fn find_image(
        &self,
        name: &str,
        platform: &str,
        always: bool,
        tell: &mut dyn FnMut(Pulling),
    ) -> Result<Digest, Error> {
        let images = &self.engine.images;
        let local = images.resolve(name);
        if let Ok(id) = &local
            && (!always || is_id(name))
            && self.fits(id, platform)?
        {
            return Ok(id.clone());
        }
        if is_id(name) {
            return local.map_err(from_image);
        }
        let reference =
            Reference::parse(name).map_err(|error| Error::invalid(error.to_string()))?.or_latest();
        let request = PullRequest {
            credentials: self.credentials_for(&reference),
            platform: (!platform.is_empty()).then(|| platform.to_owned()),
            reference: reference.clone(),
        };
        let entered = self.runtime.enter();
        let mut steps = self.engine.pull(request);
        drop(entered);
        while let Some(step) = steps.blocking_recv() {
            tell(shown(step?));
            if *self.cancel.borrow() {
                return Err(Error::system("the build was cancelled"));
            }
        }
        images.resolve(&reference.familiar()).map_err(from_image)
    }

    /// Whether an image that is here is for the platform that is wanted.
    fn fits(&self, id: &Digest, platform: &str) -> Result<bool, Error> {
        if platform.is_empty() {
            return Ok(true);
        }
        let config = self.engine.images.config(id).map_err(from_image)?;
        let mut wanted = platform.splitn(3, '/');
        let same = |found: &str, wanted: Option<&str>| {
            wanted.is_none_or(|wanted| found.is_empty() || found == wanted)
        };
        Ok(same(&config.os, wanted.next())
            && same(&config.architecture, wanted.next())
            && same(&config.variant, wanted.next()))
    }

    fn credentials_for(&self, reference: &Reference) -> Option<Credentials> {
        let domain = reference.domain();
        let names: &[&str] = match domain {
            "docker.io" => &["https://index.docker.io/v1/", "index.docker.io", "docker.io"],
            other => &[other],
        };
        let found = |name: &&str| {
            self.credentials.get(*name).or_else(|| self.credentials.get(&format!("https://{name}")))
        };
        names.iter().find_map(found).cloned()
    }

    /// Opens an address; its body comes through a task of the runtime.
    pub(super) fn open_address(&self, address: &str) -> Result<Fetched, Error> {
        let (engine, address) = (self.engine.clone(), address.to_owned());
        self.runtime.block_on(async move { open(&engine, &address).await })
    }
}

async fn open(engine: &Engine, address: &str) -> Result<Fetched, Error> {
    let client = engine.registries.client()?;
    let failed = |error: &distribution::Error| {
        let (plain, address) = (error.plain(), address.to_owned());
        let message = match error {
            distribution::Error::Refused(refusal) => {
                format!("cannot fetch {address}: the server answered {}", refusal.status)
            }
            _ => format!("cannot fetch {address}: {}", plain.message),
        };
        Error { message, ..plain }
    };
    let mut page = client.fetch(address).await.map_err(|error| failed(&error))?;
    let (sender, receiver) = mpsc::channel(QUEUE);
    let (length, modified, name) = (page.length(), page.modified(), page.name());
    let media_type = page.media_type().to_owned();
    tokio::spawn(async move {
        loop {
            let piece = match page.chunk().await {
                Ok(Some(bytes)) => Ok(bytes),
                Ok(None) => return,
                Err(error) => Err(io::Error::other(error.to_string())),
            };
            let last = piece.is_err();
            if sender.send(piece).await.is_err() || last {
                return;
            }
        }
    });
    let body = Body { receiver, rest: Bytes::new(), left: length };
    Ok(Fetched { body: Box::new(body), length, media_type, modified, name })
}

/// A body that comes through a channel.
struct Body {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    rest: Bytes,
    /// Bytes that must still come, if that is known.
    left: Option<u64>,
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() && !buffer.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.rest = piece?,
                None if self.left.is_some_and(|left| left > 0) => {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the body is cut short",
                    ));
                }
                None => return Ok(0),
            }
        }
        let length = self.rest.len().min(buffer.len());
        self.rest.copy_to_slice(&mut buffer[..length]);
        self.left = self.left.map(|left| left.saturating_sub(length as u64));
        Ok(length)
    }
}

/// Whether this is an image's id, which no registry knows.
fn is_id(name: &str) -> bool {
    let hex = name.strip_prefix("sha256:").unwrap_or(name);
    hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn shown(step: TransferStep) -> Pulling {
    let line = |status: String| Pulling { status, ..Pulling::default() };
    match step {
        TransferStep::Line(text) => line(text),
        TransferStep::Tag { tag, text } => line(format!("{tag}: {text}")),
        TransferStep::Pushed { tag, .. } => line(tag),
        TransferStep::Importing { .. } => line("Importing".to_owned()),
        TransferStep::Layer { id, state } => {
            let part = |status: &str, current, total| Pulling {
                item: id.clone(),
                status: status.to_owned(),
                current,
                total,
            };
            match state {
                LayerState::AlreadyExists => part("exists", 0, 0),
                LayerState::Wanted | LayerState::Waiting => part("waiting", 0, 0),
                LayerState::Downloading { done, total } => part("downloading", done, total),
                LayerState::Extracting { done, total } => part("extracting", done, total),
                LayerState::Verifying | LayerState::Downloaded => part("verifying", 0, 0),
                _ => part("done", 0, 0),
            }
        }
    }
}
