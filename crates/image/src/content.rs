//! Documents and blobs by digest, in an OCI image layout, and the file that names the images.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sys::fs::Root;
use types::digest::Digest;

use crate::blobs::Blobs;
use crate::catalog::Catalog;
use crate::durable;
use crate::error::{Error, Result, Step};

const CATALOG: &str = "images.json";
/// More images than anybody has, and still read in a moment.
const MAX_CATALOG: u64 = 1 << 30;

/// `content/` of the data root.
#[derive(Debug)]
pub(crate) struct Content {
    dir: Root,
    blobs: Blobs,
}

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    #[serde(flatten)]
    catalog: Catalog,
}

impl Content {
    /// Opens the directory, makes it an OCI image layout, and removes half-written files and
    /// uploads that nobody has gone on with for so long.
    pub(crate) fn open(path: &Path, partials: Duration) -> Result<Self> {
        let blobs = Blobs::open(path)?;
        let dir = Root::open_host(path).step("open the content directory")?;
        let content = Self { dir, blobs };
        for found in content.dir.read_dir(".").step("list content")? {
            if found.name.to_str().is_some_and(|name| name.starts_with(".tmp-")) {
                content.dir.remove_all(&found.name).step("remove a half-written file")?;
            }
        }
        content.blobs.sweep(partials)?;
        for (name, text) in [
            ("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#),
            ("index.json", r#"{"schemaVersion":2,"manifests":[]}"#),
        ] {
            // A power cut before the first flush may leave it empty.
            if content.dir.stat(name).map_or(0, |stat| stat.st_size) == 0 {
                content.replace(name, text.as_bytes()).step("write the image layout")?;
            }
        }
        Ok(content)
    }

    /// Writes a file under a temporary name, flushes it and gives it its name.
    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let tmp = format!(".tmp-{name}");
        durable::replace(&self.dir, Path::new(&tmp), Path::new(name), bytes)
    }

    /// The blobs.
    pub(crate) fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// The directory of everything.
    pub(crate) fn dir(&self) -> &Root {
        &self.dir
    }

    /// The catalog as it was last written.
    pub(crate) fn read_catalog(&self) -> Result<Catalog> {
        let text = match self.dir.read(CATALOG, MAX_CATALOG) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Catalog::default()),
            Err(error) => return Err(error).step("read the names of images"),
        };
        let file: File = serde_json::from_slice(&text).map_err(|error| Error::DamagedRecord {
            file: format!("content/{CATALOG}"),
            reason: error.to_string(),
        })?;
        Ok(file.catalog)
    }

    /// Replaces the catalog; when this returns it is on disk.
    pub(crate) fn write_catalog(&self, catalog: &Catalog) -> Result<()> {
        let file = File { version: 1, catalog: catalog.clone() };
        serde_json::to_vec(&file)
            .map_err(io::Error::from)
            .and_then(|text| self.replace(CATALOG, &text))
            .step("write the names of images")
    }

    /// Stores a document, flushed. Returns its digest.
    pub(crate) fn put(&self, bytes: &[u8]) -> Result<Digest> {
        self.blobs.put(bytes)
    }

    /// A document, checked against its digest.
    pub(crate) fn get(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        self.blobs.read(digest, limit)
    }
}
