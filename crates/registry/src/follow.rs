//! A file that is sent while it still grows: what a cache fetches goes to everybody who asked
//! for it at the same time.

use std::fs::File;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use rustix::io::ReadWriteFlags;
use tokio::sync::watch;

use crate::body::Spare;

/// What is read at once.
const PIECE: u64 = 256 << 10;

/// How far a file has grown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Growth {
    /// Bytes that can be read.
    pub(crate) there: u64,
    /// No more will come, whether all have or not.
    pub(crate) ended: bool,
}

/// A body that follows a growing file.
pub(crate) struct Following {
    left: u64,
    pieces: Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>,
}

impl std::fmt::Debug for Following {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Following").field("left", &self.left).finish_non_exhaustive()
    }
}

impl Following {
    /// Sends `count` bytes of the file from `first` on, waiting for those that are not there yet.
    pub(crate) fn new(
        file: Arc<File>,
        first: u64,
        count: u64,
        growth: watch::Receiver<Growth>,
    ) -> Self {
        let end = first + count;
        let spare = Spare::default();
        let pieces = stream::unfold((first, growth), move |(at, mut growth)| {
            let (file, spare) = (file.clone(), spare.clone());
            async move {
                if at >= end {
                    return None;
                }
                let piece = piece(file, spare, at, end, &mut growth).await;
                let next = piece.as_ref().map_or(end, |piece| at + piece.len() as u64);
                Some((piece, (next, growth)))
            }
        });
        Self { left: count, pieces: Box::pin(pieces) }
    }

    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let piece = self.pieces.poll_next_unpin(cx);
        if let Poll::Ready(Some(Ok(piece))) = &piece {
            self.left -= piece.len() as u64;
        }
        piece
    }
}

async fn piece(
    file: Arc<File>,
    spare: Spare,
    at: u64,
    end: u64,
    growth: &mut watch::Receiver<Growth>,
) -> io::Result<Bytes> {
    let short = || io::Error::new(io::ErrorKind::UnexpectedEof, "the download broke off");
    let there = match growth.wait_for(|growth| growth.there > at || growth.ended).await {
        Ok(growth) => growth.there,
        // Whoever fetched it is gone.
        Err(_) => return Err(short()),
    };
    if there <= at {
        return Err(short());
    }
    let want = (there.min(end) - at).min(PIECE) as usize;
    let read =
        tokio::task::spawn_blocking(move || spare.read(&file, at, want, ReadWriteFlags::empty()));
    let piece = read.await.map_err(io::Error::other)??;
    if piece.is_empty() { Err(short()) } else { Ok(piece) }
}
