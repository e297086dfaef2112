//! What clients send to the registry.

/// Paths, queries and ranges of requests: no name leaves its directory, no range leaves its blob.
pub fn registry_request(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        registry::fuzzing::request(text);
    }
}

/// A manifest that somebody pushes.
pub fn registry_manifest(bytes: &[u8]) {
    registry::fuzzing::manifest(bytes);
}

/// What to begin with.
pub mod seeds {
    use crate::texts;

    /// Every route, pages and ranges, names that want out.
    pub fn registry_request() -> Vec<Vec<u8>> {
        let digest = testkit::image::digest(b"blob");
        let mut seeds = texts(&[
            "/v2/",
            "/v2/a/b/tags/list?n=2&last=x",
            "/v2/_catalog?n=100",
            "/v2/a/blobs/uploads/?mount=sha256:00&from=b",
            "/v2/a/blobs/uploads/0123?digest=sha256%3A00\n0-4",
            "/v2/a/manifests/latest",
            "/v2/../../etc/blobs/x",
            "/v2/%2e%2e/a/manifests/x?n=-1",
            "/metrics",
        ]);
        seeds.push(format!("/v2/a/blobs/{digest}?\nbytes=0-9").into_bytes());
        seeds.push(format!("/v2/a/blobs/{digest}?\nbytes=-5").into_bytes());
        seeds.push(format!("/v2/a/blobs/{digest}?\nbytes=95-").into_bytes());
        seeds.push(format!("/v2/a/referrers/{digest}?artifactType=a/b").into_bytes());
        seeds.push(format!("/v2/a/manifests/{digest}?ns=docker.io").into_bytes());
        seeds
    }

    /// Those that a client may be served, without what they would be served as.
    pub fn registry_manifest() -> Vec<Vec<u8>> {
        crate::distribution::seeds::manifest().iter().map(|seed| seed[1..].to_vec()).collect()
    }
}
