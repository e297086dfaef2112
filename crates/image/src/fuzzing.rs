//! Doors for the fuzzers in `fuzz/`: they take bytes and panic when a promise is broken.

use std::fs;
use std::os::fd::AsFd;
use std::sync::Arc;

use manifest::{Descriptor, ImageManifest, media_type};

use crate::archive::{self, IdMap, PutOptions};
use crate::ingest::{Document, PulledImage};
use crate::layer::Layers;
use crate::load::LoadOptions;
use crate::model::ListFilter;
use crate::store::{Options, Store};

fn limits() -> Options {
    Options { max_layer_bytes: 1 << 24, max_layer_entries: 10_000, ..Options::default() }
}

/// A directory with something beside it that must not change.
struct Place(std::path::PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("isopod-fuzz-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        let made = fs::create_dir_all(path.join("inside"))
            .and_then(|()| fs::write(path.join("beside"), "untouched"));
        assert!(made.is_ok(), "{made:?}");
        Self(path)
    }

    fn check(&self) {
        let beside = fs::read(self.0.join("beside")).unwrap_or_default();
        assert_eq!(beside, b"untouched");
        let names = fs::read_dir(&self.0).map(Iterator::count).unwrap_or_default();
        assert_eq!(names, 2);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What can be unpacked comes back byte for byte.
pub fn layer(mut bytes: &[u8]) {
    let place = Place::new("layer");
    let whole = bytes;
    let Ok((layers, _)) = Layers::open(&place.0.join("inside")) else { return };
    if let Ok(staged) = layers.stage(&mut bytes, false, &limits()) {
        let mut out = Vec::new();
        let same = layers.reproduce_staged(&staged, &mut out);
        // A compressed layer comes back as the tar that it holds.
        assert!(same.is_ok(), "{same:?}");
        assert!(
            out == whole
                || whole.starts_with(&[0x1f, 0x8b])
                || matches!(whole.get(1), Some(0xb5 | 0x2a))
        );
    }
    place.check();
}

/// Archives are refused or taken, and that is all.
pub fn image_archive(mut bytes: &[u8]) {
    let place = Place::new("archive");
    if let Ok(store) = Store::open(place.0.join("inside"), limits()) {
        let _ = store.load(&mut bytes, &LoadOptions::default(), &mut |_| {});
    }
    place.check();
}

/// Uploads stay inside.
pub fn upload(mut bytes: &[u8]) {
    let place = Place::new("upload");
    if let Ok(root) = fs::File::open(place.0.join("inside")) {
        let (options, ids) = (PutOptions::default(), IdMap::default());
        let _ = archive::put(root.as_fd(), "/", &mut bytes, &options, &ids);
    }
    place.check();
}

/// Configurations are refused or taken; of those that are taken every question has an answer.
pub fn image_config(bytes: &[u8]) {
    let place = Place::new("config");
    if let Ok(store) = Store::open(place.0.join("inside"), limits()) {
        let store = Arc::new(store);
        let digest = crate::stream::sha256(bytes);
        let config = Descriptor::new(media_type::OCI_CONFIG, digest, bytes.len() as u64);
        let manifest = ImageManifest::oci(config, Vec::new());
        let media_type = media_type::OCI_MANIFEST.to_owned();
        let image = PulledImage {
            config: bytes.to_vec(),
            manifest: Document { media_type, bytes: manifest.to_bytes() },
            index: None,
            names: "fuzz:1".parse().into_iter().collect(),
            repo_digests: Vec::new(),
        };
        if let Ok(id) = store.ingest().finish(image) {
            let name = id.to_string();
            assert!(store.inspect(&name).is_ok());
            assert!(store.list(&ListFilter::default()).is_ok_and(|list| list.len() == 1));
            // Steps may name more layers than there are.
            let _ = store.history(&name);
            assert!(store.pushable(&id).is_ok_and(|pushable| pushable.manifest.is_some()));
            assert!(store.save(&[name], &mut std::io::sink()).is_ok());
            assert!(store.check(false, &mut |_| {}).is_ok_and(|report| report.is_clean()));
        }
    }
    place.check();
}
