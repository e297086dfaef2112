//! One blob on its way from upstream to the storage and to those who wait for it.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use distribution::manifest::Descriptor;
use distribution::{BlobStream, Repository};
use image::blobs::Upload;
use tokio::sync::watch;
use types::digest::Digest;

use crate::app::{App, on_disk};
use crate::error::Error;
use crate::follow::Growth;
use crate::name::Name;
use crate::storage::StorageError;

/// What is written at once.
const BATCH: usize = 1 << 20;

/// A blob that is being fetched.
#[derive(Clone, Debug)]
pub(super) struct Download {
    pub(super) size: u64,
    pub(super) file: Arc<File>,
    pub(super) growth: watch::Receiver<Growth>,
}

impl Download {
    /// Begins to fetch, or goes on where an earlier attempt was interrupted.
    pub(super) async fn begin(
        app: &Arc<App>,
        upstream: Repository,
        name: &Name,
        digest: &Digest,
        size: u64,
    ) -> Result<Self, Error> {
        let place = format!("proxy-{}", digest.hex());
        let upload = on_disk(app, move |app| {
            let mut upload = match app.storage.blobs().begin(&place) {
                // Another process fetches it, or we do for another repository.
                Err(image::Error::UploadBusy(_)) => app.storage.blobs().begin(&another(&place)),
                upload => upload,
            }
            .map_err(StorageError::from)?;
            if upload.len() > size {
                upload.truncate(0).map_err(StorageError::from)?;
            }
            Ok(upload)
        })
        .await?;
        let descriptor = Descriptor::new("application/octet-stream", digest.clone(), size);
        let from = upload.len();
        let file = Arc::new(upload.file().map_err(StorageError::from)?);
        let stream = upstream.blob(&descriptor, from).await.map_err(Error::Upstream)?;
        let (sender, growth) =
            watch::channel(Growth { there: from.min(size.saturating_sub(1)), ended: false });
        let work = Work { app: app.clone(), name: name.clone(), digest: digest.clone(), size };
        tokio::spawn(work.pump(stream, upload, sender));
        Ok(Self { size, file, growth })
    }

    /// Whether it goes on, or has ended well.
    pub(super) fn is_of_use(&self) -> bool {
        let growth = *self.growth.borrow();
        !growth.ended || growth.there == self.size
    }

    /// Waits until nothing more comes.
    pub(super) async fn ended(mut self) {
        // An error means that the sender is gone, which is an end as well.
        drop(self.growth.wait_for(|growth| growth.ended).await);
    }
}

fn another(place: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{place}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

struct Work {
    app: Arc<App>,
    name: Name,
    digest: Digest,
    size: u64,
}

impl Work {
    /// Fetches to the end. The last byte is not shown before the whole has the right digest, so
    /// nobody gets a blob that is whole and wrong.
    async fn pump(self, stream: BlobStream, upload: Upload, growth: watch::Sender<Growth>) {
        let outcome = self.fetch(stream, upload, &growth).await;
        if let Err(error) = &outcome {
            tracing::error!("{} of {} cannot be cached: {error}", self.digest, self.name);
        }
        growth.send_modify(|growth| {
            growth.ended = true;
            if outcome.is_ok() {
                growth.there = self.size;
            }
        });
    }

    async fn fetch(
        &self,
        mut stream: BlobStream,
        mut upload: Upload,
        growth: &watch::Sender<Growth>,
    ) -> Result<(), Error> {
        loop {
            let (batch, more) = batch(&mut stream).await?;
            upload = on_disk(&self.app, move |_| write(upload, &batch)).await?;
            let there = upload.len().min(self.size.saturating_sub(1));
            growth.send_modify(|growth| growth.there = there);
            if !more {
                break;
            }
        }
        let (name, digest) = (self.name.clone(), self.digest.clone());
        on_disk(&self.app, move |app| Ok(app.storage.repository(&name).commit(upload, &digest)?))
            .await?;
        Ok(())
    }
}

async fn batch(stream: &mut BlobStream) -> Result<(Vec<Bytes>, bool), Error> {
    let (mut batch, mut length) = (Vec::new(), 0);
    while length < BATCH {
        match stream.chunk().await.map_err(Error::Upstream)? {
            Some(bytes) => {
                length += bytes.len();
                batch.push(bytes);
            }
            None => return Ok((batch, false)),
        }
    }
    Ok((batch, true))
}

fn write(mut upload: Upload, batch: &[Bytes]) -> Result<Upload, Error> {
    for bytes in batch {
        upload.write_all(bytes).map_err(|source| StorageError::Io {
            step: "write",
            path: "a download".into(),
            source,
        })?;
    }
    Ok(upload)
}
