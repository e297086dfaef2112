//! A client for the Engine API: HTTP/1.1 over a unix socket, TCP, TLS or ssh, for a single-threaded
//! tokio runtime.
//!
//! A connection whose answer has been read is used again, so a sequence of plain requests takes
//! one connection; an answer that streams (wait, logs) and a hijacked one (attach) hold theirs.
//! Paths go out without a version unless one is asked for: every daemon takes that as its own
//! newest, which saves the round trip that negotiation costs.

mod demux;
mod endpoint;
mod error;
mod hijack;
mod lines;
mod target;
mod tls;
mod transport;

pub use demux::{Chunk, Demux, Stream};
pub use endpoint::{Endpoint, SshHost};
pub use error::Error;
pub use hijack::Hijacked;
pub use lines::{JsonLines, JsonStream};
pub use target::Target;
pub use tls::TlsFiles;

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
pub use hyper::Method;
use hyper::body::Frame;
pub use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{ErrorResponse, Ping};

/// What a request carries.
pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// Answers longer than this are no JSON document that a daemon would send.
const LONGEST_DOCUMENT: usize = 512 << 20;

/// Where the daemon is and how to speak to it.
#[derive(Clone, Debug)]
pub struct Config {
    /// The socket.
    pub endpoint: Endpoint,
    /// The client's TLS files; `None` speaks plainly.
    pub tls: Option<TlsFiles>,
    /// `1.45` goes into every path; `None` leaves the version to the daemon.
    pub version: Option<String>,
    /// Further headers of every request.
    pub headers: Vec<(String, String)>,
}

/// A client. Cheap until the first request.
pub struct Client {
    config: Config,
    tls: Option<Arc<rustls::ClientConfig>>,
    headers: HeaderMap,
    idle: RefCell<Vec<SendRequest<Body>>>,
}

impl Client {
    /// Reads the TLS files, if any; connects to nothing yet.
    ///
    /// # Errors
    /// Unreadable TLS files and impossible headers.
    pub fn new(config: Config) -> Result<Self, Error> {
        let tls = config.tls.as_ref().map(TlsFiles::load).transpose()?.map(Arc::new);
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("isopod"));
        let agent = concat!("isopod/", env!("CARGO_PKG_VERSION"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
        for (name, value) in &config.headers {
            let name: HeaderName = name.parse().map_err(|_| Error::Header(name.clone()))?;
            let value = value.parse().map_err(|_| Error::Header(name.to_string()))?;
            headers.insert(name, value);
        }
        Ok(Self { config, tls, headers, idle: RefCell::default() })
    }

    /// Where the daemon is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.config.endpoint
    }

    /// `GET`, and the answer's JSON.
    ///
    /// # Errors
    /// The connection, the daemon's refusal, JSON of another shape.
    pub async fn get<T: DeserializeOwned>(&self, target: &Target) -> Result<T, Error> {
        let answer = self.send(Method::GET, target, None, empty()).await?;
        document(answer).await
    }

    /// `GET`, and the answer's JSON as it came.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn get_bytes(&self, target: &Target) -> Result<Bytes, Error> {
        bytes(self.send(Method::GET, target, None, empty()).await?).await
    }

    /// `POST` of a JSON body, and the answer's JSON.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        target: &Target,
        body: &B,
    ) -> Result<T, Error> {
        let answer = self.send(Method::POST, target, Some(JSON), json(body)?).await?;
        document(answer).await
    }

    /// `POST` of a JSON body whose answer says nothing.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn post_only<B: Serialize>(&self, target: &Target, body: &B) -> Result<(), Error> {
        let answer = self.send(Method::POST, target, Some(JSON), json(body)?).await?;
        bytes(answer).await.map(drop)
    }

    /// `POST` without a body whose answer says nothing. 304 (it is so already) is no error.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn post_empty(&self, target: &Target) -> Result<(), Error> {
        bytes(self.send(Method::POST, target, None, empty()).await?).await.map(drop)
    }

    /// `POST` without a body, and the answer's JSON.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn post_for<T: DeserializeOwned>(&self, target: &Target) -> Result<T, Error> {
        document(self.send(Method::POST, target, None, empty()).await?).await
    }

    /// `DELETE` whose answer says nothing.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn delete(&self, target: &Target) -> Result<(), Error> {
        bytes(self.send(Method::DELETE, target, None, empty()).await?).await.map(drop)
    }

    /// `DELETE`, and the answer's JSON.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn delete_for<T: DeserializeOwned>(&self, target: &Target) -> Result<T, Error> {
        document(self.send(Method::DELETE, target, None, empty()).await?).await
    }

    /// `HEAD`, and the answer's headers.
    ///
    /// # Errors
    /// As [`Client::get`]; the daemon's words come from no body, so only the status speaks.
    pub async fn head(&self, target: &Target) -> Result<HeaderMap, Error> {
        let answer = self.send(Method::HEAD, target, None, empty()).await?;
        Ok(answer.headers().clone())
    }

    /// Asks whether a daemon answers, and which.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn ping(&self) -> Result<Ping, Error> {
        let headers = self.head(&Target::new("/_ping")).await?;
        let text = |name: &str| {
            headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned()
        };
        Ok(Ping {
            api_version: text("api-version"),
            os_type: text("ostype"),
            experimental: text("docker-experimental") == "true",
            builder_version: text("builder-version"),
            swarm: text("swarm"),
        })
    }

    /// Any request whose answer is read piece by piece. The status has been looked at.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn stream(
        &self,
        method: Method,
        target: &Target,
        content_type: Option<&'static str>,
        body: Body,
    ) -> Result<Response<Incoming>, Error> {
        self.send(method, target, content_type, body).await
    }

    /// A `GET` or `POST` that answers with a sequence of JSON objects.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn json_stream<T: DeserializeOwned>(
        &self,
        method: Method,
        target: &Target,
        content_type: Option<&'static str>,
        body: Body,
    ) -> Result<JsonStream<T>, Error> {
        Ok(JsonStream::new(self.send(method, target, content_type, body).await?.into_body()))
    }

    /// A `POST` that takes the connection over (attach, exec start).
    ///
    /// # Errors
    /// As [`Client::get`], and a daemon that does not hand the connection over.
    pub async fn hijack(&self, target: &Target, body: Option<Bytes>) -> Result<Hijacked, Error> {
        let content = body.is_some().then_some(JSON);
        let mut request =
            self.request(Method::POST, target, content, body.map_or_else(empty, full))?;
        let headers = request.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("tcp"));
        let mut sender = self.sender().await?;
        let unanswered = |error| Error::unanswered(&self.config.endpoint, error);
        let answer = sender.send_request(request).await.map_err(unanswered)?;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Hijacked::new(answer).await;
        }
        let status = answer.status();
        refused(status, answer).await?;
        Err(Error::NotHijacked(status.as_u16()))
    }

    /// A connection of one's own, to which nothing has been said yet.
    ///
    /// # Errors
    /// Nobody listens.
    pub async fn dial(&self) -> Result<Hijacked, Error> {
        let stream = transport::connect(&self.config.endpoint, self.tls.as_ref()).await?;
        Ok(Hijacked::fresh(stream))
    }

    fn request(
        &self,
        method: Method,
        target: &Target,
        content_type: Option<&'static str>,
        body: Body,
    ) -> Result<Request<Body>, Error> {
        let uri = match &self.config.version {
            Some(version) => format!("/v{version}{}", target.as_str()),
            None => target.as_str().to_owned(),
        };
        let mut request =
            Request::builder().method(method).uri(uri).body(body).map_err(Error::Request)?;
        *request.headers_mut() = self.headers.clone();
        for (name, value) in target.headers() {
            let bad = || Error::Header((*name).to_owned());
            let key: HeaderName = name.parse().map_err(|_| bad())?;
            request.headers_mut().insert(key, value.parse().map_err(|_| bad())?);
        }
        if let Some(kind) = content_type {
            request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        Ok(request)
    }

    async fn send(
        &self,
        method: Method,
        target: &Target,
        content_type: Option<&'static str>,
        body: Body,
    ) -> Result<Response<Incoming>, Error> {
        let request = self.request(method, target, content_type, body)?;
        let mut sender = self.sender().await?;
        let unanswered = |error| Error::unanswered(&self.config.endpoint, error);
        let answer = sender.send_request(request).await.map_err(unanswered)?;
        self.idle.borrow_mut().push(sender);
        let status = answer.status();
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            return Ok(answer);
        }
        refused(status, answer).await?;
        Err(Error::Status { status: status.as_u16(), message: String::new() })
    }

    /// A connection that waits for a request: one whose answer has been read, or a new one.
    async fn sender(&self) -> Result<SendRequest<Body>, Error> {
        {
            let mut idle = self.idle.borrow_mut();
            idle.retain(|sender| !sender.is_closed());
            if let Some(at) = idle.iter().position(SendRequest::is_ready) {
                return Ok(idle.swap_remove(at));
            }
        }
        self.connect().await
    }

    async fn connect(&self) -> Result<SendRequest<Body>, Error> {
        let stream = transport::connect(&self.config.endpoint, self.tls.as_ref()).await?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(Error::Http)?;
        tokio::spawn(async move {
            // A broken connection shows up as the failure of the request that used it.
            let _ = connection.with_upgrades().await;
        });
        Ok(sender)
    }
}

const JSON: &str = "application/json";

/// No body.
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body that is at hand.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body that comes piece by piece.
pub fn streamed<S>(pieces: S) -> Body
where
    S: futures_util::Stream<Item = std::io::Result<Bytes>> + Send + 'static,
{
    use futures_util::StreamExt as _;
    StreamBody::new(pieces.map(|piece| piece.map(Frame::data))).boxed_unsync()
}

fn json<B: Serialize>(body: &B) -> Result<Body, Error> {
    Ok(full(serde_json::to_vec(body).map_err(Error::Encode)?))
}

async fn bytes(answer: Response<Incoming>) -> Result<Bytes, Error> {
    let body = http_body_util::Limited::new(answer.into_body(), LONGEST_DOCUMENT);
    Ok(body.collect().await.map_err(Error::Body)?.to_bytes())
}

async fn document<T: DeserializeOwned>(answer: Response<Incoming>) -> Result<T, Error> {
    let text = bytes(answer).await?;
    serde_json::from_slice(&text).map_err(Error::Decode)
}

/// Turns an answer that is no success into the daemon's words.
async fn refused(status: StatusCode, answer: Response<Incoming>) -> Result<(), Error> {
    if status.is_success() || status == StatusCode::NOT_MODIFIED {
        return Ok(());
    }
    let text = bytes(answer).await?;
    let message = match serde_json::from_slice::<ErrorResponse>(&text) {
        Ok(error) => error.message,
        Err(_) => String::from_utf8_lossy(&text).trim().to_owned(),
    };
    let message = if message.is_empty() {
        status.canonical_reason().unwrap_or("the daemon gave no reason").to_owned()
    } else {
        message
    };
    Err(Error::Status { status: status.as_u16(), message })
}

/// The next bytes of an answer that is read piece by piece; `None` at its end.
///
/// # Errors
/// A broken connection.
pub async fn next_data(body: &mut Incoming) -> Result<Option<Bytes>, Error> {
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(Error::Http)?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}
