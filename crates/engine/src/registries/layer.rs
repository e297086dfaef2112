//! One layer on its way in: from the registry's connection to the thread that unpacks it.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use distribution::Repository;
use distribution::manifest::Descriptor;
use image::{Ingest, LayerStep};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use types::Error;
use types::digest::Digest;
use types::reference::Reference;

use super::flight::Cockpit;
use super::{LayerState, plainly};
use crate::{Engine, aside, from_image, lock};

/// Pieces of a layer that wait for the thread.
const WAITING: usize = 16;
/// Between two signs of progress.
const PACE: Duration = Duration::from_millis(100);

/// What is to be fetched.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// Where from.
    pub(super) repository: Repository,
    /// For whom, in errors.
    pub(super) reference: Reference,
    /// The blob.
    pub(super) blob: Descriptor,
    /// What it unpacks to.
    pub(super) diff_id: Digest,
}

/// Fetches a layer and unpacks it while it comes. What it returns keeps the layer.
pub(super) async fn fetch(
    engine: Engine,
    wanted: Wanted,
    cockpit: Cockpit<Ingest>,
) -> Result<Ingest, Error> {
    let _permit = permit(&engine, &cockpit).await?;
    let ingest = engine.images.ingest().came_from(wanted.repository.name().name());
    let size = wanted.blob.size;
    // More than there should be is no beginning of this blob.
    let from = Some(ingest.partial(&wanted.blob.digest)).filter(|from| *from <= size).unwrap_or(0);
    cockpit.report(LayerState::Downloading { done: from, total: size });
    let (pieces, receiver) = mpsc::channel(WAITING);
    let unpack = {
        let (blob, diff_id, cockpit) =
            (wanted.blob.clone(), wanted.diff_id.clone(), cockpit.clone());
        aside(move || {
            let mut input = Body { receiver, rest: Bytes::new() };
            let mut tell = teller(&cockpit);
            let outcome = ingest.layer(&blob, &diff_id, from, &mut input, &mut tell);
            outcome.map(|()| ingest).map_err(worded)
        })
    };
    let feed = async {
        let fed = tokio::select! {
            fed = feed(&wanted, from, &pieces) => fed,
            () = cockpit.deserted() => Err(deserted()),
        };
        if let Err(error) = &fed {
            // The thread has ended where nobody takes it.
            drop(pieces.send(Err(io::Error::other(error.message.clone()))).await);
        }
        drop(pieces);
        fed
    };
    match tokio::join!(feed, unpack) {
        (_, Ok(ingest)) => {
            cockpit.report(LayerState::Pulled);
            Ok(ingest)
        }
        (Err(error), Err(_)) | (Ok(()), Err(error)) => Err(error),
    }
}

/// Waits for its turn.
async fn permit(engine: &Engine, cockpit: &Cockpit<Ingest>) -> Result<OwnedSemaphorePermit, Error> {
    let downloads = std::sync::Arc::clone(&lock(&engine.registries.current).downloads);
    if let Ok(permit) = std::sync::Arc::clone(&downloads).try_acquire_owned() {
        return Ok(permit);
    }
    cockpit.report(LayerState::Waiting);
    tokio::select! {
        permit = downloads.acquire_owned() => {
            permit.map_err(|_| Error::system("downloads have ended"))
        }
        () = cockpit.deserted() => Err(deserted()),
    }
}

fn deserted() -> Error {
    Error::system("context canceled")
}

/// Hands the blob over piece by piece, as fast as it is taken.
async fn feed(
    wanted: &Wanted,
    from: u64,
    pieces: &mpsc::Sender<io::Result<Bytes>>,
) -> Result<(), Error> {
    if from >= wanted.blob.size {
        return Ok(());
    }
    let failed = |error: distribution::Error| plainly(error.for_pull(&wanted.reference));
    let mut body = wanted.repository.blob(&wanted.blob, from).await.map_err(failed)?;
    while let Some(piece) = body.chunk().await.map_err(failed)? {
        if pieces.send(Ok(piece)).await.is_err() {
            // The thread has ended and says why.
            break;
        }
    }
    Ok(())
}

/// Reports what the store tells, not too often.
fn teller(cockpit: &Cockpit<Ingest>) -> impl FnMut(LayerStep) + Send {
    let cockpit = cockpit.clone();
    let (mut last, mut size) = (None::<Instant>, 0);
    move |step| match step {
        LayerStep::Read { done, total } => {
            size = total;
            if done == total || last.is_none_or(|last| last.elapsed() >= PACE) {
                last = Some(Instant::now());
                cockpit.report(LayerState::Downloading { done, total });
            }
        }
        LayerStep::Complete => {
            cockpit.report(LayerState::Verifying);
            cockpit.report(LayerState::Downloaded);
            cockpit.report(LayerState::Extracting { done: size, total: size });
        }
        // Told once the layer is published.
        LayerStep::Unpacked | LayerStep::Existed => {}
    }
}

/// Docker's words where a layer is not what it should be.
fn worded(error: image::Error) -> Error {
    let image::Error::WrongDigest { expected, found, .. } = &error else {
        return from_image(error);
    };
    let text = format!("filesystem layer verification failed for digest {expected}: it is {found}");
    Error::system(text)
}

/// The layer's bytes, for the thread.
struct Body {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    rest: Bytes,
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() && !buffer.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.rest = piece?,
                None => return Ok(0),
            }
        }
        let length = self.rest.len().min(buffer.len());
        self.rest.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}
