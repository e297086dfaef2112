use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{HeaderMap, StatusCode};
use tokio::time::{Instant, timeout, timeout_at};

use super::pool::{Connection, Shelf};
use crate::challenge::{self, Challenge};
use crate::error::{Error, Refusal, Result, Transport, chain};

/// Bytes of a refusal that are read.
const MAX_REFUSAL: u64 = 64 << 10;
/// Bytes of an unwanted body that are read so that its connection can be used again.
const MAX_DISCARD: u64 = 64 << 10;
/// How many silences long a small document may take altogether.
const PATIENCE: u32 = 5;

/// A registry's answer, its body still to be read.
#[derive(Debug)]
pub(crate) struct Answer {
    /// What was asked, for errors: `Get "https://…"`.
    pub(crate) request: String,
    /// The status.
    pub(crate) status: StatusCode,
    /// The headers.
    pub(crate) headers: HeaderMap,
    body: Incoming,
    /// What has been read too far.
    unread: Option<Bytes>,
    idle: Duration,
    /// The connection, and where it goes when the body has been read.
    place: Option<(Connection, Arc<Shelf>)>,
    ended: bool,
}

impl Answer {
    pub(super) fn new(
        request: String,
        parts: hyper::http::response::Parts,
        body: Incoming,
        idle: Duration,
        place: Option<(Connection, Arc<Shelf>)>,
    ) -> Self {
        let mut answer = Self {
            request,
            status: parts.status,
            headers: parts.headers,
            body,
            unread: None,
            idle,
            place,
            ended: false,
        };
        if answer.body.is_end_stream() {
            answer.finished();
        }
        answer
    }

    /// A header as text.
    pub(crate) fn header(&self, name: impl hyper::header::AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The announced length. `None` if there is none, or several that differ.
    pub(crate) fn length(&self) -> Option<u64> {
        self.header(CONTENT_LENGTH).and_then(|text| text.trim().parse().ok())
    }

    /// Whether the body is what it claims to be, and not compressed on the way.
    pub(crate) fn is_encoded(&self) -> bool {
        let encoding = self.header(CONTENT_ENCODING).unwrap_or_default().trim();
        !matches!(encoding, "" | "identity")
    }

    /// What the registry asks for, if it asks who we are.
    pub(crate) fn challenges(&self) -> Vec<Challenge> {
        let all = self.headers.get_all(WWW_AUTHENTICATE).iter().take(16);
        all.filter_map(|value| value.to_str().ok()).flat_map(challenge::parse).collect()
    }

    /// How long the registry asks us to wait, whether it says so in seconds or as a date.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        let text = self.header(RETRY_AFTER)?.trim();
        if let Ok(seconds) = text.parse() {
            return Some(Duration::from_secs(seconds));
        }
        let moment = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
        let wait = moment.duration_since(jiff::Timestamp::now());
        Some(Duration::try_from(wait).unwrap_or_default())
    }

    /// The next bytes of the body; `None` at its end.
    ///
    /// # Errors
    /// [`Error::Transport`] when nothing comes in time or the connection breaks.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>> {
        if let Some(bytes) = self.unread.take() {
            return Ok(Some(bytes));
        }
        loop {
            let frame = match timeout(self.idle, self.body.frame()).await {
                Err(_) => {
                    let what = "waiting for the answer's next bytes";
                    return Err(self.broken(Transport::Timeout { what, after: self.idle }));
                }
                Ok(None) => {
                    self.finished();
                    return Ok(None);
                }
                Ok(Some(Err(error))) => return Err(self.broken(http(&error))),
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(bytes) = frame.into_data() else { continue };
            if self.body.is_end_stream() {
                self.finished();
            }
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
        }
    }

    /// Gives bytes back that were taken too early.
    pub(crate) fn unread(&mut self, bytes: Bytes) {
        self.unread = Some(bytes);
    }

    /// Whether the body has been read to its end.
    pub(crate) fn is_finished(&self) -> bool {
        self.ended && self.unread.is_none()
    }

    /// The whole body, if it has no more than `limit` bytes.
    ///
    /// # Errors
    /// [`Error::TooLong`], [`Error::Transport`].
    pub(crate) async fn bytes(&mut self, limit: u64) -> Result<Bytes> {
        if self.length().is_some_and(|length| length > limit) {
            return Err(Error::TooLong { request: self.request.clone(), limit });
        }
        let patience = self.idle * PATIENCE;
        let deadline = Instant::now() + patience;
        let mut all = BytesMut::new();
        loop {
            let Ok(next) = timeout_at(deadline, self.chunk()).await else {
                let what = "reading the answer";
                return Err(self.broken(Transport::Timeout { what, after: patience }));
            };
            match next? {
                None => return Ok(all.freeze()),
                Some(bytes) if (all.len() + bytes.len()) as u64 > limit => {
                    return Err(Error::TooLong { request: self.request.clone(), limit });
                }
                Some(bytes) => all.extend_from_slice(&bytes),
            }
        }
    }

    /// Reads what is left if it is little, so that the connection can be used again.
    pub(crate) async fn discard(mut self) {
        let mut left = MAX_DISCARD;
        while let Ok(Some(bytes)) = self.chunk().await {
            left = match left.checked_sub(bytes.len() as u64) {
                Some(left) => left,
                None => return,
            };
        }
    }

    /// The answer as an error.
    pub(crate) async fn refusal(mut self) -> Refusal {
        let challenges = self.challenges();
        let retry_after = self.retry_after();
        let status = self.status.as_u16();
        // A refusal whose body does not come is still one.
        let body = self.bytes(MAX_REFUSAL).await.unwrap_or_default();
        Refusal::read(status, &body, &challenges, retry_after)
    }

    /// An answer that is no success as [`Error::Refused`].
    ///
    /// # Errors
    /// That one.
    pub(crate) async fn successful(self) -> Result<Self> {
        if self.status.is_success() {
            return Ok(self);
        }
        if self.status.is_redirection() || self.status.is_informational() {
            return Err(self.protocol("unexpected redirection"));
        }
        Err(Error::Refused(Box::new(self.refusal().await)))
    }

    /// An error about this answer.
    pub(crate) fn protocol(&self, what: &'static str) -> Error {
        Error::Protocol { request: self.request.clone(), what }
    }

    /// A header that has to be there.
    ///
    /// # Errors
    /// [`Error::Protocol`].
    pub(crate) fn required(&self, name: HeaderName, what: &'static str) -> Result<&str> {
        self.header(name).ok_or_else(|| self.protocol(what))
    }

    fn broken(&mut self, source: Transport) -> Error {
        self.place = None;
        Error::Transport { request: self.request.clone(), source }
    }

    fn finished(&mut self) {
        self.ended = true;
        if let Some((connection, shelf)) = self.place.take() {
            shelf.put(connection);
        }
    }
}

/// A failure of the HTTP library in words.
pub(super) fn http(error: &hyper::Error) -> Transport {
    let mut cause = std::error::Error::source(error);
    let mut ended = error.is_incomplete_message();
    while let Some(inner) = cause {
        let io = inner.downcast_ref::<std::io::Error>();
        ended |= io.is_some_and(|io| io.kind() == std::io::ErrorKind::UnexpectedEof);
        cause = inner.source();
    }
    Transport::Http(if ended { "unexpected EOF".to_owned() } else { chain(error) })
}
