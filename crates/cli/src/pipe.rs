//! Between threads that read and write files and the connection that carries the bytes.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use docker_api::client::Body;
use tokio::sync::mpsc;

const PIECE: usize = 128 << 10;

/// The body of a request that a thread writes while it is sent. What the thread fails with breaks
/// the request off. `sent` counts the bytes that the connection has taken.
pub(crate) fn written_by(
    sent: Arc<AtomicU64>,
    work: impl FnOnce(&mut Outlet) -> io::Result<()> + Send + 'static,
) -> Body {
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(8);
    let thread = move || {
        let mut out = Outlet { sender, buffer: Vec::with_capacity(PIECE) };
        if let Err(error) = work(&mut out).and_then(|()| out.flush()) {
            let _ = out.sender.blocking_send(Err(error));
        }
    };
    if let Err(error) = std::thread::Builder::new().name("pack".into()).spawn(thread) {
        return docker_api::client::streamed(futures_util::stream::iter([Err(error)]));
    }
    let pieces = futures_util::stream::unfold((receiver, sent), async |(mut receiver, sent)| {
        let piece = receiver.recv().await?;
        if let Ok(bytes) = &piece {
            sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        Some((piece, (receiver, sent)))
    });
    docker_api::client::streamed(pieces)
}

/// Hands what is written to the request's body.
pub(crate) struct Outlet {
    sender: mpsc::Sender<io::Result<Bytes>>,
    buffer: Vec<u8>,
}

impl Write for Outlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE));
        self.sender
            .blocking_send(Ok(piece.into()))
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

/// Reads what comes over a channel, on a thread.
pub(crate) struct Inlet {
    receiver: mpsc::Receiver<Bytes>,
    rest: Bytes,
}

impl Inlet {
    pub(crate) fn new(receiver: mpsc::Receiver<Bytes>) -> Self {
        Self { receiver, rest: Bytes::new() }
    }
}

impl Read for Inlet {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.receiver.blocking_recv() {
                Some(bytes) => self.rest = bytes,
                None => return Ok(0),
            }
        }
        let count = self.rest.len().min(out.len());
        out[..count].copy_from_slice(&self.rest.split_to(count));
        Ok(count)
    }
}
