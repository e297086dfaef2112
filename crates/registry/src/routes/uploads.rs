//! Uploads: beginning, mounting, appending, finishing, cancelling.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use hyper::StatusCode;
use hyper::header;
use image::blobs::{Sum, Upload};
use rustix::rand::{GetRandomFlags, getrandom};
use sha2::{Digest as _, Sha256};
use types::digest::Digest;

use crate::access::{Action, Need};
use crate::answer::{Answer, UPLOAD_ID, received};
use crate::app::{App, Call};
use crate::error::Error;
use crate::name::Name;
use crate::range;
use crate::receive::Input;
use crate::route::{UploadId, digest};

/// Running hashes of uploads between two requests, so that nothing is read again in the end. An
/// upload that goes on in another process does without.
#[derive(Debug, Default)]
pub(crate) struct Sums(Mutex<HashMap<String, Sum>>);

impl Sums {
    /// The most that are held: one takes some hundred bytes.
    const MOST: usize = 4096;

    fn keep(&self, key: &str, upload: Upload) {
        let Some(sum) = upload.pause() else { return };
        let mut sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sums.len() >= Self::MOST {
            // Those who were forgotten are only slower.
            sums.clear();
        }
        sums.insert(key.to_owned(), sum);
    }

    fn take(&self, key: &str) -> Option<Sum> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key)
    }
}

/// What an upload is called in the storage. It belongs to its repository: in another there is
/// none of this id.
fn key(name: &Name, id: &UploadId) -> String {
    let sum = Sha256::digest(name.as_str());
    let prefix: String = sum.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{prefix}-{}", id.as_str())
}

fn location(name: &Name, id: &UploadId) -> String {
    format!("/v2/{name}/blobs/uploads/{}", id.as_str())
}

/// An answer about an upload that has so many bytes.
fn about(status: StatusCode, name: &Name, id: &UploadId, bytes: u64) -> Answer {
    Answer::empty(status)
        .with(header::LOCATION, &location(name, id))
        .with(header::RANGE, &received(bytes))
        .with(UPLOAD_ID, id.as_str())
}

fn created(name: &Name, digest: &Digest) -> Answer {
    Answer::empty(StatusCode::CREATED)
        .digest(digest)
        .with(header::LOCATION, &format!("/v2/{name}/blobs/{digest}"))
}

/// `POST`: mounts a blob, takes one whole, or begins an upload.
pub(crate) async fn begin(call: &Call, name: Name, body: Input) -> Result<Answer, Error> {
    if let (Some(mount), Some(from)) = (call.query.get("mount"), call.query.get("from")) {
        let (wanted, from) = (digest(mount)?, from.parse::<Name>()?);
        if may_pull(call, &from).await && mount_blob(call, &name, &from, &wanted).await? {
            return Ok(created(&name, &wanted));
        }
    }
    let wanted = call.query.get("digest").map(digest).transpose()?;
    let mut random = [0; 16];
    // Does not fail once the machine has booted.
    let _ = getrandom(&mut random, GetRandomFlags::empty());
    let id = UploadId::new(random);
    let Some(wanted) = wanted else {
        let place = key(&name, &id);
        let upload = call.on_disk(move |app| open(app, &place, true)).await?;
        call.app.sums.keep(&key(&name, &id), upload);
        return Ok(about(StatusCode::ACCEPTED, &name, &id, 0));
    };
    // Nobody is told its name, so nobody can go on with it: what is left of it may be swept at
    // once, which is what this prefix means to the storage.
    let place = format!("put-{}", id.as_str());
    let upload = call.on_disk(move |app| open(app, &place, true)).await?;
    let (upload, outcome) = body.append_to(upload).await;
    let upload = upload.ok_or(Error::Dropped)?;
    if let Err(error) = outcome {
        call.on_disk(move |_| Ok(upload.abandon().map_err(crate::storage::StorageError::from)?))
            .await?;
        return Err(error);
    }
    commit(call, name, upload, wanted).await
}

/// A mount from where one may not read is no error: the client is asked to send the blob.
async fn may_pull(call: &Call, from: &Name) -> bool {
    let need = Need::Repository(from.clone(), &[Action::Pull]);
    call.app.access.admit(&call.head.headers, &need).await.is_ok()
}

async fn mount_blob(call: &Call, name: &Name, from: &Name, wanted: &Digest) -> Result<bool, Error> {
    let (name, from, wanted) = (name.clone(), from.clone(), wanted.clone());
    call.on_disk(move |app| {
        let there = app.storage.repository(&from).blob(&wanted)?.is_some();
        Ok(there && app.storage.repository(&name).link(&wanted)?.is_some())
    })
    .await
}

/// Opens an upload; a new one must be asked for.
fn open(app: &App, key: &str, new: bool) -> Result<Upload, Error> {
    let stored = |error: image::Error| match error {
        image::Error::UploadBusy(_) => Error::UploadBusy,
        error => Error::Storage(error.into()),
    };
    if !new && app.storage.blobs().partial(key).map_err(stored)?.is_none() {
        return Err(Error::UploadUnknown);
    }
    let mut upload = app.storage.blobs().begin(key).map_err(stored)?;
    if let Some(sum) = app.sums.take(key) {
        upload.remember(sum);
    }
    Ok(upload)
}

/// The piece that a request says it brings: its first byte and the one after its last.
fn piece(call: &Call) -> Result<Option<(u64, u64)>, Error> {
    let Some(text) = call.header(header::CONTENT_RANGE) else { return Ok(None) };
    let (first, last) = range::piece(text).ok_or(Error::Header("Content-Range"))?;
    if let Some(text) = call.header(header::CONTENT_LENGTH) {
        let length = text.parse::<u64>().map_err(|_| Error::Header("Content-Length"))?;
        if last - first + 1 != length {
            return Err(Error::Size);
        }
    }
    Ok(Some((first, last + 1)))
}

/// Opens an upload, looks whether the piece follows on what is there, and appends it. Whatever
/// goes wrong, what has come stays, for the client to go on with.
async fn append_piece(
    call: &Call,
    name: &Name,
    id: &UploadId,
    body: Input,
) -> Result<Upload, Error> {
    let piece = piece(call)?;
    let place = key(name, id);
    let opened = place.clone();
    let mut upload = call.on_disk(move |app| open(app, &opened, false)).await?;
    let before = upload.len();
    if piece.is_some_and(|(first, _)| first != before) {
        call.app.sums.keep(&place, upload);
        return Err(Error::OutOfOrder { at: before, location: location(name, id) });
    }
    if body.is_empty() {
        return Ok(upload);
    }
    let (appended, outcome) = body.append_to(upload).await;
    upload = appended.ok_or(Error::Dropped)?;
    if let Err(error) = outcome {
        call.app.sums.keep(&place, upload);
        return Err(error);
    }
    // Only a body without a length can be another piece than it says.
    if piece.is_some_and(|(_, end)| end != upload.len()) {
        call.on_disk(move |_| {
            upload.truncate(before).map_err(|error| Error::Storage(error.into()))
        })
        .await?;
        return Err(Error::Size);
    }
    Ok(upload)
}

/// `PATCH`: appends a piece.
pub(crate) async fn append(
    call: &Call,
    name: Name,
    id: UploadId,
    body: Input,
) -> Result<Answer, Error> {
    let upload = append_piece(call, &name, &id, body).await?;
    let length = upload.len();
    call.app.sums.keep(&key(&name, &id), upload);
    Ok(about(StatusCode::ACCEPTED, &name, &id, length))
}

/// `PUT`: appends the last piece, if there is one, and makes a blob of it all.
pub(crate) async fn finish(
    call: &Call,
    name: Name,
    id: UploadId,
    body: Input,
) -> Result<Answer, Error> {
    let wanted = digest(call.query.get("digest").unwrap_or_default())?;
    let upload = append_piece(call, &name, &id, body).await?;
    commit(call, name, upload, wanted).await
}

async fn commit(call: &Call, name: Name, upload: Upload, wanted: Digest) -> Result<Answer, Error> {
    call.on_disk(move |app| {
        let size = app.storage.repository(&name).commit(upload, &wanted)?;
        app.metrics.uploaded.fetch_add(size, Ordering::Relaxed);
        Ok(created(&name, &wanted))
    })
    .await
}

/// `GET` and `HEAD`: how far it has come.
pub(crate) async fn status(call: &Call, name: Name, id: UploadId) -> Result<Answer, Error> {
    let place = key(&name, &id);
    let length = call
        .on_disk(move |app| {
            app.storage.blobs().partial(&place).map_err(|error| Error::Storage(error.into()))
        })
        .await?;
    let length = length.ok_or(Error::UploadUnknown)?;
    Ok(about(StatusCode::NO_CONTENT, &name, &id, length))
}

/// `DELETE`: gives it up.
pub(crate) async fn cancel(call: &Call, name: Name, id: UploadId) -> Result<Answer, Error> {
    let place = key(&name, &id);
    call.on_disk(move |app| {
        let upload = open(app, &place, false)?;
        upload.abandon().map_err(|error| Error::Storage(error.into()))
    })
    .await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT).with(UPLOAD_ID, id.as_str()))
}
