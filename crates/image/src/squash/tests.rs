use std::os::unix::fs::MetadataExt;

use types::digest::Digest;

use super::SquashOptions;
use crate::testing::{Fixture, Spec};

const BASE: &[Spec<'static>] = &[
    ("etc/", "d"),
    ("etc/base", "-base"),
    ("etc/gone", "-gone"),
    ("dir/", "d"),
    ("dir/old", "-old"),
    ("whole/", "d"),
    ("whole/file", "-x"),
    ("file", "-file"),
];
const SECOND: &[Spec<'static>] = &[
    ("etc/", "d"),
    ("etc/.wh.gone", "-"),
    ("etc/passing", "-large and soon removed"),
    ("dir/.wh..wh..opq", "-"),
    ("dir/new", "-new"),
    (".wh.whole", "-"),
    ("a", "-a"),
    ("b", "=a"),
];
const THIRD: &[Spec<'static>] =
    &[("etc/.wh.passing", "-"), (".wh.file", "-"), ("file/", "d"), ("file/in", "-in")];

fn squash(fixture: &Fixture, image: &Digest, from: Option<&str>) -> Digest {
    let reference = Some("squashed".parse().expect("name"));
    let options =
        SquashOptions { from: from.map(str::to_owned), reference, comment: String::new() };
    fixture.store.squash(image, &options).expect("squash")
}

#[test]
fn privileged_a_squashed_image_has_the_same_files() {
    let mut fixture = Fixture::new();
    let base = fixture.image("base:1", &[BASE]);
    let image = fixture.image("app:1", &[BASE, SECOND, THIRD]);
    for (from, layers) in [(None, 1), (Some("base:1"), 2), (Some("app:1"), 3)] {
        let squashed = squash(&fixture, &image, from);
        assert_ne!(squashed, image);
        let config = fixture.store.config(&squashed).expect("config");
        assert_eq!(config.rootfs.diff_ids.len(), layers, "{from:?}");
        let differences = fixture.store.compare(&image, &squashed).expect("compare");
        assert_eq!(differences, [], "{from:?}");
        assert_eq!(fixture.store.names(&squashed)[0].familiar(), "squashed:latest");
        let mut archive = Vec::new();
        fixture.store.save(&["squashed".to_owned()], &mut archive).expect("every layer is whole");
    }
    let squashed = squash(&fixture, &image, Some("base:1"));
    let layers = fixture.store.config(&squashed).expect("config").rootfs.diff_ids.clone();
    let steps = fixture.store.history("squashed").expect("history");
    assert!(steps[0].comment.contains(base.as_str()), "{steps:?}");
    let by_layer = squash(&fixture, &image, Some(layers[0].as_str()));
    assert_eq!(
        fixture.store.config(&by_layer).expect("config").rootfs.diff_ids,
        layers,
        "the same files give the same layer"
    );
    let hex = layers[1].hex();
    let whiteout = fixture.dir.path().join("layers").join(hex).join("diff/whole");
    let time = std::fs::symlink_metadata(whiteout).expect("whiteout").mtime();
    assert_eq!(time, 0, "whenever they are merged");
    fixture.reopen();
    assert_eq!(fixture.store.compare(&image, &squashed).expect("compare"), []);
}

#[test]
fn an_image_is_squashed_on_what_it_stands_on_only() {
    let fixture = Fixture::new();
    fixture.image("other:1", &[SECOND]);
    let image = fixture.image("app:1", &[BASE, SECOND]);
    let from =
        |from: &str| SquashOptions { from: Some(from.to_owned()), ..SquashOptions::default() };
    let error = fixture.store.squash(&image, &from("other:1")).expect_err("another base");
    assert_eq!(error.to_string(), "the image does not stand on other:1");
    assert!(fixture.store.squash(&image, &from("nothing")).is_err());
}
