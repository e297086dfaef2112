//! One connection: HTTP/1.1 requests one after the other, until it ends, is taken over, dawdles
//! over a head, or the daemon ends.

mod converse;

pub use converse::converse;

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response};
use bytes::Bytes;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::socket::{Door, Phase, Socket, Traffic};
use crate::takeover::{Client, Doorway, Takeover};

/// The most that a request's head may take, in bytes. Builds put their arguments there.
const MAX_HEAD: usize = 256 << 10;
/// The most headers a request may have.
const MAX_HEADERS: usize = 200;
/// How long a request's head may take from its first byte on.
pub(crate) const HEAD_TIME: Duration = Duration::from_secs(15);

/// What answers requests.
pub(crate) trait Answer: Clone + Send + 'static {
    /// Answers one request. Its extensions hold the [`Doorway`], the [`Traffic`] and, of a client
    /// that has shown a certificate, its [`crate::access::Identity`].
    fn answer(&self, request: Request<Body>) -> impl Future<Output = Response<Body>> + Send;
}

/// Serves one connection to its end.
pub(crate) async fn serve<A: Answer>(
    socket: Socket,
    answer: A,
    head_time: Duration,
    mut ending: watch::Receiver<bool>,
) {
    let traffic = Arc::new(Traffic::default());
    let identity = socket.identity().map(Arc::new);
    let (doorway, mut takeovers) = Doorway::new();
    let service = {
        let traffic = traffic.clone();
        service_fn(move |request: Request<Incoming>| {
            traffic.enter(Phase::Busy);
            // Here and not in the handler: hyper looks for the end of input before it lets the
            // handler run for the first time.
            traffic.holds_eof.store(becomes_stream(request.uri().path()), Ordering::Relaxed);
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(doorway.clone());
            request.extensions_mut().insert(traffic.clone());
            if let Some(identity) = &identity {
                request.extensions_mut().insert(identity.clone());
            }
            let (answer, traffic) = (answer.clone(), traffic.clone());
            async move {
                let response = answer.answer(request).await;
                traffic.holds_eof.store(false, Ordering::Relaxed);
                Ok::<_, Infallible>(response.map(|body| Watched { body, traffic }))
            }
        })
    };
    let door = TokioIo::new(Door::new(socket, traffic.clone()));
    let mut connection = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        // Go's spelling, which hand-written clients may look for.
        .title_case_headers(true)
        .serve_connection(door, service);

    let deadline = tokio::time::sleep(head_time);
    tokio::pin!(deadline);
    let mut hurried = false;
    let mut told = false;
    let takeover: Takeover = loop {
        tokio::select! {
            result = poll_fn(|cx| Pin::new(&mut connection).poll(cx)) => {
                if let Err(error) = result {
                    tracing::debug!(%error, "a connection ended early");
                }
                return;
            }
            Some(takeover) = takeovers.recv() => break takeover,
            () = traffic.head_begins.notified() => {
                deadline.as_mut().reset(Instant::now() + head_time);
                hurried = true;
            }
            () = &mut deadline, if hurried => {
                hurried = false;
                if traffic.phase() == Phase::Head {
                    tracing::debug!("a client took too long over the head of a request");
                    return;
                }
            }
            _ = ended(&mut ending), if !told => {
                told = true;
                if traffic.endless.load(Ordering::Relaxed) {
                    return;
                }
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    let parts = connection.into_parts();
    let mut socket = parts.io.into_inner().into_socket();
    if socket.write_all(&takeover.head).await.is_err() || socket.flush().await.is_err() {
        return;
    }
    let session = (takeover.session)(Client { socket, early: parts.read_buf });
    tokio::select! {
        () = session => {}
        _ = ended(&mut ending) => {}
    }
}

/// Whether a request to this path may take the connection over: then a client that only wants
/// output may half-close its side along with the request.
fn becomes_stream(path: &str) -> bool {
    path.ends_with("/attach") || path.ends_with("/start") && path.contains("/exec/")
}

/// Waits until the daemon ends.
async fn ended(ending: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone: that is an end as well.
    drop(ending.wait_for(|ended| *ended).await);
}

/// A body whose end makes the connection idle again.
struct Watched {
    body: Body,
    traffic: Arc<Traffic>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.traffic.enter(Phase::Idle);
    }
}

impl hyper::body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
