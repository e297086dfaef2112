//! Blobs and manifests, and how they get into a registry.

use super::Server;
use crate::http::Response;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// An OCI image manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// An OCI index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Docker's manifest of version 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's list of manifests.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// An `Accept` header with all kinds of manifests.
pub const ACCEPTED: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";
/// An OCI layer.
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// An OCI configuration.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Docker's layer.
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
/// Docker's configuration.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// `sha256:…`
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    let sum = Sha256::digest(bytes);
    format!("sha256:{}", sum.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// Bytes that look random and are the same each time.
#[must_use]
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// What a manifest says about content.
#[must_use]
pub fn descriptor(kind: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": kind, "digest": digest(bytes), "size": bytes.len() })
}

/// A manifest over a configuration and layers.
#[must_use]
pub fn manifest(config: &[u8], layers: &[&[u8]]) -> Value {
    let layers: Vec<Value> = layers.iter().map(|layer| descriptor(LAYER, layer)).collect();
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(CONFIG, config),
        "layers": layers,
    })
}

impl Server {
    /// Begins an upload; gives the path where it goes on.
    #[track_caller]
    pub fn begin(&self, name: &str) -> String {
        let answer = self.request("POST", &format!("/v2/{name}/blobs/uploads/"), &[], &[]);
        let answer = answer.expect(202);
        location(&answer)
    }

    /// Uploads a blob in one piece.
    #[track_caller]
    pub fn push_blob(&self, name: &str, bytes: &[u8]) -> String {
        let digest = digest(bytes);
        let place = with(&self.begin(name), &format!("digest={digest}"));
        let headers = [("Content-Type", "application/octet-stream")];
        let _ = self.request("PUT", &place, &headers, bytes).expect(201);
        digest
    }

    /// Puts a manifest under a tag or its digest.
    pub fn put(&self, name: &str, reference: &str, kind: &str, bytes: &[u8]) -> Response {
        let path = format!("/v2/{name}/manifests/{reference}");
        self.request("PUT", &path, &[("Content-Type", kind)], bytes)
    }

    /// Uploads an image of one layer and tags it; gives the manifest's bytes.
    #[track_caller]
    pub fn push_image(&self, name: &str, tag: &str, layer: &[u8]) -> Vec<u8> {
        let config = json!({ "architecture": "amd64", "os": "linux", "for": tag }).to_string();
        self.push_blob(name, config.as_bytes());
        self.push_blob(name, layer);
        let bytes = manifest(config.as_bytes(), &[layer]).to_string().into_bytes();
        let _ = self.put(name, tag, MANIFEST, &bytes).expect(201);
        bytes
    }

    /// Whether a blob is there.
    #[must_use]
    pub fn has_blob(&self, name: &str, digest: &str) -> bool {
        match self.head(&format!("/v2/{name}/blobs/{digest}")).status {
            200 => true,
            404 => false,
            other => panic!("HEAD of a blob: {other}"),
        }
    }
}

/// The path (and query) that a `Location` header leads to.
#[track_caller]
#[must_use]
pub fn location(answer: &Response) -> String {
    let location = answer.header("location");
    let location = location.unwrap_or_else(|| panic!("{}: no Location", answer.asked));
    match location.split_once("://") {
        None => location.to_owned(),
        Some((_, rest)) => {
            let (_, path) = rest.split_once('/').unwrap_or((rest, ""));
            format!("/{path}")
        }
    }
}

/// A path with one more parameter.
#[must_use]
pub fn with(path: &str, parameter: &str) -> String {
    let separator = if path.contains('?') { '&' } else { '?' };
    format!("{path}{separator}{parameter}")
}

/// The codes of an answer's errors.
#[track_caller]
#[must_use]
pub fn codes(answer: &Response) -> Vec<String> {
    let document = answer.json();
    let errors = document["errors"].as_array().cloned().unwrap_or_default();
    assert!(!errors.is_empty(), "{}: no errors in {}", answer.asked, answer.text());
    let code = |error: &Value| error["code"].as_str().unwrap_or_default().to_owned();
    errors.iter().map(code).collect()
}
