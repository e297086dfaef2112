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

#[test]
fn privileged_many_layers_become_few_disks_that_show_the_same() {
    let fixture = Fixture::new();
    let mut layers: Vec<Vec<(&str, &str)>> = vec![vec![
        ("etc/", "d"),
        ("etc/a", "-one"),
        ("gone/", "d"),
        ("gone/x", "-x"),
        ("full/", "d"),
        ("full/old", "-old"),
    ]];
    layers.push(vec![
        (".wh.gone", "-"),
        ("full/", "d"),
        ("full/.wh..wh..opq", "-"),
        ("full/new", "-new"),
        ("etc/b", "-three"),
        ("hard", "=etc/b"),
    ]);
    let names: Vec<String> = (2..24).map(|number| format!("n{number}")).collect();
    layers.extend(names.iter().map(|name| vec![(name.as_str(), "-n"), ("last", name.as_str())]));
    let layers: Vec<&[(&str, &str)]> = layers.iter().map(Vec::as_slice).collect();
    let image = fixture.image("tall:1", &layers);
    let container = crate::testing::container('d');
    fixture.store.prepare(&container, &image).expect("prepared");
    let before = fixture.store.usage(&[]).expect("usage").disk_size;
    let disks = fixture.store.disks(&container).expect("made");
    assert_eq!(disks.len(), 8);
    let merged = &disks[0];
    ask("fsck.erofs", &[], merged);
    let out = fixture.dir.path().join("out");
    ask("fsck.erofs", &[&format!("--extract={}", out.display())], merged);
    let list = |path: &str| {
        let found = std::fs::read_dir(out.join(path)).expect("list");
        let mut names: Vec<String> = found
            .map(|entry| entry.expect("entry").file_name().into_string().expect("name"))
            .collect();
        names.sort();
        names
    };
    assert_eq!(list("full"), ["new"]);
    assert_eq!(list("etc"), ["a", "b"]);
    let top = list("");
    assert!(!top.contains(&"gone".to_owned()), "{top:?}");
    assert!(top.contains(&"n16".to_owned()) && !top.contains(&"n17".to_owned()), "{top:?}");
    // One of the program's own does not extract links as such.
    let linked = ask("dump.erofs", &["--path=/hard"], merged);
    assert!(linked.contains("Links: 2"), "hard links have come apart: {linked}");

    let sizes = disks.iter().map(|disk| std::fs::metadata(disk).expect("disk").blocks() * 512);
    let after = fixture.store.usage(&[]).expect("usage").disk_size;
    assert_eq!(after - before, sizes.sum::<u64>());
    assert_eq!(fixture.store.disks(&container).expect("there"), disks);
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("mounts");
    let place = fixture.dir.path().display().to_string();
    assert!(!mounts.contains(&place), "a mount was left: {mounts}");
    fixture.store.remove_snapshot(&container).expect("removed");
    fixture.store.remove("tall:1", RemoveOptions::default(), &[]).expect("removed");
    assert!(!merged.exists());
}
