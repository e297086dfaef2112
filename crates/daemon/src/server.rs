//! Accepting connections until the daemon ends.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use axum::response::IntoResponse;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;

use crate::connection::{self, Answer, HEAD_TIME};
use crate::listen::Listener;
use crate::socket::Socket;

/// How long a client may take over the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long to wait when the process has no descriptors left.
const BREATH: Duration = Duration::from_millis(100);

/// Keeps the connections of a server together.
#[derive(Clone, Debug)]
pub(crate) struct Connections {
    ending: watch::Receiver<bool>,
    open: mpsc::Sender<()>,
}

/// Ends a server.
#[derive(Debug)]
pub(crate) struct Ender {
    ending: watch::Sender<bool>,
    open: mpsc::Receiver<()>,
}

/// The two ends of a server's life.
pub(crate) fn connections() -> (Connections, Ender) {
    let (ending, receiver) = watch::channel(false);
    let (open, closed) = mpsc::channel(1);
    (Connections { ending: receiver, open }, Ender { ending, open: closed })
}

impl Ender {
    /// Accepts nothing any more, lets requests in flight finish for at most `patience`, cuts off
    /// what has no end.
    pub(crate) async fn end(mut self, patience: Option<Duration>) {
        self.ending.send_replace(true);
        let closed = self.open.recv();
        match patience {
            None => drop(closed.await),
            Some(patience) => {
                if tokio::time::timeout(patience, closed).await.is_err() {
                    tracing::warn!("requests were still in flight after {patience:?}");
                }
            }
        }
    }
}

/// Serves a listener on a task of its own.
///
/// # Errors
/// When the runtime cannot watch the socket.
pub(crate) fn serve<A: Answer + Sync>(
    listener: Listener,
    answer: A,
    connections: Connections,
) -> io::Result<()> {
    let (ears, tls) = match listener {
        Listener::Unix(listener, _) => (Ears::Unix(UnixListener::from_std(listener)?), None),
        Listener::Tcp(listener) => (Ears::Tcp(TcpListener::from_std(listener)?), None),
        Listener::Tls(listener, config) => {
            (Ears::Tcp(TcpListener::from_std(listener)?), Some(TlsAcceptor::from(config)))
        }
    };
    tokio::spawn(accept_all(ears, tls, answer, connections));
    Ok(())
}

/// A listener in the runtime.
enum Ears {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Ears {
    async fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Unix(listener) => Ok(Socket::Unix(listener.accept().await?.0)),
            Self::Tcp(listener) => {
                let stream = listener.accept().await?.0;
                // Typed characters must not wait for more of them.
                drop(stream.set_nodelay(true));
                Ok(Socket::Tcp(stream))
            }
        }
    }
}

async fn accept_all<A: Answer + Sync>(
    ears: Ears,
    tls: Option<TlsAcceptor>,
    answer: A,
    mut connections: Connections,
) {
    loop {
        let accepted = tokio::select! {
            accepted = ears.accept() => accepted,
            _ = connections.ending.wait_for(|ending| *ending) => return,
        };
        match accepted {
            Ok(socket) => {
                tokio::spawn(one(socket, tls.clone(), answer.clone(), connections.clone()));
            }
            Err(error) => {
                // EMFILE and ENFILE pass when other connections end; ECONNABORTED at once.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}

async fn one<A: Answer>(
    socket: Socket,
    tls: Option<TlsAcceptor>,
    answer: A,
    connections: Connections,
) {
    // Lives as long as the connection does.
    let _open = connections.open;
    let socket = match (socket, tls) {
        (Socket::Tcp(stream), Some(acceptor)) => {
            match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => Socket::Tls(Box::new(stream)),
                Ok(Err(error)) => return tracing::debug!(%error, "a TLS handshake failed"),
                Err(_) => return tracing::debug!("a client took too long over the TLS handshake"),
            }
        }
        (socket, _) => socket,
    };
    connection::serve(socket, answer, HEAD_TIME, connections.ending).await;
}

/// Answers `GET /metrics` and nothing else.
pub(crate) struct MetricsPage<F>(pub(crate) Arc<F>);

impl<F> Clone for MetricsPage<F> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<F, R> Answer for MetricsPage<F>
where
    F: Fn() -> R + Send + Sync + 'static,
    R: Future<Output = String> + Send,
{
    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        if request.uri().path() != "/metrics" {
            return StatusCode::NOT_FOUND.into_response();
        }
        let kind = (header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
        ([kind], (self.0)().await).into_response()
    }
}
