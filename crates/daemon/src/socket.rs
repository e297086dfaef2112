//! One client's connection, of whatever kind, and the door through which HTTP sees it.

use std::io;
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Notify;
use tokio_rustls::server::TlsStream;

use crate::access::Identity;

/// A client's connection.
#[derive(Debug)]
pub(crate) enum Socket {
    /// Over a unix socket.
    Unix(UnixStream),
    /// Over TCP.
    Tcp(TcpStream),
    /// Over TCP with TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Socket {
    /// Who the client is, if it has shown a certificate.
    pub(crate) fn identity(&self) -> Option<Identity> {
        let Self::Tls(stream) = self else { return None };
        stream.get_ref().1.peer_certificates()?.first().map(Identity::read)
    }
}

/// So long a client may take to read the head of an answer before what follows is sent.
const PATIENCE: Duration = Duration::from_millis(100);

impl Socket {
    /// Waits until a client on this host has read what was written, within reason: Python's HTTP
    /// library loses what it reads together with the head of an answer that becomes a stream.
    pub(crate) async fn heard(&self) {
        let Socket::Unix(stream) = self else { return };
        if !matches!(sys::stream::all_read(stream), Ok(false)) {
            return;
        }
        let waiting = async {
            // Of its own, for the stream must go on thinking that it can be written to: no edge
            // would tell it.
            let own = std::os::unix::net::UnixStream::from(stream.as_fd().try_clone_to_owned()?);
            let own = UnixStream::from_std(own)?;
            let look = || match sys::stream::all_read(stream) {
                Ok(false) => Err(io::ErrorKind::WouldBlock.into()),
                read => read,
            };
            while !own.ready(Interest::WRITABLE).await?.is_write_closed() {
                // An edge that comes after the look is not lost.
                match own.try_io(Interest::WRITABLE, look) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    other => return other.map(drop),
                }
            }
            Ok(())
        };
        // A client that does not read, or has gone, is served all the same.
        drop(tokio::time::timeout(PATIENCE, waiting).await);
    }
}

macro_rules! each {
    ($self:ident, $io:ident => $call:expr) => {
        match $self.get_mut() {
            Socket::Unix($io) => $call,
            Socket::Tcp($io) => $call,
            Socket::Tls($io) => $call,
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self, io => Pin::new(io).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, io => Pin::new(io).poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        !matches!(self, Self::Tls(_))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_shutdown(cx))
    }
}

/// Where a connection stands between two requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Nothing has come since the last answer.
    Idle = 0,
    /// The first bytes of a request's head have come.
    Head = 1,
    /// A request is being answered.
    Busy = 2,
}

/// What the door, the requests and the connection's task know in common.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    phase: AtomicU8,
    /// Rings when a request's head begins.
    pub(crate) head_begins: Notify,
    /// The client's end of input is not an end of the request: it may be half-closed early by a
    /// client that only wants output.
    pub(crate) holds_eof: AtomicBool,
    /// The answer under way has no end of its own (events, followed logs): it is cut off when
    /// the daemon ends.
    pub(crate) endless: AtomicBool,
}

impl Traffic {
    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Idle,
            1 => Phase::Head,
            _ => Phase::Busy,
        }
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
        if phase == Phase::Idle {
            self.endless.store(false, Ordering::Relaxed);
        }
    }
}

/// A socket that tells its task about the traffic through it.
#[derive(Debug)]
pub(crate) struct Door {
    socket: Socket,
    traffic: Arc<Traffic>,
}

impl Door {
    pub(crate) fn new(socket: Socket, traffic: Arc<Traffic>) -> Self {
        Self { socket, traffic }
    }

    pub(crate) fn into_socket(self) -> Socket {
        self.socket
    }
}

impl AsyncRead for Door {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.socket).poll_read(cx, buf);
        if !matches!(result, Poll::Ready(Ok(()))) {
            return result;
        }
        if buf.filled().len() == before && buf.remaining() > 0 {
            if self.traffic.holds_eof.load(Ordering::Relaxed) {
                // Nobody is woken: whoever asked for this takes the socket, or answers, and
                // either makes the connection look again.
                return Poll::Pending;
            }
        } else if self.traffic.phase() == Phase::Idle {
            self.traffic.enter(Phase::Head);
            self.traffic.head_begins.notify_one();
        }
        result
    }
}

impl AsyncWrite for Door {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
