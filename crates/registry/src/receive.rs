//! Bodies of requests: into memory, or into an upload.

use std::io::{self, Write};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use image::blobs::Upload;
use tokio::task::JoinHandle;

use crate::error::Error;
use crate::storage::StorageError;

/// So long a client may send nothing of a body that it has begun.
const PATIENCE: Duration = Duration::from_secs(60);
/// What is written at once.
const BATCH: usize = 1 << 20;
/// So long bytes may wait in memory for more to come: many who send slowly must not take it all.
const LINGER: Duration = Duration::from_millis(200);

/// A client's body, which ends one way or another.
#[derive(Debug)]
pub(crate) struct Input(Incoming);

impl Input {
    pub(crate) fn new(body: Incoming) -> Self {
        Self(body)
    }

    /// The next bytes; `None` after the last.
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let frame = tokio::time::timeout(PATIENCE, self.0.frame())
                .await
                .map_err(|_| Error::BodySlow(PATIENCE.as_secs()))?;
            let Some(frame) = frame else { return Ok(None) };
            // Trailers mean nothing here.
            if let Ok(bytes) = frame.map_err(Error::BodyCut)?.into_data() {
                return Ok(Some(bytes));
            }
        }
    }

    /// The whole body, if it is not too long.
    pub(crate) async fn whole(mut self, limit: usize) -> Result<Vec<u8>, Error> {
        let mut all = BytesMut::new();
        while let Some(bytes) = self.next().await? {
            if all.len() + bytes.len() > limit {
                return Err(Error::ManifestTooLarge(limit));
            }
            all.extend_from_slice(&bytes);
        }
        Ok(all.into())
    }

    /// Whether nothing will come.
    pub(crate) fn is_empty(&self) -> bool {
        hyper::body::Body::is_end_stream(&self.0)
    }

    /// Appends the body to an upload. A batch is hashed and written on a thread of its own while
    /// the next one comes, so a client that is slow holds no thread. Gives the upload back with
    /// what has come, unless the writing thread ended badly.
    pub(crate) async fn append_to(mut self, upload: Upload) -> (Option<Upload>, Result<(), Error>) {
        let mut writer = Writer::Idle(upload);
        loop {
            let (batch, end) = self.batch().await;
            writer = match writer.join().await {
                Ok(upload) => Writer::start(upload, batch),
                Err(failed) => return failed,
            };
            if let Some(end) = end {
                return match writer.join().await {
                    Ok(upload) => (Some(upload), end),
                    Err(failed) => failed,
                };
            }
        }
    }

    /// Bytes enough for one write, and how the body ended if it did.
    async fn batch(&mut self) -> (Vec<Bytes>, Option<Result<(), Error>>) {
        let (mut batch, mut length) = (Vec::new(), 0);
        while length < BATCH {
            let next = if batch.is_empty() {
                self.next().await
            } else {
                match tokio::time::timeout(LINGER, self.next()).await {
                    Ok(next) => next,
                    Err(_) => return (batch, None),
                }
            };
            match next {
                Ok(Some(bytes)) => {
                    length += bytes.len();
                    batch.push(bytes);
                }
                Ok(None) => return (batch, Some(Ok(()))),
                Err(error) => return (batch, Some(Err(error))),
            }
        }
        (batch, None)
    }
}

enum Writer {
    Idle(Upload),
    Busy(JoinHandle<(Upload, io::Result<()>)>),
}

impl Writer {
    fn start(upload: Upload, batch: Vec<Bytes>) -> Self {
        if batch.is_empty() {
            return Self::Idle(upload);
        }
        Self::Busy(tokio::task::spawn_blocking(move || write(upload, &batch)))
    }

    async fn join(self) -> Result<Upload, (Option<Upload>, Result<(), Error>)> {
        match self {
            Self::Idle(upload) => Ok(upload),
            Self::Busy(busy) => match busy.await {
                Ok((upload, Ok(()))) => Ok(upload),
                Ok((upload, Err(source))) => {
                    let path = "an upload".into();
                    let error = StorageError::Io { step: "write", path, source };
                    Err((Some(upload), Err(error.into())))
                }
                Err(_) => Err((None, Err(Error::Dropped))),
            },
        }
    }
}

fn write(mut upload: Upload, batch: &[Bytes]) -> (Upload, io::Result<()>) {
    let written = batch.iter().try_for_each(|bytes| upload.write_all(bytes));
    (upload, written)
}
