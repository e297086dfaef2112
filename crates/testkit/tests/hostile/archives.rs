//! Archives for `load` and `import` that want harm.

use crate::hostile::scene::Scene;
use crate::hostile::server::{config, filter, gzip};
use crate::hostile::tars::entry;
use crate::hostile::{Verdict, none, still_works};
use Verdict::{Harmless, Refused};
use testkit::image::{Layer, digest};
use testkit::{Value, json};

/// Files as a tar.
pub(crate) fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar: Vec<u8> =
        files.iter().flat_map(|(name, bytes)| entry(name, b'0', "", b"", bytes)).collect();
    tar.extend_from_slice(&[0; 1024]);
    tar
}

fn docker(manifest: &Value, config: &Value, layer: &[u8]) -> Vec<u8> {
    tar_of(&[
        ("layer.tar", layer),
        ("config.json", config.to_string().as_bytes()),
        ("manifest.json", manifest.to_string().as_bytes()),
    ])
}

/// An OCI layout of blobs, under the digests that they are given.
fn oci(index: &Value, blobs: &[(String, Vec<u8>)]) -> Vec<u8> {
    let names: Vec<String> =
        blobs.iter().map(|(name, _)| format!("blobs/sha256/{}", &name[7..])).collect();
    let index = index.to_string();
    let mut files: Vec<(&str, &[u8])> = vec![
        ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#),
        ("index.json", index.as_bytes()),
    ];
    files.extend(
        names.iter().zip(blobs).map(|(name, (_, bytes))| (name.as_str(), bytes.as_slice())),
    );
    tar_of(&files)
}

fn named(bytes: impl Into<Vec<u8>>) -> (String, Vec<u8>) {
    let bytes = bytes.into();
    (digest(&bytes), bytes)
}

fn index(entries: Vec<Value>) -> Value {
    json!({ "schemaVersion": 2, "manifests": entries })
}

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn layouts() -> Vec<(&'static str, Vec<u8>, Verdict)> {
    let layer = Layer::new().file("f", 0o644, b"f").bytes();
    let config = named(config(std::slice::from_ref(&layer)).to_string());
    let of = |bytes: &(String, Vec<u8>), kind: &str| json!({ "mediaType": kind, "digest": bytes.0, "size": bytes.1.len() });
    let layer = named(layer);
    let kind = "application/vnd.oci.image.layer.v1.tar";
    let manifest = |layers: Vec<Value>| {
        named(json!({
        "schemaVersion": 2, "config": of(&config, "application/vnd.oci.image.config.v1+json"), "layers": layers,
    }).to_string())
    };
    let good = manifest(vec![of(&layer, kind)]);
    let all = |extra: &[(String, Vec<u8>)]| {
        let mut all = vec![config.clone(), layer.clone(), good.clone()];
        all.extend_from_slice(extra);
        all
    };
    let circle = "sha256:".to_owned() + &"c".repeat(64);
    let in_circle = index(vec![json!({ "mediaType": INDEX, "digest": circle, "size": 10 })]);
    let mut chain = vec![good.clone()];
    for _ in 0..200 {
        let last = chain.last().unwrap();
        chain.push(named(
            index(vec![of(last, if chain.len() == 1 { MANIFEST } else { INDEX })]).to_string(),
        ));
    }
    let top = index(vec![of(chain.last().unwrap(), INDEX)]);
    // Sixteen times sixteen times … the same: work without end for those who walk it all.
    let mut bush = vec![named(
        index(vec![json!({"mediaType": MANIFEST, "digest": digest(b"gone"), "size": 1}); 16])
            .to_string(),
    )];
    for _ in 0..7 {
        bush.push(named(index(vec![of(bush.last().unwrap(), INDEX); 16]).to_string()));
    }
    let bush_top = index(vec![of(bush.last().unwrap(), INDEX); 16]);
    let lies = (digest(b"something else"), layer.1.clone());
    let with_lies =
        manifest(vec![json!({ "mediaType": kind, "digest": lies.0, "size": lies.1.len() })]);
    let path = manifest(vec![
        json!({ "mediaType": kind, "digest": "sha256:../../../../etc/passwd", "size": 1 }),
    ]);
    let many = manifest(vec![of(&layer, kind); 5000]);
    vec![
        ("oci-honest", oci(&index(vec![of(&good, MANIFEST)]), &all(&[])), Harmless),
        (
            "oci-circle",
            oci(&in_circle, &all(&[(circle.clone(), in_circle.to_string().into_bytes())])),
            Refused("digest"),
        ),
        ("oci-chain", oci(&top, &all(&chain)), Refused("nested too deeply")),
        ("oci-bush", oci(&bush_top, &all(&bush)), Refused("no image")),
        (
            "oci-wrong-layer",
            oci(&index(vec![of(&with_lies, MANIFEST)]), &all(&[lies, with_lies.clone()])),
            Refused("digest"),
        ),
        (
            "oci-path-for-digest",
            oci(&index(vec![of(&path, MANIFEST)]), &all(std::slice::from_ref(&path))),
            Refused("digest"),
        ),
        (
            "oci-many-layers",
            oci(&index(vec![of(&many, MANIFEST)]), &all(std::slice::from_ref(&many))),
            Refused("layers"),
        ),
        (
            "oci-blob-missing",
            oci(&index(vec![of(&good, MANIFEST)]), &[good.clone(), config.clone()]),
            Refused("lacks"),
        ),
        (
            "oci-path-in-index",
            oci(
                &index(vec![json!({ "mediaType": MANIFEST, "digest": "../../x", "size": 1 })]),
                &all(&[]),
            ),
            Refused("digest"),
        ),
        ("oci-empty", oci(&index(vec![]), &all(&[])), Refused("no image")),
    ]
}

fn archives(victim: &str) -> Vec<(&'static str, Vec<u8>, Verdict)> {
    let layer = Layer::new().file("f", 0o644, b"f").bytes();
    let good = config(std::slice::from_ref(&layer));
    let entry_of = |config: &str, tag: &str, layers: Value| json!([{ "Config": config, "RepoTags": [tag], "Layers": layers }]);
    let usual = entry_of("config.json", "evil:1", json!(["layer.tar"]));
    let honest = docker(&usual, &good, &layer);
    let links = |name: &str, kind: u8, target: &str| {
        [
            entry(name, kind, target, b"", b""),
            docker(&entry_of("config.json", "evil:1", json!([name])), &good, &layer),
        ]
        .concat()
    };
    let text = |text: &str| tar_of(&[("manifest.json", text.as_bytes())]);
    let mut numbers = Vec::new();
    for n in 0..110_000 {
        numbers.extend(entry(&format!("{n}"), b'0', "", b"", b"{}"));
    }
    let zeros = vec![0; 64 << 20];
    vec![
        ("honest", honest.clone(), Harmless),
        ("honest-gzip", gzip(&honest), Harmless),
        ("honest-zstd", filter("zstd", &["-q"], &honest), Harmless),
        ("gzip-in-gzip", gzip(&gzip(&honest)), Refused("invalid tar")),
        ("empty", Vec::new(), Refused("neither manifest.json")),
        (
            "no-manifest",
            tar_of(&[("layer.tar", &layer)]),
            Refused("neither manifest.json nor index.json"),
        ),
        ("garbage", vec![b'x'; 100_000], Refused("invalid tar")),
        ("html", b"<html>".repeat(1000), Refused("invalid tar")),
        ("manifest-no-json", text("<html>"), Refused("manifest.json")),
        ("manifest-deep", text(&"[".repeat(3 << 20)), Refused("manifest.json")),
        ("manifest-null", text("null"), Refused("manifest.json")),
        ("manifest-empty", text("[]"), Refused("no image")),
        ("manifest-numbers", text("[1,2,3]"), Refused("manifest.json")),
        (
            "config-outside",
            docker(
                &entry_of("../../../../etc/passwd", "evil:1", json!(["layer.tar"])),
                &good,
                &layer,
            ),
            Refused("lacks"),
        ),
        (
            "layer-outside",
            docker(
                &entry_of("config.json", "evil:1", json!(["../../../../etc/passwd"])),
                &good,
                &layer,
            ),
            Refused("lacks"),
        ),
        (
            "layer-absolute",
            docker(
                &entry_of("config.json", "evil:1", json!([format!("/{victim}/file")])),
                &good,
                &layer,
            ),
            Refused("lacks"),
        ),
        ("symlink-outside", links("l.tar", b'2', &format!("/{victim}/file")), Refused("lacks")),
        ("symlink-up", links("l.tar", b'2', "../../../../../../etc/passwd"), Refused("lacks")),
        ("hardlink-outside", links("l.tar", b'1', &format!("/{victim}/file")), Refused("lacks")),
        ("symlink-circle", links("l.tar", b'2', "l.tar"), Refused("lacks")),
        ("symlink-inside", links("l.tar", b'2', "layer.tar"), Harmless),
        (
            "entry-outside",
            [
                entry(&format!("../../../../../{victim}/file"), b'0', "", b"", b"evil"),
                honest.clone(),
            ]
            .concat(),
            Refused("leads outside"),
        ),
        (
            "tag-invalid",
            docker(&entry_of("config.json", "../../evil:1", json!(["layer.tar"])), &good, &layer),
            Refused("invalid reference"),
        ),
        (
            "tag-with-lines",
            docker(&entry_of("config.json", "a\nb:1", json!(["layer.tar"])), &good, &layer),
            Refused("invalid reference"),
        ),
        (
            "tag-is-an-id",
            docker(&entry_of("config.json", &"a".repeat(64), json!(["layer.tar"])), &good, &layer),
            Refused("invalid repository name"),
        ),
        (
            "config-digest-lies",
            tar_of(&[
                ("layer.tar", &layer),
                (&format!("{}.json", "a".repeat(64)), good.to_string().as_bytes()),
                (
                    "manifest.json",
                    entry_of(&format!("{}.json", "a".repeat(64)), "evil:1", json!(["layer.tar"]))
                        .to_string()
                        .as_bytes(),
                ),
            ]),
            Refused("digest"),
        ),
        ("other-layer", docker(&usual, &config(&[vec![1; 512]]), &layer), Refused("digest")),
        ("layer-is-garbage", docker(&usual, &good, &[b'x'; 5000]), Refused("it is no tar")),
        (
            "layer-missing",
            docker(&entry_of("config.json", "evil:1", json!(["nothing.tar"])), &good, &layer),
            Refused("lacks nothing.tar"),
        ),
        (
            "more-layers",
            docker(
                &entry_of("config.json", "evil:1", json!(vec!["layer.tar"; 3000])),
                &good,
                &layer,
            ),
            Refused("layers length mismatch"),
        ),
        (
            "thousands-of-layers",
            docker(
                &entry_of("config.json", "evil:1", json!(vec!["layer.tar"; 3000])),
                &config(&vec![layer.clone(); 3000]),
                &layer,
            ),
            Refused("limit"),
        ),
        ("cut", honest[..honest.len() - 1800].to_vec(), Refused("unexpected EOF")),
        ("cut-gzip", gzip(&honest)[..300].to_vec(), Refused("incomplete")),
        ("too-many-files", [numbers, honest.clone()].concat(), Refused("too many files")),
        (
            "bomb-document",
            gzip(&tar_of(&[("zeros", &zeros), ("manifest.json", b"[]")])),
            Refused("limit"),
        ),
        (
            "bomb-layer",
            gzip(&docker(
                &usual,
                &good,
                &Layer::new().file("z", 0o644, &zeros[..60 << 20]).bytes(),
            )),
            Refused("limit"),
        ),
        (
            "bomb-text",
            gzip(&tar_of(&[("text", &b"[".repeat(20 << 20)), ("manifest.json", b"[]")])),
            Refused("no image"),
        ),
        ("twice", [honest[..honest.len() - 1024].to_vec(), honest.clone()].concat(), Harmless),
    ]
}

#[test]
fn privileged_archives_that_want_harm() {
    let scene = Scene::start();
    let mut complaints = Vec::new();
    for (name, tar, verdict) in archives(scene.victim()).into_iter().chain(layouts()) {
        let began = std::time::Instant::now();
        let outcome = scene.load(&tar);
        println!("{name}: {outcome:?} after {:?}", began.elapsed());
        complaints.extend(verdict.complaint(name, &outcome));
        scene.remove_images();
        scene.nothing_outside(name);
    }
    none(&complaints);
    still_works(&scene);
    scene.end("archives that want harm");
}

/// A good archive cut anywhere leaves nothing, and says so.
#[test]
fn privileged_archives_cut_anywhere_leave_nothing() {
    let scene = Scene::start();
    let layers = (0..3).map(|n| Layer::new().file(&format!("{n}"), 0o644, &[n; 3000])).collect();
    let saved = testkit::image::save(&["cut:1"], &json!({}), layers);
    // Up to the content of the manifest, which is less than a block; it need not be padded.
    let manifest = saved.tar.len() - 1024 - 512;
    for length in (0..manifest).step_by(389) {
        let outcome = scene.load(&saved.tar[..length]);
        assert!(outcome.is_err(), "cut after {length} of {} bytes", saved.tar.len());
        scene.nothing_left(&format!("cut after {length} bytes"));
    }
    scene.load(&saved.tar).unwrap();
    scene.remove_images();
    scene.end("archives cut anywhere");
}
