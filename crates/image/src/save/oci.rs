//! Images as an OCI image layout, every blob as a registry has it.
//!
//! An image that was pulled goes out by the manifest and the blobs that it came by, so that no
//! digest changes. Any other goes out with the blobs that a push would send, by an OCI manifest that
//! is the same every time. `manifest.json` is written as well, for engines that read no layouts.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Write};
use std::sync::Arc;

use manifest::{Descriptor, ImageManifest, media_type};
use serde_json::json;
use types::digest::Digest;
use types::reference::Reference;

use super::{DockerManifest, INDEX_TYPE, Outgoing, descriptors};
use crate::error::{Error, Result, Step};
use crate::ingest::Document;
use crate::layer::Form;
use crate::publish::Pushable;
use crate::store::Store;
use crate::stream::{Compression, HashingWriter};
use crate::tarball::{Header, TarWriter};

/// An archive being written.
struct Layout<'a> {
    tar: TarWriter<&'a mut dyn Write>,
    written: HashSet<Digest>,
}

impl Store {
    /// Writes images as an OCI image layout: with the digests that they have in the registry that
    /// they came from, or with blobs as they would be pushed to one. Names are taken as by [`Store::save`].
    ///
    /// # Errors
    /// As [`Store::save`]; [`Error::DamagedRecord`] when a blob is not what its digest says.
    pub fn save_oci(self: &Arc<Self>, names: &[String], output: &mut dyn Write) -> Result<()> {
        let (images, _hold) = self.outgoing(names)?;
        let mut layout = Layout { tar: TarWriter::new(output), written: HashSet::new() };
        let (mut index, mut docker) = (Vec::new(), Vec::new());
        for dir in ["blobs/", "blobs/sha256/"] {
            layout.tar.directory(dir, 0).map_err(Error::Output)?;
        }
        for image in &images {
            let outgoing = self.pushable(&image.id)?;
            let (manifest, layers) = layout.image(&outgoing)?;
            let digest = manifest.digest();
            layout.document(&digest, &manifest.bytes)?;
            let mut described = descriptors(image, &digest, manifest.bytes.len());
            for descriptor in &mut described {
                descriptor["mediaType"] = json!(manifest.media_type);
            }
            index.extend(described);
            docker.push(docker_manifest(image, &layers));
        }
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": index });
        for (name, text) in [
            ("index.json", index.to_string()),
            ("manifest.json", json!(docker).to_string()),
            ("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#.to_owned()),
        ] {
            layout.tar.file(name, text.as_bytes(), 0).map_err(Error::Output)?;
        }
        layout.tar.end().map_err(Error::Output)
    }
}

fn docker_manifest(image: &Outgoing, layers: &[Digest]) -> DockerManifest {
    let tags: Vec<String> = image.names.iter().map(Reference::familiar).collect();
    DockerManifest {
        config: path(&image.id),
        repo_tags: (!tags.is_empty()).then_some(tags),
        layers: layers.iter().map(path).collect(),
        parent: None,
    }
}

/// A manifest in OCI's spelling: engines that keep images in that alone would make another image of
/// one in Docker's.
fn composed(outgoing: &Pushable, forms: &[Form]) -> Document {
    let layer =
        |form: &Form| Descriptor::new(media_type::OCI_LAYER_GZIP, form.digest.clone(), form.size);
    let mut config = outgoing.config_descriptor();
    config.media_type = media_type::OCI_CONFIG.to_owned();
    let manifest = ImageManifest::oci(config, forms.iter().map(layer).collect());
    Document { media_type: media_type::OCI_MANIFEST.to_owned(), bytes: manifest.to_bytes() }
}

impl Layout<'_> {
    /// Writes an image's configuration and layers; returns its manifest and the layers' blobs.
    fn image(&mut self, outgoing: &Pushable) -> Result<(Document, Vec<Digest>)> {
        self.document(&outgoing.id, &outgoing.config)?;
        let mut layers = Vec::with_capacity(outgoing.layers.len());
        if let Some(manifest) = &outgoing.manifest
            && outgoing.layers.iter().all(|layer| layer.blob)
        {
            for layer in outgoing.layers.iter().filter_map(|layer| layer.descriptor.as_ref()) {
                let open = || outgoing.open_blob(&layer.digest);
                self.blob(&layer.digest, layer.size, &open)?;
                layers.push(layer.digest.clone());
            }
            return Ok((manifest.clone(), layers));
        }
        let mut forms = Vec::with_capacity(outgoing.layers.len());
        for layer in &outgoing.layers {
            let made = outgoing.layer_blob(layer, Compression::Gzip, &mut |_| {})?;
            self.blob(&made.form.digest, made.form.size, &|| made.open())?;
            layers.push(made.form.digest.clone());
            forms.push(made.form);
        }
        Ok((composed(outgoing, &forms), layers))
    }

    fn document(&mut self, digest: &Digest, text: &[u8]) -> Result<()> {
        if self.written.insert(digest.clone()) {
            self.tar.file(&path(digest), text, 0).map_err(Error::Output)?;
        }
        Ok(())
    }

    /// Writes a blob once, checking it on the way.
    fn blob(&mut self, digest: &Digest, size: u64, open: &dyn Fn() -> Result<File>) -> Result<()> {
        if !self.written.insert(digest.clone()) {
            return Ok(());
        }
        let damaged = |reason: &str| Error::DamagedRecord {
            file: format!("content/{}", path(digest)),
            reason: reason.to_owned(),
        };
        let mut file = open()?;
        if file.metadata().step("read a blob")?.len() != size {
            return Err(damaged("it has another size"));
        }
        let name = path(digest);
        let header = Header { name: name.as_bytes(), size, ..Header::default() };
        self.tar.header(&header).map_err(Error::Output)?;
        let mut hashing = HashingWriter::new(self.tar.output());
        let mut buffer = vec![0; 256 << 10];
        let mut left = size;
        while left > 0 {
            let n = file.read(&mut buffer).step("read a blob")?;
            if n == 0 || n as u64 > left {
                return Err(damaged("its size has changed"));
            }
            hashing.write_all(&buffer[..n]).map_err(Error::Output)?;
            left -= n as u64;
        }
        let found = hashing.finish();
        if digest.algorithm() == "sha256" && found != *digest {
            return Err(damaged("its content has another digest"));
        }
        self.tar.pad(size).map_err(Error::Output)
    }
}

fn path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

#[cfg(test)]
mod tests;
