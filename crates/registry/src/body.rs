//! Bodies of answers.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Frame, SizeHint};
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use tokio::task::JoinHandle;

use crate::follow::Following;

/// What is read of a file at once: it still fits the second-level cache when it is sent.
const PIECE: usize = 256 << 10;

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum Body {
    /// In memory.
    Full(Full<Bytes>),
    /// A part of a file.
    File(FileBody),
    /// A file that grows while it is sent.
    Following(Following),
}

impl Body {
    pub(crate) fn empty() -> Self {
        Self::Full(Full::default())
    }

    /// Sends `count` bytes of a file from `first` on.
    pub(crate) fn file(file: File, first: u64, count: u64) -> Self {
        let file = Arc::new(file);
        Self::File(FileBody {
            file,
            at: first,
            left: count,
            spare: Spare::default(),
            reading: None,
        })
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Full(Full::new(bytes.into()))
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut *self {
            Self::Full(body) => {
                let frame = ready!(Pin::new(body).poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(|never: Infallible| match never {})))
            }
            Self::File(body) => body.poll(cx).map(|piece| piece.map(|r| r.map(Frame::data))),
            Self::Following(body) => body.poll(cx).map(|piece| piece.map(|r| r.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(body) => body.is_end_stream(),
            Self::File(body) => body.left == 0,
            Self::Following(body) => body.left() == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(body) => body.size_hint(),
            Self::File(body) => SizeHint::with_exact(body.left),
            Self::Following(body) => SizeHint::with_exact(body.left()),
        }
    }
}

/// A part of a file on its way out. What the page cache has is read at once; what the disk has
/// is read on a thread that may wait.
#[derive(Debug)]
pub(crate) struct FileBody {
    file: Arc<File>,
    at: u64,
    left: u64,
    spare: Spare,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl FileBody {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let read = match &mut self.reading {
            Some(reading) => {
                let read = ready!(Pin::new(reading).poll(cx)).unwrap_or_else(|_| Err(dropped()));
                self.reading = None;
                read
            }
            None => {
                let want = usize::try_from(self.left).unwrap_or(PIECE).min(PIECE);
                match self.spare.read(&self.file, self.at, want, ReadWriteFlags::NOWAIT) {
                    // EAGAIN: not in the page cache. EOPNOTSUPP: a file system that cannot tell,
                    // such as tmpfs before 5.18 or overlayfs before 5.6.
                    Err(error) if waits(&error) => {
                        let (file, at, spare) = (self.file.clone(), self.at, self.spare.clone());
                        self.reading = Some(tokio::task::spawn_blocking(move || {
                            spare.read(&file, at, want, ReadWriteFlags::empty())
                        }));
                        return self.poll(cx);
                    }
                    read => read,
                }
            }
        };
        match read {
            Ok(bytes) if bytes.is_empty() => Poll::Ready(Some(Err(cut_short()))),
            Ok(bytes) => {
                self.at += bytes.len() as u64;
                self.left -= bytes.len() as u64;
                Poll::Ready(Some(Ok(bytes)))
            }
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }
}

fn waits(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS))
}

fn dropped() -> io::Error {
    io::Error::other("the reading thread ended badly")
}

fn cut_short() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the blob is shorter than it was")
}

/// Buffers that have been sent and can be filled again: fresh memory costs more than the copy.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spare(Arc<Mutex<Vec<Vec<u8>>>>);

impl Spare {
    /// Reads at most `want` bytes into one of the buffers.
    pub(crate) fn read(
        &self,
        file: &File,
        at: u64,
        want: usize,
        flags: ReadWriteFlags,
    ) -> io::Result<Bytes> {
        let spare = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut buffer = spare.unwrap_or_default();
        if buffer.len() < want {
            buffer.resize(want, 0);
        }
        let mut lent = Lent { buffer, filled: 0, home: self.clone() };
        let slice = &mut lent.buffer[..want];
        lent.filled = loop {
            match preadv2(file, &mut [IoSliceMut::new(slice)], at, flags) {
                Err(Errno::INTR) => {}
                read => break read?,
            }
        };
        Ok(Bytes::from_owner(lent))
    }
}

/// A buffer that goes home when nobody needs it any more.
struct Lent {
    buffer: Vec<u8>,
    filled: usize,
    home: Spare,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.filled]
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        let mut home = self.home.0.lock().unwrap_or_else(PoisonError::into_inner);
        if home.len() < 4 {
            home.push(buffer);
        }
    }
}
