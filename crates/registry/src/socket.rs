//! One client's connection, with an end to the server's patience.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;

/// So long a client may take nothing of an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes that have gone through all connections.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) read: AtomicU64,
    pub(crate) written: AtomicU64,
}

#[derive(Debug)]
enum Line {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A client's connection. Writing fails once the client has taken nothing for a minute.
#[derive(Debug)]
pub(crate) struct Socket {
    line: Line,
    traffic: Arc<Traffic>,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Socket {
    pub(crate) fn plain(stream: TcpStream, traffic: Arc<Traffic>) -> Self {
        Self { line: Line::Plain(stream), traffic, stalled: None }
    }

    pub(crate) fn tls(stream: TlsStream<TcpStream>, traffic: Arc<Traffic>) -> Self {
        Self { line: Line::Tls(Box::new(stream)), traffic, stalled: None }
    }

    /// Lets a step that makes no progress wait for so long and no longer.
    fn bounded<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.stalled = None;
            return result;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(PATIENCE)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

macro_rules! each {
    ($self:ident, $io:ident => $call:expr) => {
        match &mut $self.line {
            Line::Plain($io) => $call,
            Line::Tls($io) => $call,
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = each!(self, io => Pin::new(io).poll_read(cx, buf));
        let count = buf.filled().len() - before;
        self.traffic.read.fetch_add(count as u64, Ordering::Relaxed);
        result
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = each!(self, io => Pin::new(io).poll_write(cx, bytes));
        if let Poll::Ready(Ok(count)) = &result {
            self.traffic.written.fetch_add(*count as u64, Ordering::Relaxed);
        }
        self.bounded(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = each!(self, io => Pin::new(io).poll_write_vectored(cx, slices));
        if let Poll::Ready(Ok(count)) = &result {
            self.traffic.written.fetch_add(*count as u64, Ordering::Relaxed);
        }
        self.bounded(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        matches!(self.line, Line::Plain(_))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = each!(self, io => Pin::new(io).poll_flush(cx));
        self.bounded(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = each!(self, io => Pin::new(io).poll_shutdown(cx));
        self.bounded(cx, result)
    }
}
