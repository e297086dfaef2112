use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{
    AUTHORIZATION, HOST, HeaderName, HeaderValue, PROXY_AUTHORIZATION, USER_AGENT,
};
use hyper::{HeaderMap, Method, Uri};
use hyper_util::rt::TokioIo;

use super::answer::http;
use super::dial::Dialer;
use super::{Answer, Origin, Outgoing, Url};
use crate::error::{Error, Result, Transport};
use crate::settings::Settings;

/// How long a connection waits for its next request.
const KEPT: Duration = Duration::from_secs(30);
/// How long a connection may take to notice that its last answer has ended.
const READY: Duration = Duration::from_secs(1);
/// Waiting connections to one server.
const MOST_IDLE: usize = 16;
/// Bytes read at once: large enough that system calls cost nothing beside the copy.
const BUFFER: usize = 512 << 10;
/// How many silences long a registry may think about an upload that has arrived.
const UPLOAD_PATIENCE: u32 = 10;

/// One request, without its body.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The method.
    pub(crate) method: Method,
    /// Where to.
    pub(crate) url: Url,
    /// Headers beside those that every request has.
    pub(crate) headers: HeaderMap,
}

impl Request {
    /// A request without headers of its own.
    pub(crate) fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new() }
    }

    /// Whether nothing else happens when it arrives twice.
    fn is_repeatable(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD | Method::PUT | Method::DELETE)
    }

    /// With a header.
    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Self {
        // What cannot be a header (a line break in a media type) would be an attack.
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.append(name, value);
        }
        self
    }

    /// With `Authorization`, which is never printed.
    pub(crate) fn authorization(mut self, value: &str) -> Self {
        if let Ok(mut value) = HeaderValue::from_str(value) {
            value.set_sensitive(true);
            self.headers.insert(AUTHORIZATION, value);
        }
        self
    }
}

impl fmt::Display for Request {
    /// As Go programs name a request in errors: `Get "https://…"`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = self.method.as_str();
        let (first, rest) = method.split_at(1.min(method.len()));
        write!(f, "{first}{} \"{}\"", rest.to_ascii_lowercase(), self.url)
    }
}

/// Sends requests over connections that it keeps.
#[derive(Debug)]
pub(crate) struct Wire {
    dialer: Dialer,
    user_agent: HeaderValue,
    idle: Duration,
    shelves: Mutex<HashMap<(Origin, bool), Arc<Shelf>>>,
}

/// An HTTP/1 connection.
#[derive(Debug)]
pub(super) struct Connection {
    sender: SendRequest<Outgoing>,
    since: Instant,
    used: bool,
}

impl Connection {
    /// Whether the next request can be sent: the end of an answer is known here a moment before
    /// the connection itself knows it.
    async fn is_ready(&mut self) -> bool {
        matches!(tokio::time::timeout(READY, self.sender.ready()).await, Ok(Ok(())))
    }
}

/// Connections to one server that wait for their next request.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    waiting: Mutex<Vec<Connection>>,
    swept: AtomicBool,
}

impl Shelf {
    fn take(&self) -> Option<Connection> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // The youngest: the others may end.
        while let Some(connection) = waiting.pop() {
            if !connection.sender.is_closed() && connection.since.elapsed() < KEPT {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection whose last answer has been read.
    pub(super) fn put(self: &Arc<Self>, mut connection: Connection) {
        if connection.sender.is_closed() {
            return;
        }
        connection.since = Instant::now();
        connection.used = true;
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= MOST_IDLE {
            return;
        }
        waiting.push(connection);
        drop(waiting);
        if !self.swept.swap(true, Ordering::AcqRel) {
            tokio::spawn(Self::sweep(Arc::clone(self)));
        }
    }

    /// Closes what nobody has used for a while; ends when nothing is left.
    async fn sweep(self: Arc<Self>) {
        loop {
            tokio::time::sleep(KEPT).await;
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.retain(|one| !one.sender.is_closed() && one.since.elapsed() < KEPT);
            if waiting.is_empty() {
                self.swept.store(false, Ordering::Release);
                return;
            }
        }
    }
}

impl Wire {
    /// # Errors
    /// [`Error::Address`] for proxies that are none.
    pub(crate) fn new(settings: &Settings) -> Result<Self> {
        let user_agent = HeaderValue::from_str(&settings.user_agent);
        Ok(Self {
            dialer: Dialer::new(settings)?,
            user_agent: user_agent.unwrap_or(HeaderValue::from_static("isopod")),
            idle: settings.idle_timeout,
            shelves: Mutex::default(),
        })
    }

    /// Sends one request and waits for the head of its answer. Redirects and refusals are
    /// answers like others.
    ///
    /// # Errors
    /// [`Error::Transport`] and [`Error::Certificate`]; [`Error::Source`] if the body could not
    /// be made.
    pub(crate) async fn send(
        &self,
        request: &Request,
        verify: bool,
        body: Outgoing,
    ) -> Result<Answer> {
        let words = request.to_string();
        let meter = body.meter();
        let mut again = body.again().filter(|_| request.is_repeatable());
        let mut message = self.message(request, body, &words)?;
        let shelf = self.shelf(&request.url.origin, verify);
        loop {
            let mut connection = match shelf.take() {
                Some(mut connection) => match connection.is_ready().await {
                    true => connection,
                    false => continue,
                },
                None => self.connect(&request.url.origin, verify, &words).await?,
            };
            let sent = self.exchange(&mut connection, message, meter.as_deref()).await;
            let source = match sent {
                Ok(response) => {
                    let (parts, incoming) = response.into_parts();
                    // A registry that has answered before it has read everything has no use for
                    // what still comes, and neither has the next request.
                    let sent = meter.is_none_or(|meter| meter.is_done());
                    let place = sent.then_some((connection, shelf));
                    return Ok(Answer::new(words, parts, incoming, self.idle, place));
                }
                Err(Failed::Silent(source)) => source,
                Err(Failed::Broken(mut error)) => {
                    let unsent = error.take_message();
                    // The server had closed a waiting connection. What was not sent, or may be
                    // sent twice, goes over the next.
                    match (unsent, again.take_if(|_| connection.used)) {
                        (Some(unsent), _) if connection.used => {
                            message = unsent;
                            continue;
                        }
                        (None, Some(body)) => {
                            again = body.again();
                            message = self.message(request, body, &words)?;
                            continue;
                        }
                        _ => http(error.error()),
                    }
                }
            };
            return Err(match meter.and_then(|meter| meter.failure()) {
                Some(error) => Error::Source(error),
                None => Error::Transport { request: words, source },
            });
        }
    }

    fn message(
        &self,
        request: &Request,
        body: Outgoing,
        words: &str,
    ) -> Result<hyper::Request<Outgoing>> {
        let origin = &request.url.origin;
        let proxy = self.dialer.proxy(origin).filter(|_| !origin.https);
        let target = match proxy {
            // A proxy for plain HTTP is told the whole URL.
            Some(_) => request.url.to_string(),
            None => request.url.path.clone(),
        };
        let bad = |what| Error::Protocol { request: words.to_owned(), what };
        let uri: Uri = target.parse().map_err(|_| bad("the URL cannot be requested"))?;
        let host = HeaderValue::from_str(&origin.authority());
        let mut message = hyper::Request::new(body);
        *message.method_mut() = request.method.clone();
        *message.uri_mut() = uri;
        let headers = message.headers_mut();
        *headers = request.headers.clone();
        headers.insert(HOST, host.map_err(|_| bad("the host cannot be requested"))?);
        headers.insert(USER_AGENT, self.user_agent.clone());
        if let Some(authorization) = proxy.and_then(|proxy| proxy.authorization.as_deref())
            && let Ok(value) = HeaderValue::from_str(authorization)
        {
            headers.insert(PROXY_AUTHORIZATION, value);
        }
        Ok(message)
    }

    fn shelf(&self, origin: &Origin, verify: bool) -> Arc<Shelf> {
        let mut shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shelf) = shelves.get(&(origin.clone(), verify)) {
            return Arc::clone(shelf);
        }
        // Redirects name ever new hosts: forget those that nobody uses.
        shelves.retain(|_, shelf| Arc::strong_count(shelf) > 1);
        let shelf = Arc::<Shelf>::default();
        shelves.insert((origin.clone(), verify), Arc::clone(&shelf));
        shelf
    }

    async fn connect(&self, origin: &Origin, verify: bool, words: &str) -> Result<Connection> {
        let stream = self.dialer.dial(origin, verify, words).await?;
        let failed = |error: hyper::Error| Error::Transport {
            request: words.to_owned(),
            source: http(&error),
        };
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(BUFFER)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(failed)?;
        tokio::spawn(async move {
            // How it ends is told to whoever waits for an answer.
            if let Err(error) = connection.await {
                tracing::debug!("a registry's connection ended: {error}");
            }
        });
        Ok(Connection { sender, since: Instant::now(), used: false })
    }

    /// Sends and waits; a body that is still being made or still being taken is no silence.
    async fn exchange(
        &self,
        connection: &mut Connection,
        message: hyper::Request<Outgoing>,
        meter: Option<&super::Meter>,
    ) -> std::result::Result<hyper::Response<hyper::body::Incoming>, Failed> {
        let patience = match message.method() {
            &Method::GET | &Method::HEAD => self.idle,
            _ => self.idle * UPLOAD_PATIENCE,
        };
        let mut answer = std::pin::pin!(connection.sender.try_send_request(message));
        let mut seen = 0;
        loop {
            let waited = tokio::time::timeout(patience, &mut answer).await;
            match waited {
                Ok(answer) => return answer.map_err(|error| Failed::Broken(Box::new(error))),
                Err(_) => match meter {
                    Some(meter) if meter.is_waiting() || meter.sent() != seen => {
                        seen = meter.sent();
                    }
                    _ => {
                        let what = "waiting for an answer";
                        return Err(Failed::Silent(Transport::Timeout { what, after: patience }));
                    }
                },
            }
        }
    }
}

/// Why there is no answer.
enum Failed {
    Silent(Transport),
    Broken(Box<TrySendError<hyper::Request<Outgoing>>>),
}
