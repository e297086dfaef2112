use std::sync::Arc;

use super::*;
use crate::remove::RemoveOptions;
use crate::testing::Fixture;

/// What a program of erofs-utils says of an image.
fn ask(program: &str, arguments: &[&str], image: &Path) -> String {
    let output = Command::new(program).args(arguments).arg(image).output();
    let output = output.unwrap_or_else(|error| panic!("{program} (erofs-utils): {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program}: {text} {output:?}");
    text
}

#[test]
fn a_layer_becomes_a_disk_once_and_takes_it_along() {
    let fixture = Fixture::new();
    let id = fixture.image("one", &[&[("etc", "d"), ("etc/name", "-hello"), ("link", ">etc")]]);
    let layer = fixture.store.config(&id).expect("config").rootfs.diff_ids[0].clone();
    let before = fixture.store.usage(&[]).expect("usage").disk_size;
    let image = fixture.store.erofs(&layer).expect("made");
    assert!(image.starts_with(fixture.dir.path().join("layers").join(layer.hex())));
    ask("fsck.erofs", &[], &image);
    let about = ask("dump.erofs", &["--path=/etc/name"], &image);
    assert!(about.contains("Size: 5"), "{about}");
    assert!(about.contains("2001-09-09"), "the time of change has gone: {about}");
    let made = std::fs::metadata(&image).expect("image");
    assert_eq!(fixture.store.erofs(&layer).expect("there"), image);
    assert_eq!(std::fs::metadata(&image).expect("image").ino(), made.ino(), "it was made twice");
    let after = fixture.store.usage(&[]).expect("usage").disk_size;
    assert_eq!(after - before, made.blocks() * 512);
    let id = id.to_string();
    fixture.store.remove(&id, RemoveOptions::default(), &[]).expect("removed");
    assert!(!image.exists());
}

#[test]
fn two_who_want_the_same_disk_get_the_same() {
    let fixture = Fixture::new();
    let id = fixture.image("one", &[&[("file", "-x")]]);
    let layer = fixture.store.config(&id).expect("config").rootfs.diff_ids[0].clone();
    let store = Arc::new(&fixture.store);
    let paths: Vec<PathBuf> = std::thread::scope(|scope| {
        let make = || scope.spawn(|| store.erofs(&layer).expect("made"));
        let threads: Vec<_> = (0..4).map(|_| make()).collect();
        threads.into_iter().map(|thread| thread.join().expect("thread")).collect()
    });
    assert!(paths.iter().all(|path| *path == paths[0]));
    ask("fsck.erofs", &[], &paths[0]);
    let left: Vec<_> = std::fs::read_dir(paths[0].parent().expect("layer"))
        .expect("list")
        .map(|entry| entry.expect("entry").file_name())
        .filter(|name| name.to_string_lossy().starts_with('.'))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn there_is_no_disk_of_no_layer() {
    let fixture = Fixture::new();
    let error = fixture.store.erofs(&Digest::from_sha256([7; 32])).expect_err("no such layer");
    assert!(matches!(error, Error::MissingLayer(_)), "{error}");
}

#[test]
fn ids_are_those_of_the_layers() {
    let id = uuid(&"0123456789abcdef".repeat(4));
    assert_eq!(id, "01234567-89ab-8cde-8f01-23456789abcd");
}
