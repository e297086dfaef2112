//! Accepting connections and serving each to its end.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;

use crate::answer::Answer;
use crate::app::{self, App};
use crate::body::Body;
use crate::error::Error;
use crate::socket::Socket;
use crate::tls::Tls;

/// The most that a request's head may take, and the most that is read of a body at once.
const MAX_HEAD: usize = 256 << 10;
/// The most headers a request may have.
const MAX_HEADERS: usize = 100;
/// How long a request's head may take, and how long a connection may be idle.
const HEAD_TIME: Duration = Duration::from_secs(60);
/// How long a client may take over the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The most connections at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 4096;
/// Descriptors that a connection may need: its socket, a blob, an upload, a directory.
const DESCRIPTORS: u64 = 4;
/// The most connections that read counters.
const READERS: usize = 16;
/// How long to wait when the process has no descriptors left.
const BREATH: Duration = Duration::from_millis(100);

/// What a listener answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Serves {
    /// The registry.
    Registry,
    /// Its counters, and nothing else.
    Metrics,
}

/// What all connections of the server know.
#[derive(Clone, Debug)]
pub(crate) struct Connections {
    app: Arc<App>,
    ending: watch::Receiver<bool>,
    open: mpsc::Sender<()>,
    room: Arc<Semaphore>,
}

/// Ends a server.
#[derive(Debug)]
pub(crate) struct Ender {
    ending: watch::Sender<bool>,
    open: mpsc::Receiver<()>,
}

/// The two ends of a server's life.
pub(crate) fn connections(app: Arc<App>) -> (Connections, Ender) {
    let (ending, receiver) = watch::channel(false);
    let (open, closed) = mpsc::channel(1);
    let room = Arc::new(Semaphore::new(room()));
    (Connections { app, ending: receiver, open, room }, Ender { ending, open: closed })
}

/// Raises the soft limit of open files to the hard one; gives how many connections that allows.
fn room() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // Raising up to the hard limit is always allowed; if it were not, there would be less room.
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let files = if raised.is_ok() { maximum } else { current };
    match files {
        None => CONNECTIONS,
        Some(files) => CONNECTIONS.min(usize::try_from(files / DESCRIPTORS).unwrap_or(1)).max(1),
    }
}

impl Ender {
    /// Accepts nothing any more and lets requests in flight finish for a while.
    pub(crate) async fn end(mut self, patience: Duration) {
        self.ending.send_replace(true);
        if tokio::time::timeout(patience, self.open.recv()).await.is_err() {
            tracing::warn!("requests were still in flight after {patience:?}");
        }
    }
}

/// Accepts connections until the server ends.
pub(crate) async fn accept_all(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    serves: Serves,
    mut connections: Connections,
) {
    if serves == Serves::Metrics {
        // They are wanted most when the registry is full.
        connections.room = Arc::new(Semaphore::new(READERS));
    }
    loop {
        let Ok(room) = connections.room.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = connections.ending.wait_for(|ending| *ending) => return,
        };
        match accepted {
            Ok((stream, _)) => {
                // Small answers must not wait for more of them.
                drop(stream.set_nodelay(true));
                let (tls, connections) = (tls.clone(), connections.clone());
                tokio::spawn(async move {
                    one(stream, tls, serves, connections).await;
                    drop(room);
                });
            }
            Err(error) => {
                // EMFILE and ENFILE pass when other connections end; ECONNABORTED at once.
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}

async fn one(stream: TcpStream, tls: Option<Arc<Tls>>, serves: Serves, connections: Connections) {
    // Lives as long as the connection does.
    let _open = connections.open;
    let app = connections.app;
    let traffic = app.metrics.traffic.clone();
    let socket = match tls {
        None => Socket::plain(stream, traffic),
        Some(tls) => {
            let acceptor = TlsAcceptor::from(tls.current());
            match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => Socket::tls(stream, traffic),
                Ok(Err(error)) => return tracing::debug!("a TLS handshake failed: {error}"),
                Err(_) => return tracing::debug!("a client took too long over the TLS handshake"),
            }
        }
    };
    app.opened();
    let answering = app.clone();
    let service = service_fn(move |request| answer(answering.clone(), serves, request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(socket), service);
    let mut connection = pin!(connection);
    let mut ending = connections.ending;
    let ended = tokio::select! {
        result = connection.as_mut() => Some(result),
        // An error means that the sender is gone: that is an end as well.
        _ = ending.wait_for(|ending| *ending) => None,
    };
    let result = match ended {
        Some(result) => result,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!("a connection ended early: {error}");
    }
    app.closed();
}

async fn answer(
    app: Arc<App>,
    serves: Serves,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    Ok(match serves {
        Serves::Registry => app::answer(app, request).await,
        Serves::Metrics if request.uri().path() == "/metrics" => app::metrics(&app).done(),
        Serves::Metrics => Answer::refusal(&Error::NoRoute).done(),
    })
}

/// Binds an address, such as `127.0.0.1:5000`, `:5000` for every interface, or `localhost:0`.
///
/// # Errors
/// It does not resolve, or is taken.
pub(crate) fn bind(address: &str) -> io::Result<std::net::TcpListener> {
    let listener = match address.strip_prefix(':') {
        // Takes IPv4 as well, where the host has both.
        Some(port) => std::net::TcpListener::bind(format!("[::]:{port}"))
            .or_else(|_| std::net::TcpListener::bind(format!("0.0.0.0:{port}")))?,
        None => std::net::TcpListener::bind(address)?,
    };
    listener.set_nonblocking(true)?;
    Ok(listener)
}
