//! Layers on their way out: the bytes of a kept blob, or bytes that are compressed as they go.
//!
//! Both come from a thread through a bounded channel, and from the beginning again for every
//! attempt.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use distribution::{Chunks, Source};
use futures_util::stream;
use image::{Compression, Form, Pushable};
use tokio::sync::{mpsc, watch};
use types::digest::Digest;

use crate::lock;

/// Pieces that wait for the registry.
const WAITING: usize = 8;
/// Bytes of a piece.
const PIECE: usize = 256 << 10;
/// Between two signs of progress.
const PACE: Duration = Duration::from_millis(100);

/// How far an upload is: bytes done and bytes in all.
pub(super) type Progress = watch::Sender<(u64, u64)>;
/// Where that is seen.
pub(super) type Seen = watch::Receiver<(u64, u64)>;

/// Tells how far something is, not too often.
struct Pace {
    progress: Progress,
    total: u64,
    last: Option<Instant>,
}

impl Pace {
    fn new(progress: &Progress, total: u64) -> Self {
        Self { progress: progress.clone(), total, last: None }
    }

    fn tell(&mut self, done: u64) {
        if done >= self.total || self.last.is_none_or(|last| last.elapsed() >= PACE) {
            self.last = Some(Instant::now());
            self.progress.send_replace((done, self.total));
        }
    }
}

/// A blob that is in the store.
pub(super) struct Kept {
    pub(super) image: Arc<Pushable>,
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) progress: Progress,
}

impl Source for Kept {
    fn size(&self) -> Option<u64> {
        Some(self.size)
    }

    fn open(&mut self, from: u64) -> io::Result<Chunks> {
        let mut file = self.image.open_blob(&self.digest).map_err(io::Error::other)?;
        file.seek(SeekFrom::Start(from))?;
        let mut pace = Pace::new(&self.progress, self.size);
        on_a_thread(move |pieces| {
            let mut done = from;
            loop {
                let mut piece = Vec::with_capacity(PIECE);
                let n = Read::by_ref(&mut file).take(PIECE as u64).read_to_end(&mut piece)?;
                if n == 0 {
                    return Ok(());
                }
                done += n as u64;
                if pieces.blocking_send(Ok(piece.into())).is_err() {
                    return Ok(());
                }
                pace.tell(done);
            }
        })
    }

    fn digest(&mut self) -> io::Result<Digest> {
        Ok(self.digest.clone())
    }

    fn known_digest(&self) -> Option<Digest> {
        Some(self.digest.clone())
    }
}

/// A layer that is compressed on its way.
pub(super) struct Compressed {
    pub(super) image: Arc<Pushable>,
    pub(super) diff_id: Digest,
    /// Bytes of its tar, for the progress.
    pub(super) size: u64,
    pub(super) progress: Progress,
    /// What it turned out to be.
    pub(super) form: Arc<Mutex<Option<Form>>>,
}

impl Source for Compressed {
    fn size(&self) -> Option<u64> {
        None
    }

    fn open(&mut self, from: u64) -> io::Result<Chunks> {
        let (image, diff_id) = (Arc::clone(&self.image), self.diff_id.clone());
        let found = Arc::clone(&self.form);
        let mut pace = Pace::new(&self.progress, self.size);
        on_a_thread(move |pieces| {
            // The same layer gives the same bytes every time: what the registry has is skipped.
            let pipe = Pipe { pieces: pieces.clone(), skip: from };
            let mut output = io::BufWriter::with_capacity(PIECE, pipe);
            let mut tell = |done| pace.tell(done);
            let form = image
                .write_layer(&diff_id, Compression::Gzip, &mut output, &mut tell)
                .map_err(io::Error::other)?;
            output.flush()?;
            // Known before the stream ends.
            *lock(&found) = Some(form);
            Ok(())
        })
    }

    fn digest(&mut self) -> io::Result<Digest> {
        let form = lock(&self.form);
        let form = form.as_ref().ok_or_else(|| io::Error::other("the layer is not compressed"))?;
        Ok(form.digest.clone())
    }
}

/// A few bytes.
pub(super) struct Few {
    pub(super) bytes: Bytes,
    pub(super) digest: Digest,
}

impl Source for Few {
    fn size(&self) -> Option<u64> {
        Some(self.bytes.len() as u64)
    }

    fn open(&mut self, from: u64) -> io::Result<Chunks> {
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(self.bytes.len());
        Ok(Box::pin(stream::iter([Ok(self.bytes.slice(from..))])))
    }

    fn digest(&mut self) -> io::Result<Digest> {
        Ok(self.digest.clone())
    }
}

/// Runs what makes the bytes on a thread of its own, for it waits for the registry.
fn on_a_thread(
    work: impl FnOnce(&mpsc::Sender<io::Result<Bytes>>) -> io::Result<()> + Send + 'static,
) -> io::Result<Chunks> {
    let (pieces, mut receiver) = mpsc::channel(WAITING);
    std::thread::Builder::new().name("upload".to_owned()).spawn(move || {
        if let Err(error) = work(&pieces) {
            // Nobody takes it any more: then nobody wants to know.
            drop(pieces.blocking_send(Err(error)));
        }
    })?;
    Ok(Box::pin(stream::poll_fn(move |cx| receiver.poll_recv(cx))))
}

/// A writer into the channel that leaves out the first bytes.
struct Pipe {
    pieces: mpsc::Sender<io::Result<Bytes>>,
    skip: u64,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
        self.skip -= skipped as u64;
        let rest = &bytes[skipped..];
        if !rest.is_empty() {
            let sent = self.pieces.blocking_send(Ok(Bytes::copy_from_slice(rest)));
            sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_leaves_out_what_is_there() {
        let (pieces, mut receiver) = mpsc::channel(8);
        let mut pipe = Pipe { pieces, skip: 5 };
        for bytes in [&b"abc"[..], b"defg", b"h"] {
            assert_eq!(pipe.write(bytes).expect("taken"), bytes.len());
        }
        drop(pipe);
        let mut all = Vec::new();
        while let Some(piece) = receiver.blocking_recv() {
            all.extend_from_slice(&piece.expect("bytes"));
        }
        assert_eq!(all, b"fgh");
    }
}
