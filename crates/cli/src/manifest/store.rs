//! Lists that are being made.
//!
//! ```text
//! ~/.docker/manifests/
//!   docker.io_library_app-latest/          a list
//!     docker.io_library_app-arm64          an image of it
//! ```

use std::fs;
use std::io;
use std::path::PathBuf;

use anyhow::Context as _;
use base64::Engine as _;
use distribution::manifest::{Descriptor, Document, Limits};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use types::reference::Reference;

use crate::config::write_whole;
use crate::session::Session;

/// An image of a list, as Docker's client writes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Its name in full.
    #[serde(rename = "Ref")]
    pub(super) name: Reference,
    /// Its manifest's digest, size and platform.
    #[serde(rename = "Descriptor")]
    pub(super) descriptor: Descriptor,
    /// The manifest as it came, in base64.
    #[serde(rename = "Raw", default)]
    raw: Option<String>,
    /// The manifest, if it is Docker's.
    #[serde(rename = "SchemaV2Manifest", default, skip_serializing_if = "Option::is_none")]
    docker: Option<Value>,
    /// The manifest, if it is OCI's.
    #[serde(rename = "OCIManifest", default, skip_serializing_if = "Option::is_none")]
    oci: Option<Value>,
}

impl Entry {
    pub(super) fn new(
        name: Reference,
        descriptor: Descriptor,
        bytes: &[u8],
    ) -> anyhow::Result<Self> {
        let manifest: Value = serde_json::from_slice(bytes)?;
        let is_docker = descriptor.media_type.contains(".docker.");
        let (docker, oci) = if is_docker { (Some(manifest), None) } else { (None, Some(manifest)) };
        let raw = Some(base64::engine::general_purpose::STANDARD.encode(bytes));
        Ok(Self { name, descriptor, raw, docker, oci })
    }

    /// The manifest as it came.
    pub(super) fn bytes(&self) -> anyhow::Result<Vec<u8>> {
        let raw = self.raw.as_deref().with_context(|| {
            format!("{}: kept without its manifest by an older client; add it again", self.name)
        })?;
        Ok(base64::engine::general_purpose::STANDARD.decode(raw)?)
    }

    /// The manifest.
    pub(super) fn document(&self) -> anyhow::Result<Document> {
        let document =
            Document::parse(&self.descriptor.media_type, &self.bytes()?, &Limits::default());
        Ok(document?)
    }
}

/// All lists.
pub(super) struct Store(PathBuf);

/// A name that is one component of a path.
fn file_name(reference: &Reference) -> String {
    reference.to_string().replace(':', "-").replace('/', "_")
}

impl Store {
    pub(super) fn of(session: &Session) -> Self {
        Self(session.directory.join("manifests"))
    }

    fn directory(&self, list: &Reference) -> PathBuf {
        self.0.join(file_name(list))
    }

    /// The images of a list, in the order of their names; `None` when there is no such list.
    pub(super) fn list(&self, list: &Reference) -> anyhow::Result<Option<Vec<Entry>>> {
        let directory = self.directory(list);
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.with_context(|| directory.display().to_string())?,
        };
        let mut paths: Vec<PathBuf> =
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?;
        paths.retain(|path| path.extension().is_none_or(|end| end != "tmp"));
        paths.sort();
        let read = |path: &PathBuf| -> anyhow::Result<Entry> {
            let text = fs::read(path).with_context(|| path.display().to_string())?;
            serde_json::from_slice(&text)
                .with_context(|| format!("{} is no manifest", path.display()))
        };
        Ok(Some(paths.iter().map(read).collect::<anyhow::Result<_>>()?))
    }

    /// An image of a list.
    pub(super) fn get(&self, list: &Reference, name: &Reference) -> anyhow::Result<Option<Entry>> {
        let entries = self.list(list)?.unwrap_or_default();
        Ok(entries.into_iter().find(|entry| entry.name == *name))
    }

    /// Adds an image to a list, or changes it.
    pub(super) fn save(&self, list: &Reference, entry: &Entry) -> anyhow::Result<()> {
        let directory = self.directory(list);
        fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
        write_whole(&directory.join(file_name(&entry.name)), &serde_json::to_vec(entry)?)
    }

    /// Forgets a list; `false` when there is none.
    pub(super) fn remove(&self, list: &Reference) -> anyhow::Result<bool> {
        let directory = self.directory(list);
        match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            other => other.map(|()| true).with_context(|| directory.display().to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::digest::Digest;

    #[test]
    fn lists_are_kept_as_dockers_client_keeps_them() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store(directory.path().to_owned());
        let list = Reference::parse("reg:5000/app:1").expect("a name");
        assert!(store.list(&list).expect("read").is_none());
        let bytes = br#"{"schemaVersion":2,"layers":[]}"#;
        let media = "application/vnd.docker.distribution.manifest.v2+json";
        let digest = Digest::from_sha256([7; 32]);
        for name in ["reg:5000/app:b", "reg:5000/app:a"] {
            let name = Reference::parse(name).expect("a name");
            let descriptor = Descriptor::new(media, digest.clone(), bytes.len() as u64);
            let entry = Entry::new(name, descriptor, bytes).expect("an entry");
            store.save(&list, &entry).expect("saved");
        }
        let entries = store.list(&list).expect("read").expect("there");
        let names: Vec<String> = entries.iter().map(|entry| entry.name.to_string()).collect();
        assert_eq!(names, ["reg:5000/app:a", "reg:5000/app:b"]);
        assert_eq!(entries[0].bytes().expect("kept"), bytes);
        let path = directory.path().join("reg-5000_app-1/reg-5000_app-a");
        let text: Value = serde_json::from_slice(&fs::read(path).expect("read")).expect("JSON");
        assert_eq!(text["Ref"], "reg:5000/app:a");
        assert_eq!(text["Descriptor"]["mediaType"], media);
        assert_eq!(text["SchemaV2Manifest"]["schemaVersion"], 2);
        assert!(store.remove(&list).expect("removed") && !store.remove(&list).expect("gone"));
    }
}
