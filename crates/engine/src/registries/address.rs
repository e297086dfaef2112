//! Root file systems that are imported from an address.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;
use types::Error;

use super::pull::heard;
use super::{TransferStep, of_the_other_side};
use crate::Engine;

/// Pieces that wait for the thread that unpacks.
const WAITING: usize = 16;
/// Between two signs of progress.
const PACE: Duration = Duration::from_millis(100);

/// What is to be made of a root file system.
#[derive(Clone, Debug, Default)]
pub struct ImportRequest {
    /// Where it is: an `http` or `https` address; `http` if it does not say.
    pub address: String,
    /// The image's name, without a tag; it may have none.
    pub repository: String,
    /// Its tag.
    pub tag: String,
    /// Dockerfile instructions.
    pub changes: Vec<String>,
    /// A remark.
    pub message: String,
    /// `os/arch[/variant]`; the host's if `None`.
    pub platform: Option<String>,
}

impl Engine {
    /// Fetches a root file system and makes an image of it; the image's id is the last line that
    /// comes from the channel.
    pub fn import_from(
        &self,
        request: ImportRequest,
    ) -> mpsc::Receiver<Result<TransferStep, Error>> {
        let engine = self.clone();
        heard(move |listener| async move {
            let ImportRequest { address, repository, tag, changes, message, platform } = request;
            let address = with_scheme(&address);
            let client = engine.registries.client()?;
            let page = client.fetch(&address).await;
            let mut page = page.map_err(|error| match error.refusal() {
                // What a page says of itself is for people with a browser.
                Some(refusal) => {
                    let status = refusal.status;
                    let message = format!("failed to GET {address} with status {status}");
                    of_the_other_side(Error { kind: refusal.kind(), message })
                }
                None => of_the_other_side(error.plain()),
            })?;
            listener.line(format!("Downloading from {address}")).await;
            let (sender, receiver) = mpsc::channel(WAITING);
            let (total, steps) = (page.length(), listener.0.clone());
            let body = Body {
                receiver,
                rest: Bytes::new(),
                left: total,
                done: 0,
                total,
                steps,
                last: None,
            };
            let feed = async move {
                loop {
                    let piece = match page.chunk().await {
                        Ok(Some(piece)) => Ok(piece),
                        Ok(None) => return,
                        Err(error) => Err(io::Error::other(error.to_string())),
                    };
                    let last = piece.is_err();
                    // The thread has ended and says why.
                    if sender.send(piece).await.is_err() || last {
                        return;
                    }
                }
            };
            let feed = async move {
                feed.await;
                std::future::pending().await
            };
            let body = Box::new(body);
            let import = engine.import(body, &repository, &tag, changes, message, platform);
            let id = tokio::select! {
                id = import => id?,
                () = feed => return Ok(()),
            };
            listener.line(id).await;
            Ok(())
        })
    }
}

/// dockerd takes a bare host as `http`.
fn with_scheme(address: &str) -> String {
    if address.contains("://") { address.to_owned() } else { format!("http://{address}") }
}

/// What comes, for the thread that unpacks.
struct Body {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    rest: Bytes,
    /// Bytes that must still come, if that is known.
    left: Option<u64>,
    done: u64,
    total: Option<u64>,
    steps: mpsc::Sender<Result<TransferStep, Error>>,
    last: Option<Instant>,
}

impl Body {
    fn tell(&mut self) {
        if self.last.is_none_or(|last| last.elapsed() >= PACE) {
            self.last = Some(Instant::now());
            let step =
                TransferStep::Importing { done: self.done, total: self.total.unwrap_or_default() };
            // Progress is for those who look.
            drop(self.steps.try_send(Ok(step)));
        }
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() && !buffer.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.rest = piece?,
                None if self.left.unwrap_or(0) > 0 => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                None => return Ok(0),
            }
        }
        let length = self.rest.len().min(buffer.len());
        self.rest.copy_to_slice(&mut buffer[..length]);
        self.done += length as u64;
        self.left = self.left.map(|left| left.saturating_sub(length as u64));
        self.tell();
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_host_is_spoken_to_plainly() {
        assert_eq!(with_scheme("host/root.tar"), "http://host/root.tar");
        assert_eq!(with_scheme("https://host/root.tar"), "https://host/root.tar");
    }

    #[test]
    fn what_ends_too_early_is_an_error() {
        let (sender, receiver) = mpsc::channel(2);
        let (steps, _listener) = mpsc::channel(8);
        let (total, rest) = (Some(5), Bytes::new());
        let mut body = Body { receiver, rest, left: total, done: 0, total, steps, last: None };
        sender.blocking_send(Ok(Bytes::from_static(b"abc"))).expect("taken");
        drop(sender);
        let mut all = Vec::new();
        let error = body.read_to_end(&mut all).expect_err("two are missing");
        assert_eq!((error.kind(), &all[..]), (io::ErrorKind::UnexpectedEof, &b"abc"[..]));
    }
}
