//! Blobs: reading, asking for, deleting.

use std::sync::atomic::Ordering;

use hyper::StatusCode;
use hyper::header;
use types::digest::Digest;

use crate::answer::Answer;
use crate::app::Call;
use crate::body::Body;
use crate::cache::Found;
use crate::error::Error;
use crate::name::Name;
use crate::range::{self, Wanted};

/// What clients are told of content that never changes.
const FOREVER: &str = "max-age=31536000";

/// `GET` and `HEAD`.
pub(crate) async fn get(call: &Call, name: Name, digest: Digest) -> Result<Answer, Error> {
    let app = &call.app;
    if unchanged(call, &digest) {
        let answer = Answer::empty(StatusCode::NOT_MODIFIED).digest(&digest);
        // Only for a blob that is still there.
        if size(call, &name, &digest).await?.is_some() {
            return Ok(answer);
        }
    }
    if call.is_head() {
        let size = match (size(call, &name, &digest).await?, &app.cache) {
            (Some(size), _) => Some(size),
            (None, Some(cache)) => cache.blob_size(&name, &digest).await?,
            (None, None) => None,
        };
        let size = size.ok_or_else(|| Error::BlobUnknown(digest.to_string()))?;
        // What a client has been told of must not be collected before its manifest comes.
        if !app.rules.read_only && app.cache.is_none() {
            let promised = digest.clone();
            let kept = call
                .on_disk(move |app| Ok(app.storage.repository(&name).promise(&promised)?))
                .await?;
            if !kept {
                return Err(Error::BlobUnknown(digest.to_string()));
            }
        }
        return Ok(head(&digest).body("application/octet-stream", size, Body::empty()));
    }
    let (content, wanted) = (digest.clone(), name.clone());
    let found = call
        .on_disk(move |app| {
            let Some(size) = app.storage.repository(&wanted).blob(&content)? else {
                return Ok(None);
            };
            match app.storage.blobs().open_blob(&content) {
                Ok(file) => Ok(Some((file, size))),
                // Collected a moment ago.
                Err(image::Error::NoSuchBlob(_)) => Ok(None),
                Err(error) => Err(Error::Storage(error.into())),
            }
        })
        .await?;
    match (found, &app.cache) {
        (Some((file, size)), cache) => {
            if cache.is_some() {
                app.metrics.hits.fetch_add(1, Ordering::Relaxed);
            }
            part(call, &digest, size, |first, count| Body::file(file, first, count))
        }
        (None, Some(cache)) => {
            app.metrics.misses.fetch_add(1, Ordering::Relaxed);
            match cache.blob(app, &name, &digest).await? {
                Some(Found { size, follow }) => part(call, &digest, size, follow),
                None => Err(Error::BlobUnknown(digest.to_string())),
            }
        }
        (None, None) => Err(Error::BlobUnknown(digest.to_string())),
    }
}

async fn size(call: &Call, name: &Name, digest: &Digest) -> Result<Option<u64>, Error> {
    let (name, digest) = (name.clone(), digest.clone());
    call.on_disk(move |app| Ok(app.storage.repository(&name).blob(&digest)?)).await
}

/// The part that the client wants.
fn part(
    call: &Call,
    digest: &Digest,
    size: u64,
    body: impl FnOnce(u64, u64) -> Body,
) -> Result<Answer, Error> {
    const KIND: &str = "application/octet-stream";
    match range::wanted(call.header(header::RANGE), size) {
        Wanted::Outside => Err(Error::Range { size }),
        Wanted::Whole => Ok(head(digest).body(KIND, size, body(0, size))),
        Wanted::Part { first, last } => {
            let count = last - first + 1;
            let answer = Answer::empty(StatusCode::PARTIAL_CONTENT)
                .digest(digest)
                .with(header::ACCEPT_RANGES, "bytes")
                .with(header::CONTENT_RANGE, &format!("bytes {first}-{last}/{size}"));
            Ok(answer.body(KIND, count, body(first, count)))
        }
    }
}

fn head(digest: &Digest) -> Answer {
    Answer::empty(StatusCode::OK)
        .digest(digest)
        .with(header::ACCEPT_RANGES, "bytes")
        .with(header::CACHE_CONTROL, FOREVER)
}

/// Whether the client says that it has this already.
pub(crate) fn unchanged(call: &Call, digest: &Digest) -> bool {
    let tags = call.header(header::IF_NONE_MATCH).unwrap_or_default();
    tags.split(',').any(|tag| {
        let tag = tag.trim();
        tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"') == digest.as_str()
    })
}

/// `DELETE`.
pub(crate) async fn delete(call: &Call, name: Name, digest: Digest) -> Result<Answer, Error> {
    let content = digest.clone();
    let removed =
        call.on_disk(move |app| Ok(app.storage.repository(&name).unlink(&content)?)).await?;
    if !removed {
        return Err(Error::BlobUnknown(digest.to_string()));
    }
    Ok(Answer::empty(StatusCode::ACCEPTED).digest(&digest))
}
