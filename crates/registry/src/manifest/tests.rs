use super::*;
use serde_json::{Value, json};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

fn digest(byte: u8) -> Digest {
    Digest::from_sha256([byte; 32])
}

fn descriptor(kind: &str, byte: u8) -> Value {
    json!({ "mediaType": kind, "digest": digest(byte), "size": byte })
}

fn image() -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", 1),
        "layers": [descriptor(LAYER, 2)],
    })
}

fn read(kind: Option<&str>, document: &Value) -> Result<Manifest, InvalidManifest> {
    parse(kind, document.to_string().as_bytes())
}

fn refusal(kind: Option<&str>, document: &Value) -> String {
    read(kind, document).expect_err("a refusal").to_string()
}

#[test]
fn an_image_refers_to_its_config_and_layers() {
    let manifest = read(Some(OCI_MANIFEST), &image()).expect("a manifest");
    assert_eq!(manifest.blobs, [(digest(1), 1), (digest(2), 2)]);
    assert_eq!(manifest.artifact_type.as_deref(), Some("application/vnd.oci.image.config.v1+json"));
    assert_eq!(manifest.subject, None);
}

#[test]
fn the_kind_comes_from_the_header_the_document_or_its_shape() {
    let mut bare = image();
    bare.as_object_mut().expect("an object").remove("mediaType");
    assert_eq!(read(None, &bare).expect("a manifest").media_type, OCI_MANIFEST);
    let docker = read(Some("application/vnd.docker.distribution.manifest.v2+json"), &bare);
    assert_eq!(docker.expect("a manifest").media_type, DOCKER_MANIFEST);
    assert_eq!(read(None, &image()).expect("a manifest").media_type, OCI_MANIFEST);
    let with_parameter = format!("{OCI_MANIFEST}; charset=utf-8");
    assert!(read(Some(&with_parameter), &image()).is_ok());
    let index = json!({ "schemaVersion": 2, "manifests": [descriptor(OCI_MANIFEST, 3)] });
    let index = read(None, &index).expect("an index");
    assert_eq!((index.media_type.as_str(), index.manifests), (OCI_INDEX, vec![digest(3)]));
}

#[test]
fn a_subject_and_the_kind_of_an_artifact_are_found() {
    let mut artifact = image();
    artifact["subject"] = descriptor(OCI_MANIFEST, 9);
    artifact["artifactType"] = json!("application/vnd.example+type");
    artifact["annotations"] = json!({ "a": "b" });
    let manifest = read(None, &artifact).expect("a manifest");
    assert_eq!(manifest.subject, Some(digest(9)));
    assert_eq!(manifest.artifact_type.as_deref(), Some("application/vnd.example+type"));
    assert_eq!(manifest.annotations["a"], "b");
}

#[test]
fn layers_that_may_only_be_had_elsewhere_need_not_be_here() {
    let mut windows = image();
    let mut foreign = descriptor("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", 5);
    windows["layers"][0] = foreign.clone();
    assert_eq!(read(None, &windows).expect("a manifest").blobs.len(), 2);
    foreign["urls"] = json!(["https://example.com/layer"]);
    windows["layers"][0] = foreign;
    assert_eq!(read(None, &windows).expect("a manifest").blobs, [(digest(1), 1)]);
}

#[test]
fn what_is_no_manifest_is_refused() {
    assert!(parse(None, b"").is_err());
    assert!(parse(None, b"null").is_err());
    assert!(refusal(Some("text/plain"), &json!({ "schemaVersion": 2 })).contains("text/plain"));
    assert!(refusal(Some(OCI_INDEX), &image()).contains("Content-Type"));
    assert!(refusal(None, &json!({ "schemaVersion": 1, "fsLayers": [] })).contains("version 1"));
    assert!(refusal(None, &json!({ "schemaVersion": 3 })).contains("3"));
    assert!(refusal(None, &json!({ "schemaVersion": 2 })).contains("config"));
    let mut both = image();
    both["manifests"] = json!([]);
    assert!(refusal(Some(OCI_MANIFEST), &both).contains("manifests"));
    let mut wrong = image();
    wrong["layers"][0]["digest"] = json!("sha256:../../x");
    assert!(read(None, &wrong).is_err());
    wrong["layers"][0]["digest"] = json!(digest(2));
    wrong["layers"][0]["size"] = json!(-1);
    assert!(read(None, &wrong).is_err());
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(parse(None, deep.as_bytes()).is_err());
    assert!(parse(None, br#"{"schemaVersion":2,"schemaVersion":2,"manifests":[]}"#).is_err());
}
