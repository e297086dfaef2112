//! Manifests: reading, putting, deleting.

use std::sync::atomic::Ordering;

use hyper::StatusCode;
use hyper::header;
use sha2::{Digest as _, Sha256};
use types::digest::Digest;

use super::blobs::unchanged;
use crate::answer::{Answer, SUBJECT};
use crate::app::{App, Call};
use crate::body::Body;
use crate::error::Error;
use crate::manifest::{self, LARGEST};
use crate::name::Name;
use crate::receive::Input;
use crate::route::Target;
use crate::storage::{PutError, Stored};

/// `GET` and `HEAD`.
pub(crate) async fn get(call: &Call, name: Name, target: Target) -> Result<Answer, Error> {
    let app = &call.app;
    let unknown = Error::ManifestUnknown(target.to_string());
    let stored = match &app.cache {
        Some(cache) => cache.manifest(app, &name, &target).await?,
        None => call.on_disk(move |app| local(app, &name, &target)).await?,
    };
    let stored = stored.ok_or(unknown)?;
    if unchanged(call, &stored.digest) {
        return Ok(Answer::empty(StatusCode::NOT_MODIFIED).digest(&stored.digest));
    }
    let length = stored.bytes.len() as u64;
    let body = if call.is_head() { Body::empty() } else { stored.bytes.into() };
    Ok(Answer::empty(StatusCode::OK).digest(&stored.digest).body(&stored.media_type, length, body))
}

/// A manifest that is here.
pub(crate) fn local(app: &App, name: &Name, target: &Target) -> Result<Option<Stored>, Error> {
    let repository = app.storage.repository(name);
    let digest = match target {
        Target::Tag(tag) => repository.resolve(tag)?,
        Target::Digest(digest) => Some(digest.clone()),
        Target::Invalid(_) => None,
    };
    let Some(digest) = digest else { return Ok(None) };
    let stored = repository.manifest(&digest)?;
    if stored.is_some() && !app.rules.read_only {
        repository.used(&digest)?;
    }
    Ok(stored)
}

/// `PUT`.
pub(crate) async fn put(
    call: &Call,
    name: Name,
    target: Target,
    body: Input,
) -> Result<Answer, Error> {
    let (tag, digest) = match target {
        Target::Tag(tag) => (Some(tag), None),
        Target::Digest(digest) => (None, Some(digest)),
        Target::Invalid(text) if text.contains(':') => return Err(Error::Digest(text)),
        Target::Invalid(text) => return Err(Error::Tag(text)),
    };
    let length = call.header(header::CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
    if length.is_some_and(|length| length > LARGEST as u64) {
        return Err(Error::ManifestTooLarge(LARGEST));
    }
    let bytes = body.whole(LARGEST).await?;
    let kind = call.header(header::CONTENT_TYPE).map(str::to_owned);
    call.on_disk(move |app| {
        let parsed = manifest::parse(kind.as_deref(), &bytes)?;
        let digest = digest.unwrap_or_else(|| Digest::from_sha256(Sha256::digest(&bytes).into()));
        let repository = app.storage.repository(&name);
        repository.put_manifest(&parsed, &digest, &bytes, tag.as_ref(), true)?;
        let answer = Answer::empty(StatusCode::CREATED)
            .digest(&digest)
            .with(header::LOCATION, &format!("/v2/{name}/manifests/{digest}"));
        Ok(match parsed.subject {
            // Says that the client need not keep a list of referrers under a tag.
            Some(subject) => answer.with(SUBJECT, subject.as_str()),
            None => answer,
        })
    })
    .await
}

impl From<PutError> for Error {
    fn from(error: PutError) -> Self {
        match error {
            PutError::Storage(error) => error.into(),
            PutError::Missing(missing) => Self::ManifestBlobUnknown(missing),
            PutError::Size { digest, said, found } => {
                Self::ManifestBlobSize { digest, said, found }
            }
        }
    }
}

/// `DELETE`: a tag alone, or a manifest with all its tags.
pub(crate) async fn delete(call: &Call, name: Name, target: Target) -> Result<Answer, Error> {
    let unknown = Error::ManifestUnknown(target.to_string());
    let removed = call
        .on_disk(move |app| {
            let repository = app.storage.repository(&name);
            match &target {
                Target::Tag(tag) => Ok(repository.delete_tag(tag)?),
                Target::Digest(digest) => Ok(repository.delete_manifest(digest)?),
                Target::Invalid(_) => Ok(false),
            }
        })
        .await?;
    if removed { Ok(Answer::empty(StatusCode::ACCEPTED)) } else { Err(unknown) }
}

/// Counts what a cache had or had not.
pub(crate) fn count(app: &App, hit: bool) {
    let counter = if hit { &app.metrics.hits } else { &app.metrics.misses };
    counter.fetch_add(1, Ordering::Relaxed);
}
