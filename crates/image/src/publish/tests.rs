use std::io::Read as _;

use manifest::media_type;

use super::*;
use crate::remove::RemoveOptions;
use crate::store::Options;
use crate::stream::sha256;
use crate::testing::{Host, Remote, RemoteLayer, pull};

fn app() -> Remote {
    Remote::new("app", &[&[("etc/", "d"), ("etc/os", "-debian")], &[("app", "-text")]])
}

fn bytes(blob: &LayerBlob) -> Vec<u8> {
    let mut out = Vec::new();
    blob.open().expect("open").read_to_end(&mut out).expect("read");
    out
}

#[test]
fn a_pulled_image_goes_out_as_it_came() {
    let host = Host::new();
    let remote = app();
    let id = pull(&host.store, &remote, "app:1").expect("pull");
    let pushable = host.store.pushable(&id).expect("pushable");
    assert_eq!(pushable.config, remote.config);
    assert_eq!(pushable.manifest, Some(remote.manifest.clone()));
    for (layer, remote) in pushable.layers.iter().zip(&remote.layers) {
        assert_eq!(layer.diff_id, remote.diff_id);
        assert_eq!(layer.descriptor.as_ref(), Some(&remote.blob));
        assert!(layer.blob);
        let blob = pushable.layer_blob(layer, Compression::Gzip, &mut |_| {}).expect("blob");
        assert_eq!(blob.form.digest, remote.blob.digest, "what is here is not compressed again");
        assert_eq!(bytes(&blob), remote.bytes);
        assert_eq!(bytes(&blob), remote.bytes, "as often as need be");
    }
}

#[test]
fn an_image_without_blobs_is_compressed_and_the_forms_are_remembered() {
    let host = Host::with(Options { keep_blobs: false, ..Options::default() });
    let remote = app();
    let id = pull(&host.store, &remote, "app:1").expect("pull");
    let pushable = host.store.pushable(&id).expect("pushable");
    assert_eq!(pushable.manifest, None, "its blobs are nowhere");
    let elsewhere = pushable.elsewhere.as_ref().expect("but perhaps where it came from");
    assert_eq!(elsewhere.manifest, remote.manifest);
    assert_eq!(elsewhere.repositories.len(), 1);
    let mut forms = Vec::new();
    for (layer, remote) in pushable.layers.iter().zip(&remote.layers) {
        assert!(!layer.blob);
        assert_eq!(layer.forms.len(), 1, "that it came in is known");
        let (mut told, mut again) = (0, Vec::new());
        let blob = pushable.layer_blob(layer, Compression::Gzip, &mut |done| told = done);
        let blob = blob.expect("compress");
        assert_eq!(told, layer.size);
        assert_eq!(sha256(&bytes(&blob)), blob.form.digest);
        assert_eq!(bytes(&blob).len() as u64, blob.form.size);
        let mut tar = Vec::new();
        flate2::read::GzDecoder::new(&bytes(&blob)[..]).read_to_end(&mut tar).expect("gzip");
        assert_eq!(sha256(&tar), remote.diff_id);
        let form = pushable
            .write_layer(&layer.diff_id, Compression::Gzip, &mut again, &mut |_| {})
            .expect("again");
        assert_eq!((&form, &again), (&blob.form, &bytes(&blob)), "the same every time");
        let known = Form { repositories: vec!["host/app".to_owned()], ..form };
        host.store.remember_form(&layer.diff_id, known.clone()).expect("remember");
        forms.push(known);
    }
    let manifest = pushable.compose(&forms);
    assert_eq!(manifest.media_type, media_type::DOCKER_MANIFEST);
    let parsed: ImageManifest = serde_json::from_slice(&manifest.bytes).expect("manifest");
    assert_eq!(parsed.config.digest, id);
    assert_eq!(parsed.layers[1].digest, forms[1].digest);
    drop(pushable);

    let host = host.reopen(Options::default());
    let pushable = host.store.pushable(&id).expect("pushable");
    for (layer, form) in pushable.layers.iter().zip(&forms) {
        assert_eq!(layer.forms.last(), Some(form));
    }
    // Once a registry has the forms of the manifest that it came by, that manifest can be pushed.
    for (layer, remote) in pushable.layers.iter().zip(&remote.layers) {
        let came = layer.forms.iter().find(|form| form.digest == remote.blob.digest);
        let mut came = came.expect("known").clone();
        came.repositories.push("host/app".to_owned());
        host.store.remember_form(&layer.diff_id, came).expect("remember");
    }
    let pushable = host.store.pushable(&id).expect("pushable");
    assert_eq!(pushable.manifest, Some(remote.manifest));
}

#[test]
fn a_zstd_layer_makes_an_oci_manifest() {
    let host = Host::new();
    let id = pull(&host.store, &app(), "app:1").expect("pull");
    let pushable = host.store.pushable(&id).expect("pushable");
    let blob = pushable.layer_blob(&pushable.layers[0], Compression::Zstd, &mut |_| {});
    let blob = blob.expect("compress");
    let tar = zstd::decode_all(&bytes(&blob)[..]).expect("zstd");
    assert_eq!(sha256(&tar), pushable.layers[0].diff_id);
    let gzip = pushable.layers[1].forms[0].clone();
    let manifest = pushable.compose(&[blob.form, gzip]);
    assert_eq!(manifest.media_type, media_type::OCI_MANIFEST);
    let parsed: ImageManifest = serde_json::from_slice(&manifest.bytes).expect("manifest");
    let types: Vec<&str> = parsed.layers.iter().map(|layer| layer.media_type.as_str()).collect();
    assert_eq!(types, [media_type::OCI_LAYER_ZSTD, media_type::OCI_LAYER_GZIP]);
    assert_eq!(parsed.config.media_type, media_type::OCI_CONFIG);
}

#[test]
fn the_latest_manifest_that_is_whole_is_chosen() {
    let host = Host::new();
    let first = app();
    let id = pull(&host.store, &first, "app:1").expect("pull");
    // The same image from elsewhere, where its layers are compressed in another way.
    let mut second = first.clone();
    let layers: Vec<RemoteLayer> = first
        .layers
        .iter()
        .map(|layer| {
            let mut other = layer.clone();
            other.bytes.extend(crate::testing::gzip(b""));
            other.blob.digest = sha256(&other.bytes);
            other.blob.size = other.bytes.len() as u64;
            other
        })
        .collect();
    second.manifest = Remote::of("app", layers.clone()).manifest;
    assert_eq!(pull(&host.store, &second, "app:2").expect("pull"), id);
    // Its layers were there, so its blobs did not come.
    let pushable = host.store.pushable(&id).expect("pushable");
    assert_eq!(pushable.manifest, Some(first.manifest.clone()));
    for layer in &layers {
        host.store.content.blobs().put(&layer.bytes).expect("put");
    }
    let pushable = host.store.pushable(&id).expect("pushable");
    assert_eq!(pushable.manifest, Some(second.manifest));
}

#[test]
fn a_registry_that_has_an_image_gives_it_a_name() {
    let host = Host::new();
    let id = pull(&host.store, &app(), "app:1").expect("pull");
    let name: Reference = "localhost:5000/app".parse().expect("name");
    let named = name.with_digest(Digest::from_sha256([7; 32]));
    host.store.add_repo_digest(&id, &named).expect("add");
    assert_eq!(host.store.resolve(&named.to_string()).expect("found"), id);
    assert!(matches!(host.store.add_repo_digest(&id, &name), Err(Error::NotATag(_))));
    let nobody = Digest::from_sha256([1; 32]);
    assert!(matches!(host.store.add_repo_digest(&nobody, &named), Err(Error::NoSuchImage(_))));
    host.store
        .remove(id.as_str(), RemoveOptions { force: true, ..Default::default() }, &[])
        .expect("rmi");
    assert!(matches!(host.store.pushable(&id), Err(Error::NoSuchImage(_))));
    let form =
        Form { digest: nobody, size: 1, compression: Compression::Gzip, repositories: Vec::new() };
    let gone = host.store.remember_form(&app().layers[0].diff_id, form);
    assert!(matches!(gone, Err(Error::MissingLayer(_))));
}
