use std::collections::BTreeMap;

use crate::Error;
use crate::load::LoadOptions;
use crate::store::Options;
use crate::stream::sha256;
use crate::testing::{Host, Remote, pull};

fn app() -> Remote {
    Remote::new("app", &[&[("etc/", "d"), ("etc/os", "-debian")], &[("app", "-text")]])
}

fn saved(host: &Host, name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    host.store.save_oci(&[name.to_owned()], &mut out).expect("save");
    out
}

/// The files of an archive; every blob is what its name says.
fn files(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut out = BTreeMap::new();
    let mut archive = tar::Archive::new(archive);
    for entry in archive.entries().expect("entries") {
        let mut entry = entry.expect("entry");
        let name = entry.path().expect("path").display().to_string();
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content).expect("read");
        if let Some(hex) = name.strip_prefix("blobs/sha256/").filter(|hex| !hex.is_empty()) {
            assert_eq!(sha256(&content).hex(), hex);
        }
        out.insert(name, content);
    }
    out
}

#[test]
fn a_pulled_image_is_saved_with_every_digest_as_in_its_registry() {
    let host = Host::new();
    let remote = app();
    let id = pull(&host.store, &remote, "app:1").expect("pull");
    let archive = saved(&host, "app:1");
    let files = files(&archive);
    let blob = |hex: &str| &files[&format!("blobs/sha256/{hex}")];
    assert_eq!(*blob(remote.manifest.digest().hex()), remote.manifest.bytes);
    for layer in &remote.layers {
        assert_eq!(*blob(layer.blob.digest.hex()), layer.bytes);
    }
    let index: serde_json::Value = serde_json::from_slice(&files["index.json"]).expect("JSON");
    let descriptor = &index["manifests"][0];
    assert_eq!(descriptor["digest"], remote.manifest.digest().as_str());
    assert_eq!(descriptor["mediaType"], remote.manifest.media_type.as_str());
    assert_eq!(descriptor["size"], remote.manifest.bytes.len());
    let name = &descriptor["annotations"]["io.containerd.image.name"];
    assert_eq!(name, "docker.io/library/app:1");

    let other = Host::new();
    let loaded = other.store.load(&mut &archive[..], &LoadOptions::default(), &mut |_| {});
    let loaded = loaded.expect("load");
    assert_eq!((&loaded[0].id, &loaded[0].names), (&id, &vec!["app:1".to_owned()]));
}

#[test]
fn an_image_without_blobs_is_compressed_the_same_way_every_time() {
    let host = Host::with(Options { keep_blobs: false, ..Options::default() });
    let id = pull(&host.store, &app(), "app:1").expect("pull");
    let archive = saved(&host, "app:1");
    assert!(saved(&host, "app:1") == archive, "the same every time");
    let files = files(&archive);
    let index: serde_json::Value = serde_json::from_slice(&files["index.json"]).expect("JSON");
    let hex = index["manifests"][0]["digest"].as_str().expect("digest").replace("sha256:", "");
    let manifest = &files[&format!("blobs/sha256/{hex}")];
    let manifest: serde_json::Value = serde_json::from_slice(manifest).expect("JSON");
    assert_eq!(manifest["config"]["digest"], id.as_str());
    for layer in manifest["layers"].as_array().expect("layers") {
        let hex = layer["digest"].as_str().expect("digest").replace("sha256:", "");
        assert!(files[&format!("blobs/sha256/{hex}")].starts_with(&[0x1f, 0x8b]), "gzip");
    }
    let other = Host::new();
    let loaded = other.store.load(&mut &archive[..], &LoadOptions::default(), &mut |_| {});
    assert_eq!(loaded.expect("load")[0].id, id);
}

#[test]
fn a_damaged_blob_is_not_given_out() {
    let host = Host::new();
    let remote = app();
    pull(&host.store, &remote, "app:1").expect("pull");
    let hex = remote.layers[0].blob.digest.hex();
    let path = host.store.root().join("content/blobs/sha256").join(hex);
    let mut bytes = std::fs::read(&path).expect("read");
    *bytes.last_mut().expect("bytes") ^= 1;
    std::fs::write(&path, bytes).expect("write");
    let error = host.store.save_oci(&["app:1".to_owned()], &mut Vec::new()).expect_err("damaged");
    assert!(matches!(error, Error::DamagedRecord { .. }), "{error}");
    let error = host.store.save_oci(&["nothing".to_owned()], &mut Vec::new());
    assert!(matches!(error.expect_err("absent"), Error::NoSuchImage(_)));
}
