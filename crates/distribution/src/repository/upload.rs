//! Uploads: begun, sent, interrupted, continued, finished.

use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use hyper::Method;
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use types::digest::Digest;

use super::manifests::DIGEST;
use super::push::{answer_url, same_kind};
use super::{PUSH, Repository};
use crate::error::{Error, Result};
use crate::patience::Patience;
use crate::upload::{Chunks, Source};
use crate::wire::{Answer, Meter, Outgoing, Request, Url};

/// What blobs are called while they travel.
const BINARY: &str = "application/octet-stream";
/// Blobs up to this length go with the request that ends their upload.
const SMALL: u64 = 4 << 20;
/// The pieces for those who take no large requests: what stands before a registry often has a
/// limit of 100 MB.
const PIECE: u64 = 32 << 20;

/// An upload that a registry has begun.
struct Session {
    /// Where the next bytes go.
    url: Url,
    /// Bytes that the registry has.
    offset: u64,
}

/// What an upload has learned from its attempts.
#[derive(Default)]
struct Course {
    session: Option<Session>,
    /// Bytes of one request, if not all fit.
    piece: Option<u64>,
    /// Whether the registry has asked who we are in the midst of it.
    asked: bool,
}

impl Repository {
    /// Uploads a blob; its digest, which the registry has checked.
    ///
    /// A small blob goes with the request that ends its upload, others in one streamed request,
    /// or in several to a registry that finds it too large. After an interruption the registry
    /// is asked how far it came; one that does not know gets everything again.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Source`] if the blob could not be read.
    pub async fn upload(&self, source: &mut dyn Source) -> Result<Digest> {
        let mut patience = Patience::new(&self.registry().client().settings);
        let mut course = Course::default();
        loop {
            let failure = match self.upload_once(source, &mut course).await {
                Ok(digest) => return Ok(digest),
                Err(failure) => failure,
            };
            let status = failure.refusal().map(|refusal| refusal.status);
            if status == Some(401) && !course.asked {
                // What is streamed cannot answer the question who we are; a new beginning does.
                self.0.begun.lock().unwrap_or_else(PoisonError::into_inner).clear();
                course = Course { asked: true, ..course };
                course.session = None;
                continue;
            }
            let divisible = source.size().is_some_and(|size| size > PIECE);
            if status == Some(413) && course.piece.is_none() && divisible {
                course = Course { session: None, piece: Some(PIECE), ..course };
                continue;
            }
            patience.again(failure).await?;
            patience = patience.stubborn();
            course.session = match course.session.take() {
                Some(session) => self.status(session).await,
                None => None,
            };
        }
    }

    async fn upload_once(&self, source: &mut dyn Source, course: &mut Course) -> Result<Digest> {
        let mut session = match course.session.take() {
            Some(session) => session,
            None => self.begin().await?,
        };
        let mut remember = |session: &Session| {
            course.session = Some(Session { url: session.url.clone(), offset: session.offset });
        };
        // What is known if the next request fails.
        remember(&session);
        let size = source.size();
        let known = source.known_digest().filter(|_| session.offset == 0 && course.piece.is_none());
        if let (Some(digest), Some(size @ 1..=SMALL)) = (known, size) {
            let body = outgoing(source.open(0).map_err(Error::Source)?, Some(size));
            self.finish(session.url, &digest, body).await?;
            return Ok(digest);
        }
        while size != Some(session.offset) {
            let left = size.map(|size| size.saturating_sub(session.offset));
            let piece = match (left, course.piece) {
                (Some(left), Some(piece)) => Some(left.min(piece)),
                (left, _) => left,
            };
            session.url = self.send_bytes(source, &session, piece).await?;
            session.offset = match piece {
                Some(piece) => session.offset + piece,
                None => break,
            };
            remember(&session);
        }
        let digest = source.digest().map_err(Error::Source)?;
        self.finish(session.url, &digest, Outgoing::empty()).await?;
        Ok(digest)
    }

    /// Ends an upload, perhaps with the blob itself.
    async fn finish(&self, url: Url, digest: &Digest, body: Outgoing) -> Result<()> {
        let mut request = Request::new(Method::PUT, url.with("digest", digest.as_str()))
            .header(CONTENT_TYPE, BINARY);
        let meter = body.meter();
        if meter.is_none() {
            request = request.header(CONTENT_LENGTH, "0");
        }
        let sent = self.registry().send(request, body, &self.scopes(PUSH)).await;
        if let Some(error) = meter.and_then(|meter| meter.failure()) {
            return Err(Error::Source(error));
        }
        let answer = sent?.successful().await?;
        let said: Option<Digest> = answer.header(DIGEST).and_then(|text| text.parse().ok());
        if let Some(said) = said.filter(|said| said != digest && same_kind(said, digest)) {
            let (expected, got) = (digest.to_string(), said.to_string());
            return Err(Error::Digest { what: "upload", expected, got });
        }
        answer.discard().await;
        Ok(())
    }

    /// An upload at its beginning: one that is there already, or a new one.
    async fn begin(&self) -> Result<Session> {
        let waiting = self.0.begun.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(url) = waiting {
            return Ok(Session { url, offset: 0 });
        }
        let url = self.registry().base().await?.url(&self.path("blobs/uploads/"));
        let request = Request::new(Method::POST, url).header(CONTENT_LENGTH, "0");
        let answer = self.registry().once(request, &self.scopes(PUSH)).await?;
        let from = answer_url(&answer)?;
        let url = self.location(&answer, &from).await?;
        answer.discard().await;
        Ok(Session { url, offset: 0 })
    }

    /// Sends bytes from where the upload is, `length` of them if that is known, all otherwise;
    /// where the upload goes on.
    async fn send_bytes(
        &self,
        source: &mut dyn Source,
        session: &Session,
        length: Option<u64>,
    ) -> Result<Url> {
        let Session { url, offset } = session;
        let chunks = source.open(*offset).map_err(Error::Source)?;
        let whole = source.size().map(|size| size.saturating_sub(*offset)) == length;
        let chunks = match length {
            Some(length) if !whole => first(chunks, length),
            _ => chunks,
        };
        let body = outgoing(chunks, length);
        let meter = body.meter();
        let mut request = Request::new(Method::PATCH, url.clone()).header(CONTENT_TYPE, BINARY);
        // Without a range most registries take a stream of any length; with one they want to
        // know its end.
        if let Some(length) = length.filter(|length| *length > 0 && (*offset > 0 || !whole)) {
            request = request.header(CONTENT_RANGE, &format!("{offset}-{}", offset + length - 1));
        }
        let sent = self.registry().send(request, body, &self.scopes(PUSH)).await;
        if let Some(error) = meter.and_then(|meter| meter.failure()) {
            return Err(Error::Source(error));
        }
        let answer: Answer = sent?.successful().await?;
        let next = self.location(&answer, url).await?;
        answer.discard().await;
        Ok(next)
    }

    /// How far an interrupted upload came. `None` if it is lost.
    async fn status(&self, session: Session) -> Option<Session> {
        let request = Request::new(Method::GET, session.url.clone());
        let answer = self.registry().fetch(request, &self.scopes(PUSH)).await.ok()?;
        let range = answer.header(RANGE)?.trim();
        let (from, to) = range.strip_prefix("bytes=").unwrap_or(range).split_once('-')?;
        let (from, to): (u64, u64) = (from.parse().ok()?, to.parse().ok()?);
        // Of nothing, registries say `0-0`, as they do of one byte; both begin anew.
        if from != 0 || to == 0 {
            return None;
        }
        let url = match answer.header(LOCATION) {
            Some(_) => self.location(&answer, &session.url).await.ok()?,
            None => session.url,
        };
        Some(Session { url, offset: to.checked_add(1)? })
    }
}

fn outgoing(chunks: Chunks, left: Option<u64>) -> Outgoing {
    Outgoing::Stream { chunks, left, meter: Arc::new(Meter::default()) }
}

/// The first bytes of a stream.
fn first(chunks: Chunks, length: u64) -> Chunks {
    Box::pin(stream::try_unfold((chunks, length), |(mut chunks, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let Some(chunk) = chunks.next().await else { return Ok(None) };
        let mut chunk: Bytes = chunk?;
        chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        let left = left - chunk.len() as u64;
        Ok(Some((chunk, (chunks, left))))
    }))
}
