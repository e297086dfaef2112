use super::*;

const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn descriptor() -> String {
    format!(r#"{{"mediaType":"x","digest":"{DIGEST}","size":3}}"#)
}

fn parse(served: &str, text: &str) -> Result<Document, InvalidManifest> {
    Document::parse(served, text.as_bytes(), &Limits::default())
}

#[test]
fn a_manifest_is_read_with_nulls_and_strange_fields() {
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{},"layers":null,"annotations":null,"x":1}}"#,
        media_type::OCI_MANIFEST,
        descriptor()
    );
    let document = parse("application/vnd.oci.image.manifest.v1+json; charset=utf-8", &text);
    let Document::Manifest(manifest) = document.expect("valid") else { panic!("an index") };
    assert_eq!(manifest.config.size, 3);
    assert!(manifest.layers.is_empty());
}

#[test]
fn the_document_speaks_for_itself_where_the_server_is_silent() {
    let one = format!(r#"{{"schemaVersion":2,"config":{},"layers":[]}}"#, descriptor());
    assert!(matches!(parse("application/json", &one), Ok(Document::Manifest(_))));
    let many = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, descriptor());
    let Ok(Document::Index(index)) = parse("", &many) else { panic!("no index") };
    assert_eq!(Document::Index(index).media_type(), media_type::OCI_INDEX);
    assert!(matches!(parse("text/html", "{}"), Err(InvalidManifest::MediaType(_))));
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    let both =
        format!(r#"{{"schemaVersion":2,"manifests":[],"config":{},"layers":[]}}"#, descriptor());
    assert!(matches!(parse(media_type::OCI_INDEX, &both), Err(InvalidManifest::Ambiguous)));
    let liar = format!(r#"{{"schemaVersion":2,"mediaType":"{}"}}"#, media_type::OCI_INDEX);
    let error = parse(media_type::OCI_MANIFEST, &liar).expect_err("a lie");
    assert!(matches!(error, InvalidManifest::Disagrees { .. }), "{error}");
}

#[test]
fn the_old_kind_is_named() {
    for text in [r#"{"schemaVersion":1,"fsLayers":[]}"#, r#"{"fsLayers":[]}"#] {
        let error = parse("application/json", text).expect_err("old");
        assert!(error.to_string().contains("schema 1"), "{error}");
    }
    assert!(matches!(parse(media_type::SCHEMA1_SIGNED, "{}"), Err(InvalidManifest::Schema1(_))));
}

#[test]
fn limits_hold() {
    let layers = vec![descriptor(); 491].join(",");
    let text = format!(r#"{{"schemaVersion":2,"config":{},"layers":[{layers}]}}"#, descriptor());
    let error = parse("", &text).expect_err("too many");
    assert_eq!(error.to_string(), "manifest lists 491 layers; at most 490 are allowed");
    let large = format!("{{\"x\":\"{}\"}}", "y".repeat(4 << 20));
    assert!(matches!(parse("", &large), Err(InvalidManifest::TooLarge { .. })));
    let deep = "[".repeat(1 << 20);
    assert!(matches!(parse("", &deep), Err(InvalidManifest::Json(_))));
    for bad in [
        r#"{"schemaVersion":2,"config":{"digest":"sha256:../../x","size":1}}"#.to_owned(),
        format!(r#"{{"schemaVersion":2,"config":{{"digest":"{DIGEST}","size":-1}}}}"#),
        r#"{"schemaVersion":3,"manifests":[]}"#.to_owned(),
    ] {
        assert!(parse("", &bad).is_err(), "{bad}");
    }
}

#[test]
fn what_is_written_is_read_again() {
    let config: Descriptor = serde_json::from_str(&descriptor()).expect("valid");
    let manifest = ImageManifest::docker(config.clone(), vec![config.clone()]);
    let bytes = manifest.to_bytes();
    assert!(bytes.starts_with(b"{\n   \"schemaVersion\": 2,\n   \"mediaType\": "));
    let Ok(Document::Manifest(again)) =
        Document::parse(media_type::DOCKER_MANIFEST, &bytes, &Limits::default())
    else {
        panic!("not read")
    };
    assert_eq!(again, manifest);
    assert_eq!(Document::Manifest(again).parts().count(), 2);
}
