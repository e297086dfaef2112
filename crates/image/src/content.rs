//! Documents by digest, in an OCI image layout, and the file that names the images.

use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sys::entry;
use sys::fs::{Mode, Root};
use types::digest::Digest;

use crate::catalog::Catalog;
use crate::error::{Error, Result, Step};
use crate::stream::sha256;

const CATALOG: &str = "images.json";
const BLOBS: &str = "blobs/sha256";
/// More images than anybody has, and still read in a moment.
const MAX_CATALOG: u64 = 1 << 30;

/// `content/` of the data root.
#[derive(Debug)]
pub(crate) struct Content {
    dir: Root,
}

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    #[serde(flatten)]
    catalog: Catalog,
}

impl Content {
    /// Opens the directory, makes it an OCI image layout, and removes half-written files.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        std::fs::create_dir_all(path.join(BLOBS)).step("create the content directory")?;
        let dir = Root::open_host(path).step("open the content directory")?;
        let content = Self { dir };
        content.sweep(".")?;
        content.sweep(BLOBS)?;
        for (name, text) in [
            ("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#),
            ("index.json", r#"{"schemaVersion":2,"manifests":[]}"#),
        ] {
            if !content.dir.exists(name) {
                content.replace(".", name, text.as_bytes()).step("write the image layout")?;
            }
        }
        Ok(content)
    }

    fn sweep(&self, dir: &str) -> Result<()> {
        for found in self.dir.read_dir(dir).step("list content")? {
            if found.name.to_str().is_some_and(|name| name.starts_with(".tmp-")) {
                let path = Path::new(dir).join(&found.name);
                self.dir.remove_all(path).step("remove a half-written file")?;
            }
        }
        Ok(())
    }

    /// Writes a file under a temporary name, flushes it and gives it its name.
    fn replace(&self, dir: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
        let tmp = Path::new(dir).join(format!(".tmp-{name}"));
        self.dir.remove_all(&tmp)?;
        let mut file = self.dir.create_file(&tmp, Mode::from_raw_mode(0o644))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        self.dir.rename(&tmp, Path::new(dir).join(name))?;
        let dir = self.dir.open_dir(dir)?;
        entry::fsync(entry::reopen_dir(dir)?)
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
            .and_then(|text| self.replace(".", CATALOG, &text))
            .step("write the names of images")
    }

    /// Stores a document, flushed. Returns its digest.
    pub(crate) fn put(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = sha256(bytes);
        if !self.dir.exists(format!("{BLOBS}/{}", digest.hex())) {
            self.replace(BLOBS, digest.hex(), bytes).step("write a document")?;
        }
        Ok(digest)
    }

    /// A document, checked against its digest.
    pub(crate) fn get(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        let path = format!("{BLOBS}/{}", digest.hex());
        let bytes = self.dir.read(&path, limit).step("read a document")?;
        if sha256(&bytes) != *digest {
            let reason = "its content has another digest".to_owned();
            return Err(Error::DamagedRecord { file: format!("content/{path}"), reason });
        }
        Ok(bytes)
    }

    /// Removes documents that no image needs.
    pub(crate) fn retain(&self, catalog: &Catalog) -> Result<()> {
        for found in self.dir.read_dir(BLOBS).step("list content")? {
            let digest = found.name.to_str().and_then(|hex| Digest::from_sha256_hex(hex).ok());
            if let Some(digest) = digest
                && !catalog.images.contains_key(&digest)
            {
                self.remove(&digest)?;
            }
        }
        Ok(())
    }

    /// Removes a document; fine when it is not there.
    pub(crate) fn remove(&self, digest: &Digest) -> Result<()> {
        self.dir.remove_all(format!("{BLOBS}/{}", digest.hex())).step("remove a document")
    }
}
