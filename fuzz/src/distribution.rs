//! What registries send, and what people call images.

use distribution::challenge::parse;
use distribution::manifest::{Document, Limits, Platform, choose, media_type};
use types::reference::Reference;

/// Reads a `WWW-Authenticate`: it ends, and keeps no more than it should.
///
/// # Panics
/// When that is not so.
pub fn challenge(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let found = parse(text);
    assert!(found.len() <= 32);
    for challenge in &found {
        assert!(!challenge.scheme.is_empty());
        assert!(challenge.parameters.len() <= 32);
        for (name, _) in &challenge.parameters {
            assert!(challenge.parameter(name).is_some());
            assert_eq!(*name, name.to_ascii_lowercase());
        }
    }
}

/// Reads a manifest or an index, served as what the first byte says: what is accepted stays within
/// the limits, and means the same when it is written out and read again.
///
/// # Panics
/// When that is not so.
pub fn manifest(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let served = match kind % 4 {
        0 => "",
        1 => media_type::OCI_MANIFEST,
        2 => media_type::OCI_INDEX,
        _ => media_type::DOCKER_LIST,
    };
    let limits = Limits { bytes: 1 << 16, layers: 16, manifests: 16 };
    let Ok(document) = Document::parse(served, bytes, &limits) else { return };
    assert!(bytes.len() <= limits.bytes);
    assert!(document.parts().count() <= 17);
    let written = match &document {
        Document::Manifest(manifest) => manifest.to_bytes(),
        Document::Index(index) => {
            for wanted in ["linux/amd64", "linux/arm64", "linux/arm/v6"] {
                let wanted: Platform = wanted.parse().expect("a platform");
                if let Some(chosen) = choose(index, &wanted) {
                    assert!(index.manifests.contains(chosen));
                }
            }
            index.to_bytes()
        }
    };
    let limits = Limits { bytes: written.len(), ..limits };
    let again = Document::parse(served, &written, &limits).expect("what was written is read");
    assert_eq!(again, document);
}

/// Reads an image reference: what is accepted means the same when it is written out and read again.
///
/// # Panics
/// When that is not so.
pub fn reference(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(reference) = Reference::parse(text) {
        assert_eq!(Reference::parse(&reference.to_string()).as_ref(), Ok(&reference));
        assert_eq!(Reference::parse(&reference.familiar()).as_ref(), Ok(&reference));
    }
}

/// What to begin with.
pub mod seeds {
    use crate::texts;

    /// Of registries that want a token, a password, or both.
    pub fn challenge() -> Vec<Vec<u8>> {
        texts(&[
            r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push""#,
            r#"Basic realm="Registry Realm""#,
            r#"Digest realm="a, b", nonce=abc==, Basic realm=plain,Negotiate"#,
            r#"Bearer realm="quo\"ted \\ back",error="insufficient_scope""#,
            "Basic",
            "NTLM abc=, , Bearer",
        ])
    }

    /// Documents of either kind, each as what it is and as what it is not.
    pub fn manifest() -> Vec<Vec<u8>> {
        let image = testkit::image::digest(b"config");
        let layer = testkit::image::digest(b"layer");
        let documents = [
            format!(
                r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{image}","size":6}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{layer}","size":5}}],"annotations":{{"a":"b"}}}}"#
            ),
            format!(
                r#"{{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{{"mediaType":"application/vnd.docker.container.image.v1+json","digest":"{image}","size":6}},"layers":[{{"mediaType":"application/vnd.docker.image.rootfs.diff.tar.gzip","digest":"{layer}","size":5,"urls":["https://example/x"]}}]}}"#
            ),
            format!(
                r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{image}","size":6,"platform":{{"architecture":"arm","os":"linux","variant":"v7"}}}},{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{layer}","size":5,"platform":{{"architecture":"amd64","os":"linux","os.version":"1"}}}}]}}"#
            ),
            format!(
                r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{image}","size":2,"data":"e30="}},"layers":[],"artifactType":"text/plain","subject":{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{layer}","size":5}}}}"#
            ),
            r#"{"schemaVersion":1,"name":"a","tag":"b","fsLayers":[],"signatures":[]}"#.to_owned(),
        ];
        let as_what = |kind: u8, text: &String| [&[kind], text.as_bytes()].concat();
        documents.iter().flat_map(|text| (0..4).map(move |kind| as_what(kind, text))).collect()
    }

    /// Short, long, with ports, digests and both; and what looks like one.
    pub fn reference() -> Vec<Vec<u8>> {
        let digest = testkit::image::digest(b"image");
        let mut seeds = texts(&[
            "busybox",
            "library/busybox:latest",
            "docker.io/a/b__c.d-e:1.0_x",
            "localhost/a",
            "localhost:5000/a:b",
            "registry.example:5000/team/app:v1",
            "[2001:db8::1]:5000/a",
            "index.docker.io/library/a",
            "a//b",
            "A/b",
            &"0123456789abcdef".repeat(4),
        ]);
        seeds.push(format!("busybox@{digest}").into_bytes());
        seeds.push(format!("registry.example/a:b@{digest}").into_bytes());
        seeds
    }
}
