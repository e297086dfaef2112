use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use hyper::{Method, StatusCode};
use types::digest::Digest;

use super::manifests::{DIGEST, digest_like};
use super::{DELETE, PUSH, Repository};
use crate::error::{Error, Result};
use crate::patience::Patience;
use crate::upload::Source;
use crate::wire::{Answer, Meter, Outgoing, Request, Url};

/// What blobs are called while they travel.
const BINARY: &str = "application/octet-stream";

/// An upload that a registry has begun.
struct Session {
    /// Where the next bytes go.
    url: Url,
    /// Bytes that the registry has.
    offset: u64,
}

impl Repository {
    /// Asks the registry to take a blob over from another of its repositories (a path such as
    /// `library/busybox`). `false` if it wants it uploaded; the upload that it then has begun
    /// is used by the next [`Self::upload`].
    ///
    /// # Errors
    /// [`Error`].
    pub async fn mount(&self, digest: &Digest, from_repository: &str) -> Result<bool> {
        let registry = self.registry();
        let url = registry.base().await?.url(&self.path("blobs/uploads/"));
        let url = url.with("mount", digest.as_str()).with("from", from_repository);
        let mut scopes = self.scopes(PUSH);
        scopes.push(format!("repository:{from_repository}:pull"));
        let request = Request::new(Method::POST, url).header(CONTENT_LENGTH, "0");
        let answer = match registry.fetch(request, &scopes).await {
            Ok(answer) => answer,
            // Who may not read the other repository uploads as if there were none.
            Err(Error::Refused(refusal)) if matches!(refusal.status, 400..=405) => {
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        if answer.status == StatusCode::CREATED {
            answer.discard().await;
            return Ok(true);
        }
        if answer.status == StatusCode::ACCEPTED {
            let session = self.location(&answer, &answer_url(&answer)?).await?;
            let mut begun = self.0.begun.lock().unwrap_or_else(PoisonError::into_inner);
            begun.push(session);
        }
        Ok(false)
    }

    /// Uploads a blob; its digest, which the registry has checked.
    ///
    /// The bytes go in one streamed request. After an interruption the registry is asked how far
    /// it came; one that does not know gets everything again.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Source`] if the blob could not be read.
    pub async fn upload(&self, source: &mut dyn Source) -> Result<Digest> {
        let mut patience = Patience::new(&self.registry().client().settings);
        let mut session = None;
        loop {
            let failure = match self.upload_once(source, &mut session).await {
                Ok(digest) => return Ok(digest),
                Err(failure) => failure,
            };
            patience.again(failure).await?;
            patience = patience.stubborn();
            session = match session.take() {
                Some(session) => self.status(session).await,
                None => None,
            };
        }
    }

    async fn upload_once(
        &self,
        source: &mut dyn Source,
        session: &mut Option<Session>,
    ) -> Result<Digest> {
        let Session { url, offset } = match session.take() {
            Some(session) => session,
            None => self.begin().await?,
        };
        // What is known if the next request fails.
        *session = Some(Session { url: url.clone(), offset });
        let size = source.size();
        let url = match size {
            Some(size) if size == offset => url,
            _ => self.send_bytes(source, url, offset, size).await?,
        };
        *session = Some(Session { url: url.clone(), offset: u64::MAX });
        let digest = source.digest().map_err(Error::Source)?;
        let request = Request::new(Method::PUT, url.with("digest", digest.as_str()))
            .header(CONTENT_TYPE, BINARY)
            .header(CONTENT_LENGTH, "0");
        let answer = self.registry().once(request, &self.scopes(PUSH)).await?;
        let said: Option<Digest> = answer.header(DIGEST).and_then(|text| text.parse().ok());
        if let Some(said) = said.filter(|said| *said != digest && same_kind(said, &digest)) {
            let (expected, got) = (digest.to_string(), said.to_string());
            return Err(Error::Digest { what: "upload", expected, got });
        }
        answer.discard().await;
        *session = None;
        Ok(digest)
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

    /// Sends the bytes from `offset` on; where the end of the upload is told.
    async fn send_bytes(
        &self,
        source: &mut dyn Source,
        url: Url,
        offset: u64,
        size: Option<u64>,
    ) -> Result<Url> {
        let chunks = source.open(offset).map_err(Error::Source)?;
        let left = size.map(|size| size.saturating_sub(offset));
        let meter = Arc::new(Meter::default());
        let body = Outgoing::Stream { chunks, left, meter: Arc::clone(&meter) };
        let mut request = Request::new(Method::PATCH, url.clone()).header(CONTENT_TYPE, BINARY);
        // Without a range most registries take a stream of any length; with one they want to
        // know its end.
        if offset > 0
            && let Some(size) = size
        {
            request = request.header(CONTENT_RANGE, &format!("{offset}-{}", size - 1));
        }
        let sent = self.registry().send(request, body, &self.scopes(PUSH)).await;
        let answer = match (sent, meter.failure()) {
            (_, Some(error)) => return Err(Error::Source(error)),
            (sent, None) => sent?.successful().await?,
        };
        let next = self.location(&answer, &url).await?;
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
        Some(Session { url, offset: to + 1 })
    }

    /// Where an answer's `Location` points.
    ///
    /// Registries behind proxies often name themselves as they see themselves, in plain HTTP:
    /// the same host is spoken to as before.
    async fn location(&self, answer: &Answer, from: &Url) -> Result<Url> {
        let text = answer.required(LOCATION, "the registry does not say where to upload")?;
        let mut url = from.join(text)?;
        let ours = &self.registry().base().await?.origin;
        let usual = |port| matches!(port, 80 | 443);
        let same_port = url.origin.port == ours.port || usual(url.origin.port);
        if url.origin.host == ours.host && same_port {
            url.origin = ours.clone();
        }
        if ours.https && !url.origin.https {
            return Err(Error::Redirect {
                request: answer.request.clone(),
                reason: "the registry speaks TLS and wants the upload without it",
            });
        }
        Ok(url)
    }

    /// Puts a manifest under a tag or its digest.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Digest`] if the registry has something else than was sent.
    pub async fn put_manifest(
        &self,
        tag_or_digest: &str,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Digest> {
        let registry = self.registry();
        let url = registry.base().await?.url(&self.path(&format!("manifests/{tag_or_digest}")));
        let request = Request::new(Method::PUT, url).header(CONTENT_TYPE, media_type);
        let mut patience = Patience::new(&registry.client().settings);
        let answer = loop {
            let body = Outgoing::bytes(bytes.clone());
            let sent = registry.send(request.clone(), body, &self.scopes(PUSH)).await;
            let failure = match sent {
                Ok(answer) => match answer.successful().await {
                    Ok(answer) => break answer,
                    Err(error) => error,
                },
                Err(error) => error,
            };
            patience.again(failure).await?;
        };
        let said: Option<Digest> = answer.header(DIGEST).and_then(|text| text.parse().ok());
        answer.discard().await;
        let asked: Option<Digest> = tag_or_digest.parse().ok();
        let digest = match asked {
            Some(asked) => digest_like(&asked, &bytes),
            None => digest_like(&Digest::from_sha256([0; 32]), &bytes),
        };
        if let Some(said) = said.filter(|said| *said != digest && same_kind(said, &digest)) {
            let (expected, got) = (digest.to_string(), said.to_string());
            return Err(Error::Digest { what: "manifest", expected, got });
        }
        Ok(digest)
    }

    /// Deletes a manifest by digest, or a tag where the registry allows that.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn delete_manifest(&self, tag_or_digest: &str) -> Result<()> {
        self.delete(&format!("manifests/{tag_or_digest}")).await
    }

    /// Deletes a blob.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn delete_blob(&self, digest: &Digest) -> Result<()> {
        self.delete(&format!("blobs/{digest}")).await
    }

    async fn delete(&self, what: &str) -> Result<()> {
        let registry = self.registry();
        let url = registry.base().await?.url(&self.path(what));
        let request = Request::new(Method::DELETE, url);
        registry.fetch(request, &self.scopes(DELETE)).await?.discard().await;
        Ok(())
    }
}

fn same_kind(one: &Digest, other: &Digest) -> bool {
    one.algorithm() == other.algorithm()
}

/// The URL that an answer is for, against which its `Location` is read.
fn answer_url(answer: &Answer) -> Result<Url> {
    Url::parse(answer.request.split('"').nth(1).unwrap_or_default())
}
