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
    patience: Patience,
}

/// Runs out when nothing goes forward.
#[derive(Debug, Default)]
struct Patience(Option<Pin<Box<Sleep>>>);

impl Patience {
    /// Lets a step that makes no progress wait for so long and no longer.
    fn bound<T>(&mut self, cx: &mut Context<'_>, step: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if step.is_ready() {
            self.0 = None;
            return step;
        }
        let stalled = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep(PATIENCE)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Socket {
    pub(crate) fn plain(stream: TcpStream, traffic: Arc<Traffic>) -> Self {
        Self { line: Line::Plain(stream), traffic, patience: Patience::default() }
    }

    pub(crate) fn tls(stream: TlsStream<TcpStream>, traffic: Arc<Traffic>) -> Self {
        Self { line: Line::Tls(Box::new(stream)), traffic, patience: Patience::default() }
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
        self.patience.bound(cx, result)
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
        self.patience.bound(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        matches!(self.line, Line::Plain(_))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = each!(self, io => Pin::new(io).poll_flush(cx));
        self.patience.bound(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = each!(self, io => Pin::new(io).poll_shutdown(cx));
        self.patience.bound(cx, result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn patience_runs_out_when_nothing_goes_forward() {
        let mut patience = Patience::default();
        let began = Instant::now();
        let ended = poll_fn(|cx| patience.bound(cx, Poll::<io::Result<()>>::Pending)).await;
        assert_eq!(ended.expect_err("an end").kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), PATIENCE.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn every_step_forward_renews_patience() {
        let mut patience = Patience::default();
        let began = Instant::now();
        for _ in 0..3 {
            let waits = poll_fn(|cx| patience.bound(cx, Poll::<io::Result<()>>::Pending));
            assert!(tokio::time::timeout(PATIENCE / 2, waits).await.is_err(), "it waits");
            let step = poll_fn(|cx| patience.bound(cx, Poll::Ready(Ok(1)))).await;
            assert_eq!(step.expect("a step"), 1);
        }
        assert!(began.elapsed() > PATIENCE);
    }
}
