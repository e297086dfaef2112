//! Writing images as an archive that is an OCI image layout and a Docker archive at once, as Docker
//! 25 and later write it: dockerd of any age, podman, skopeo and containerd read it.
//!
//! Layers go in uncompressed, so that a blob's digest is the layer's diff id.

mod oci;

use std::collections::BTreeMap;
use std::io::Write;

use serde::Serialize;
use serde_json::json;
use types::digest::Digest;
use types::reference::Reference;

use crate::error::{Error, Result};
use crate::store::{Hold, Store};
use crate::stream::sha256;
use crate::tarball::{Header, TarWriter};

const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";
const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";

/// An image on its way out.
struct Outgoing {
    id: Digest,
    config: Vec<u8>,
    layers: Vec<Digest>,
    parent: Option<Digest>,
    names: Vec<Reference>,
    platform: serde_json::Value,
    created: i64,
}

/// An entry of `manifest.json`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerManifest {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<Digest>,
}

impl Store {
    /// Writes images. A repository without a tag stands for all its tags; an id for the image
    /// without a name.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`] and the like before anything is written; [`Error::DamagedLayer`],
    /// [`Error::Output`].
    pub fn save(&self, names: &[String], output: &mut dyn Write) -> Result<()> {
        let (images, _hold) = self.outgoing(names)?;
        let mut tar = TarWriter::new(output);
        let mut index = Vec::new();
        let mut docker = Vec::new();
        let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        let mut written = std::collections::HashSet::new();
        let ids: Vec<Digest> = images.iter().map(|image| image.id.clone()).collect();
        tar.directory("blobs/", 0).map_err(Error::Output)?;
        tar.directory("blobs/sha256/", 0).map_err(Error::Output)?;
        for image in &images {
            for layer in &image.layers {
                if written.insert(layer.clone()) {
                    self.layer_blob(layer, &mut tar)?;
                }
            }
            let manifest = self.manifest(image)?;
            let digest = sha256(&manifest);
            for (digest, text) in [(&image.id, &image.config), (&digest, &manifest)] {
                if written.insert(digest.clone()) {
                    tar.file(&blob(digest), text, image.created).map_err(Error::Output)?;
                }
            }
            index.extend(descriptors(image, &digest, manifest.len()));
            for name in &image.names {
                let top = image.layers.last().unwrap_or(&image.id);
                let tags = repositories.entry(name.familiar_name()).or_default();
                tags.insert(name.tag().unwrap_or_default().to_owned(), top.hex().to_owned());
            }
            let tags: Vec<String> = image.names.iter().map(Reference::familiar).collect();
            docker.push(DockerManifest {
                config: blob(&image.id),
                repo_tags: (!tags.is_empty()).then_some(tags),
                layers: image.layers.iter().map(blob).collect(),
                parent: image.parent.clone().filter(|parent| ids.contains(parent)),
            });
        }
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": index });
        let mut documents = vec![
            ("index.json", index.to_string()),
            ("manifest.json", json!(docker).to_string()),
            ("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#.to_owned()),
        ];
        if !repositories.is_empty() {
            documents.push(("repositories", json!(repositories).to_string()));
        }
        for (name, text) in documents {
            tar.file(name, text.as_bytes(), 0).map_err(Error::Output)?;
        }
        tar.end().map_err(Error::Output)
    }

    /// Looks the images up and keeps their layers.
    fn outgoing(&self, names: &[String]) -> Result<(Vec<Outgoing>, Hold<'_>)> {
        let mut chosen: Vec<(Digest, Vec<Reference>)> = Vec::new();
        for text in names {
            for (id, name) in self.chosen(text)? {
                let at = chosen.iter().position(|(found, _)| *found == id);
                let at = at.unwrap_or_else(|| {
                    chosen.push((id, Vec::new()));
                    chosen.len() - 1
                });
                if let Some(name) = name
                    && !chosen[at].1.contains(&name)
                {
                    chosen[at].1.push(name);
                }
            }
        }
        let mut images = Vec::with_capacity(chosen.len());
        for (id, names) in chosen {
            let config = self.config(&id)?;
            let text = self.config_text(&id)?;
            let state = self.state();
            let record = state.catalog.images.get(&id);
            let record = record.ok_or_else(|| Error::NoSuchImage(id.to_string()))?;
            images.push(Outgoing {
                config: text,
                layers: record.layers.clone(),
                parent: record.parent.clone(),
                names,
                platform: json!({ "architecture": config.architecture, "os": config.os }),
                created: config.created.map_or(0, types::Timestamp::seconds),
                id,
            });
        }
        let hold = self.hold(images.iter().flat_map(|image| image.layers.iter().cloned()));
        Ok((images, hold))
    }

    /// Ids of the images that `text` stands for when they are saved: an image, or all the tags of a
    /// name without one.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], [`Error::AmbiguousId`].
    pub fn saved_for(&self, text: &str) -> Result<Vec<Digest>> {
        let mut ids: Vec<Digest> = self.chosen(text)?.into_iter().map(|(id, _)| id).collect();
        ids.sort();
        ids.dedup();
        Ok(ids)
    }

    /// What one argument stands for.
    fn chosen(&self, text: &str) -> Result<Vec<(Digest, Option<Reference>)>> {
        let state = self.state();
        let catalog = &state.catalog;
        let name = Reference::parse(text).ok();
        if let Some(name) = &name
            && name.is_name_only()
        {
            let whole = name.name();
            let tags: Vec<_> = catalog
                .names
                .iter()
                .filter(|(found, _)| found.name() == whole && found.digest().is_none())
                .map(|(found, id)| (id.clone(), Some(found.clone())))
                .collect();
            if !tags.is_empty() {
                return Ok(tags);
            }
        }
        let id = catalog.resolve(text)?;
        let name = name.filter(|name| name.tag().is_some() && name.digest().is_none());
        Ok(vec![(id.clone(), name.filter(|name| catalog.named(name) == Some(&id)))])
    }

    fn layer_blob(&self, layer: &Digest, tar: &mut TarWriter<&mut dyn Write>) -> Result<()> {
        let meta = self.layer(layer).ok_or_else(|| Error::MissingLayer(layer.clone()))?;
        let name = blob(layer);
        let header = Header { name: name.as_bytes(), size: meta.tar_size, ..Header::default() };
        tar.header(&header).map_err(Error::Output)?;
        self.layers.reproduce(&meta, tar.output())?;
        tar.pad(meta.tar_size).map_err(Error::Output)
    }

    fn manifest(&self, image: &Outgoing) -> Result<Vec<u8>> {
        let mut layers = Vec::with_capacity(image.layers.len());
        for layer in &image.layers {
            let meta = self.layer(layer).ok_or_else(|| Error::MissingLayer(layer.clone()))?;
            layers.push(json!({ "mediaType": LAYER_TYPE, "digest": layer, "size": meta.tar_size }));
        }
        let config =
            json!({ "mediaType": CONFIG_TYPE, "digest": image.id, "size": image.config.len() });
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config, "layers": layers,
        });
        Ok(manifest.to_string().into_bytes())
    }
}

/// The image's lines in `index.json`: one a name, or one without.
fn descriptors(image: &Outgoing, digest: &Digest, size: usize) -> Vec<serde_json::Value> {
    let bare = json!({
        "mediaType": MANIFEST_TYPE, "digest": digest, "size": size, "platform": image.platform,
    });
    if image.names.is_empty() {
        return vec![bare];
    }
    let named = image.names.iter().map(|name| {
        let mut descriptor = bare.clone();
        descriptor["annotations"] = json!({
            "io.containerd.image.name": name.to_string(),
            "org.opencontainers.image.ref.name": name.tag().unwrap_or_default(),
        });
        descriptor
    });
    named.collect()
}

fn blob(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
