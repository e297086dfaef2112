use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::upload::Chunks;

/// The body of a request.
pub(crate) enum Outgoing {
    /// All there is.
    Whole(Option<Bytes>),
    /// What is being made while it is sent.
    Stream {
        /// The bytes.
        chunks: Chunks,
        /// How many are still to come, if that is known.
        left: Option<u64>,
        /// Who watches it go.
        meter: Arc<Meter>,
    },
}

/// How far the sending of a streamed body has come.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    sent: AtomicU64,
    waiting: AtomicBool,
    done: AtomicBool,
    failure: Mutex<Option<io::Error>>,
}

impl Meter {
    /// Bytes that the connection has taken.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Whether the next bytes are still being made; then the other side is not to blame.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether all bytes have been taken.
    pub(crate) fn is_done(&self) -> bool {
        self.done.load(Ordering::Relaxed)
    }

    /// Why the bytes could not be made.
    pub(crate) fn failure(&self) -> Option<io::Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn fail(&self, error: io::Error) -> io::Error {
        let copy = io::Error::new(error.kind(), error.to_string());
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        copy
    }
}

impl Outgoing {
    /// No body.
    pub(crate) fn empty() -> Self {
        Self::Whole(None)
    }

    /// These bytes.
    pub(crate) fn bytes(bytes: Bytes) -> Self {
        Self::Whole(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }

    /// What watches a streamed body.
    pub(crate) fn meter(&self) -> Option<Arc<Meter>> {
        match self {
            Self::Whole(_) => None,
            Self::Stream { meter, .. } => Some(Arc::clone(meter)),
        }
    }

    /// The same body once more, if that is possible.
    pub(crate) fn again(&self) -> Option<Self> {
        match self {
            Self::Whole(bytes) => Some(Self::Whole(bytes.clone())),
            Self::Stream { .. } => None,
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let (chunks, left, meter) = match &mut *self {
            Self::Whole(bytes) => return Poll::Ready(bytes.take().map(|all| Ok(Frame::data(all)))),
            Self::Stream { chunks, left, meter } => (chunks, left, meter),
        };
        let next = chunks.as_mut().poll_next(context);
        meter.waiting.store(next.is_pending(), Ordering::Relaxed);
        let chunk = match ready!(next) {
            Some(Ok(chunk)) => chunk,
            Some(Err(error)) => return Poll::Ready(Some(Err(meter.fail(error)))),
            None if left.is_none_or(|left| left == 0) => {
                meter.done.store(true, Ordering::Relaxed);
                return Poll::Ready(None);
            }
            None => {
                let error =
                    io::Error::new(io::ErrorKind::UnexpectedEof, "it is shorter than it said");
                return Poll::Ready(Some(Err(meter.fail(error))));
            }
        };
        let length = chunk.len() as u64;
        if let Some(rest) = left {
            match rest.checked_sub(length) {
                Some(less) => *rest = less,
                None => {
                    let error = io::Error::other("it is longer than it said");
                    return Poll::Ready(Some(Err(meter.fail(error))));
                }
            }
        }
        meter.sent.fetch_add(length, Ordering::Relaxed);
        // Of a body of known length the end is not asked for.
        meter.done.store(*left == Some(0), Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64))
            }
            Self::Stream { left: Some(left), .. } => SizeHint::with_exact(*left),
            Self::Stream { left: None, .. } => SizeHint::default(),
        }
    }
}
