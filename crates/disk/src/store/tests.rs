use std::io::Write;
use std::os::unix::fs::FileExt;

use super::*;

/// A data root with an image, and a directory for a machine.
struct Scene {
    dir: tempfile::TempDir,
    image: String,
    snapshots: Snapshots,
}

fn scene() -> Scene {
    let dir = tempfile::tempdir().expect("directory");
    let image = dir.path().join("base.img");
    std::fs::write(&image, vec![1; 1 << 20]).expect("written");
    let snapshots = Snapshots::new(dir.path());
    Scene { image: image.display().to_string(), dir, snapshots }
}

impl Scene {
    fn machine(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::create_dir(&path).expect("made");
        path
    }
}

fn names(layers: &[Layer]) -> Vec<String> {
    let name = |layer: &Layer| layer.path.file_name().expect("name").to_string_lossy().into_owned();
    layers.iter().map(name).collect()
}

#[test]
fn a_disk_begins_as_an_image_and_may_be_larger() {
    let scene = scene();
    let one = scene.machine("one");
    assert_eq!(create(&scene.snapshots, &one, &scene.image, 0).expect("made"), 1 << 20);
    let found = layers(&one).expect("layers");
    assert_eq!(names(&found), ["disk.1.qcow2", "base.img"]);
    assert_eq!(found[1].format, Format::Raw);
    let two = scene.machine("two");
    assert_eq!(create(&scene.snapshots, &two, &scene.image, 1 << 30).expect("made"), 1 << 30);
    let error = create(&scene.snapshots, &scene.machine("three"), &scene.image, 512);
    assert!(error.expect_err("smaller").to_string().contains("smaller"));
}

#[test]
fn what_is_no_disk_is_refused() {
    let scene = scene();
    let place = scene.machine("one");
    let refused = |source: &str| create(&scene.snapshots, &place, source, 0).expect_err("refused");
    assert_eq!(refused("/nowhere/x").kind(), types::ErrorKind::NotFound);
    assert!(refused("nothing").to_string().contains("no such disk: nothing"));
    assert!(refused("../x").to_string().contains("no such disk"));
    assert!(refused(scene.dir.path().to_str().expect("path")).to_string().contains("regular file"));
    let backed = scene.dir.path().join("backed.qcow2");
    qcow2::make_empty(&backed, 1 << 20).expect("made");
    let file = File::options().write(true).open(&backed).expect("opened");
    file.write_at(&[0x70], 15).expect("written");
    let error = refused(backed.to_str().expect("path"));
    assert_eq!(error.kind(), types::ErrorKind::Invalid);
    assert!(error.to_string().contains("backing file"), "{error}");
}

#[test]
fn a_changed_base_is_noticed() {
    let scene = scene();
    let one = scene.machine("one");
    create(&scene.snapshots, &one, &scene.image, 0).expect("made");
    let mut file = File::options().append(true).open(&scene.image).expect("opened");
    file.write_all(&[2; 512]).expect("written");
    assert!(matches!(layers(&one), Err(Error::Changed(_))));
    std::fs::remove_file(&scene.image).expect("removed");
    assert_eq!(layers(&one).expect_err("gone").kind(), types::ErrorKind::NotFound);
}

#[test]
fn snapshots_and_machines_do_not_need_each_other() {
    let scene = scene();
    let one = scene.machine("one");
    create(&scene.snapshots, &one, &scene.image, 0).expect("made");
    let first = layers(&one).expect("layers")[0].path.clone();
    std::fs::OpenOptions::new()
        .append(true)
        .open(&first)
        .expect("opened")
        .write_all(b"data")
        .expect("written");
    scene.snapshots.make(&one, "kept").expect("made");
    assert_eq!(names(&layers(&one).expect("layers")), ["disk.2.qcow2", "disk.1.qcow2", "base.img"]);
    assert!(matches!(scene.snapshots.make(&one, "kept"), Err(Error::Taken(_))));
    assert!(matches!(scene.snapshots.make(&one, "a/b"), Err(Error::BadName(_))));
    let clone = scene.machine("clone");
    create(&scene.snapshots, &clone, "kept", 2 << 20).expect("made");
    let found = layers(&clone).expect("layers");
    assert_eq!(names(&found), ["disk.2.qcow2", "disk.1.qcow2", "base.img"]);
    let same = |path: &Path| std::fs::metadata(path).expect("file").ino();
    assert_eq!(same(&found[1].path), same(&first));
    assert_ne!(same(&found[0].path), same(&layers(&one).expect("layers")[0].path));
    let listed = scene.snapshots.list().expect("list");
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].name.as_str(), listed[0].size), ("kept", 1 << 20));
    assert!(listed[0].taken > 0);
    // Whatever a crash leaves half made or half removed goes, and nothing else.
    let left = scene.dir.path().join("machines/snapshots/.left");
    std::fs::create_dir(&left).expect("made");
    assert_eq!(scene.snapshots.list().expect("list").len(), 1);
    scene.snapshots.sweep().expect("swept");
    assert!(!left.exists() && scene.snapshots.list().expect("list").len() == 1);
    scene.snapshots.remove("kept").expect("removed");
    assert!(matches!(scene.snapshots.remove("kept"), Err(Error::NoSnapshot(_))));
    assert!(scene.snapshots.list().expect("list").is_empty());
    std::fs::remove_dir_all(&one).expect("removed");
    assert_eq!(layers(&clone).expect("still there").len(), 3);
}

#[test]
fn a_disk_has_a_deepest_layer() {
    let scene = scene();
    let one = scene.machine("one");
    create(&scene.snapshots, &one, &scene.image, 0).expect("made");
    let mut made = 0;
    let error = loop {
        match scene.snapshots.make(&one, &format!("s{made}")) {
            Ok(()) => made += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Deep(_)), "{error}");
    assert_eq!(layers(&one).expect("layers").len(), DEEPEST);
}
