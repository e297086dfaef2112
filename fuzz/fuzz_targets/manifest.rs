//! Reads whatever comes as a manifest or an index: what is accepted stays within the limits, and
//! means the same when it is written out and read again.
#![no_main]

use distribution::manifest::{Document, Limits, Platform, choose, media_type};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (kind, bytes) = input;
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
});
