//! Which images an archive's content makes up. No I/O.

use std::collections::HashSet;

use types::digest::Digest;
use types::reference::Reference;

use super::archive::Content;
use super::documents::{Descriptor, DockerManifest, OciDocument};
use crate::config::ImageConfig;
use crate::error::{Error, Result};
use crate::platform::Platform;
use crate::store::Options;
use crate::stream::sha256;

/// Indexes may point to indexes, but not for ever.
const MAX_NESTING: usize = 8;

/// An image that is complete and consistent.
pub(super) struct Incoming {
    /// Its configuration document.
    pub(super) config: Vec<u8>,
    /// Its layers, bottom first.
    pub(super) layers: Vec<Digest>,
    /// The image it was made from, if that is in the archive.
    pub(super) parent: Option<Digest>,
    /// Names that it gets.
    pub(super) names: Vec<Reference>,
}

/// Finds all images of an archive.
pub(super) fn images(
    content: &Content,
    platform: &Platform,
    limits: &Options,
) -> Result<Vec<Incoming>> {
    let images = if let Some(text) = content.documents.get("manifest.json") {
        docker(content, text, limits)?
    } else if let Some(text) = content.documents.get("index.json") {
        oci(content, text, platform, limits)?
    } else {
        return Err(Error::BadArchive(
            "it has neither manifest.json nor index.json; was it made by `docker save`? For the \
             tar of a file system use `import`"
                .into(),
        ));
    };
    if images.is_empty() {
        return Err(Error::BadArchive("it has no image".into()));
    }
    Ok(images)
}

fn docker(content: &Content, text: &[u8], limits: &Options) -> Result<Vec<Incoming>> {
    let manifests: Vec<DockerManifest> = serde_json::from_slice(text)
        .map_err(|error| Error::BadArchive(format!("manifest.json: {error}")))?;
    let mut out: Vec<Incoming> = Vec::with_capacity(manifests.len());
    for manifest in manifests {
        let path = clean(&manifest.config);
        let config = content.documents.get(content.follow(&path));
        let config = config.ok_or_else(|| missing(&manifest.config))?;
        // Old archives name the document after its digest.
        if let Ok(expected) = Digest::from_sha256_hex(path.strip_suffix(".json").unwrap_or(&path)) {
            let found = sha256(config);
            if expected != found {
                return Err(Error::WrongDigest { what: path, expected, found });
            }
        }
        let mut layers = Vec::with_capacity(manifest.layers.len());
        for path in &manifest.layers {
            layers.push(layer(content, &clean(path))?);
        }
        let mut names = Vec::with_capacity(manifest.repo_tags.len());
        for tag in &manifest.repo_tags {
            let name = Reference::parse(tag)?;
            if name.tag().is_none() || name.digest().is_some() {
                return Err(Error::BadArchive(format!("invalid tag {tag:?}")));
            }
            names.push(name);
        }
        let parent = manifest.parent.and_then(|parent| parent.parse().ok());
        let parent = parent
            .filter(|parent| out.iter().any(|image: &Incoming| sha256(&image.config) == *parent));
        out.push(checked(config.clone(), layers, parent, names, limits)?);
    }
    Ok(out)
}

fn oci(
    content: &Content,
    text: &[u8],
    platform: &Platform,
    limits: &Options,
) -> Result<Vec<Incoming>> {
    let index = document("index.json", text)?;
    let mut out: Vec<Incoming> = Vec::new();
    let mut barren = HashSet::new();
    for descriptor in &index.manifests {
        let found = choose(content, descriptor, platform, 0, &mut barren)?;
        let Some(found) = found else { continue };
        let names = names(descriptor)?;
        let (config, layers) = manifest(content, &found)?;
        // Several names of one image are several descriptors.
        if let Some(same) = out.iter_mut().find(|image| image.config == config) {
            same.names.extend(names);
            continue;
        }
        out.push(checked(config, layers, None, names, limits)?);
    }
    if out.is_empty() && !index.manifests.is_empty() {
        let Platform { os, architecture, .. } = platform;
        return Err(Error::BadArchive(format!("it has no image for {os}/{architecture}")));
    }
    Ok(out)
}

/// The image manifest that a descriptor stands for: itself, or one of an index. `barren` are the
/// indexes that have been searched in vain: a few small indexes that list each other many times
/// would be walked for ever.
fn choose<'a>(
    content: &'a Content,
    descriptor: &Descriptor,
    platform: &Platform,
    depth: usize,
    barren: &mut HashSet<&'a str>,
) -> Result<Option<OciDocument>> {
    if depth > MAX_NESTING {
        return Err(Error::BadArchive("its indexes are nested too deeply".into()));
    }
    if let Some(found) = &descriptor.platform {
        let other = Platform {
            os: found.os.clone(),
            architecture: found.architecture.clone(),
            variant: found.variant.clone(),
        };
        // Attestations are filed under the platform unknown/unknown.
        if !other.os.is_empty()
            && !platform.takes(&other)
            && depth + usize::from(other.os == "unknown") > 0
        {
            return Ok(None);
        }
    }
    let path = format!("blobs/sha256/{}", descriptor.digest.hex());
    let Some((path, text)) = content.documents.get_key_value(&path) else {
        // An index may list platforms whose content is not in the archive.
        return if depth > 0 { Ok(None) } else { Err(missing(&path)) };
    };
    if barren.contains(path.as_str()) {
        return Ok(None);
    }
    let found = document(path, text)?;
    if found.config.is_some() {
        return Ok(Some(found));
    }
    for inner in &found.manifests {
        if let Some(found) = choose(content, inner, platform, depth + 1, barren)? {
            return Ok(Some(found));
        }
    }
    barren.insert(path);
    Ok(None)
}

/// The configuration and layers of an image manifest.
fn manifest(content: &Content, manifest: &OciDocument) -> Result<(Vec<u8>, Vec<Digest>)> {
    let Some(config) = &manifest.config else {
        return Err(Error::BadArchive("a manifest without a configuration".into()));
    };
    let path = format!("blobs/sha256/{}", config.digest.hex());
    let text = content.documents.get(&path).ok_or_else(|| missing(&path))?;
    let mut layers = Vec::with_capacity(manifest.layers.len());
    for descriptor in &manifest.layers {
        if !descriptor.media_type.contains("layer") && !descriptor.media_type.contains("rootfs") {
            let kind = &descriptor.media_type;
            return Err(Error::BadArchive(format!("a layer of the unknown type {kind:?}")));
        }
        layers.push(layer(content, &format!("blobs/sha256/{}", descriptor.digest.hex()))?);
    }
    Ok((text.clone(), layers))
}

/// The names that a descriptor's annotations give.
fn names(descriptor: &Descriptor) -> Result<Vec<Reference>> {
    if let Some(name) = descriptor.annotations.get("io.containerd.image.name") {
        let name = Reference::parse(name)?;
        return Ok(if name.digest().is_some() { Vec::new() } else { vec![name.or_latest()] });
    }
    // Only a whole name is one; a bare tag (`latest`) names nothing by itself.
    match descriptor.annotations.get("org.opencontainers.image.ref.name") {
        Some(name) if name.contains([':', '/']) => Ok(Reference::parse(name)
            .ok()
            .filter(|n| n.digest().is_none())
            .into_iter()
            .map(Reference::or_latest)
            .collect()),
        _ => Ok(Vec::new()),
    }
}

fn layer(content: &Content, path: &str) -> Result<Digest> {
    let path = content.follow(path);
    if let Some(layer) = content.layers.get(path) {
        return Ok(layer.clone());
    }
    match content.broken.get(path) {
        Some(reason) => Err(Error::BadArchive(format!("layer {path}: {reason}"))),
        None if content.documents.contains_key(path) => {
            Err(Error::BadArchive(format!("layer {path}: it is no tar")))
        }
        None => Err(missing(path)),
    }
}

/// Compares the layers with what the configuration says.
fn checked(
    config: Vec<u8>,
    layers: Vec<Digest>,
    parent: Option<Digest>,
    names: Vec<Reference>,
    limits: &Options,
) -> Result<Incoming> {
    let parsed: ImageConfig =
        serde_json::from_slice(&config).map_err(|error| Error::BadConfig(error.to_string()))?;
    let expected = &parsed.rootfs.diff_ids;
    if expected.len() != layers.len() {
        return Err(Error::BadArchive(format!(
            "invalid manifest, layers length mismatch: expected {}, got {}",
            expected.len(),
            layers.len()
        )));
    }
    if layers.len() > limits.max_layers {
        let limit = limits.max_layers as u64;
        return Err(Error::TooLarge { what: "the number of an image's layers", limit });
    }
    for (at, (expected, found)) in expected.iter().zip(&layers).enumerate() {
        if expected != found {
            let what = format!("layer {at}");
            return Err(Error::WrongDigest {
                what,
                expected: expected.clone(),
                found: found.clone(),
            });
        }
    }
    Ok(Incoming { config, layers, parent, names })
}

fn document(path: &str, text: &[u8]) -> Result<OciDocument> {
    serde_json::from_slice(text).map_err(|error| Error::BadArchive(format!("{path}: {error}")))
}

fn missing(path: &str) -> Error {
    Error::BadArchive(format!("it lacks {path}"))
}

fn clean(path: &str) -> String {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").collect::<Vec<_>>().join("/")
}
