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

impl Scene {
    fn list(&self) -> Vec<Snapshot> {
        let (found, unreadable) = self.snapshots.list().expect("list");
        assert!(unreadable.is_empty(), "{unreadable:?}");
        found
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
    let listed = scene.list();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].name.as_str(), listed[0].size), ("kept", 1 << 20));
    assert!(listed[0].taken > 0);
    // The first layer stays with the snapshot.
    let (all, own) = (taken(&one).expect("bytes"), freed(&one).expect("bytes"));
    assert!(own > 0 && own < all, "{own} of {all}");
    // Whatever a crash leaves half made or half removed goes, and nothing else.
    let left = scene.dir.path().join("machines/snapshots/.left");
    std::fs::create_dir(&left).expect("made");
    std::fs::write(left.with_file_name(".file"), "").expect("written");
    assert_eq!(scene.list().len(), 1);
    assert!(scene.snapshots.sweep().is_empty());
    assert!(!left.with_file_name(".file").exists());
    assert!(!left.exists() && scene.list().len() == 1);
    scene.snapshots.remove("kept").expect("removed");
    assert!(matches!(scene.snapshots.remove("kept"), Err(Error::NoSnapshot(_))));
    assert!(scene.list().is_empty());
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

#[test]
fn a_name_is_made_once_however_many_ask() {
    let scene = scene();
    let machines = ["one", "two", "three"].map(|name| scene.machine(name));
    for machine in &machines {
        create(&scene.snapshots, machine, &scene.image, 0).expect("made");
    }
    let clones = scene.machine("clones");
    for round in 0..6 {
        let made: Vec<bool> = std::thread::scope(|scope| {
            let makers = machines
                .each_ref()
                .map(|machine| scope.spawn(|| scene.snapshots.make(machine, "kept").is_ok()));
            let other = scope.spawn(|| {
                for attempt in 0..20 {
                    let clone = clones.join(format!("{round}.{attempt}"));
                    std::fs::create_dir(&clone).expect("made");
                    match create(&scene.snapshots, &clone, "kept", 0) {
                        Ok(_) => assert!(layers(&clone).expect("whole").len() >= 3),
                        Err(error) => assert!(matches!(error, Error::NoSuchDisk(_)), "{error}"),
                    }
                    match scene.snapshots.remove("kept") {
                        Ok(()) | Err(Error::NoSnapshot(_)) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
            let made = makers.map(|maker| maker.join().expect("ended"));
            other.join().expect("ended");
            made.into()
        });
        assert!(made.contains(&true));
        for snapshot in scene.list() {
            assert!(snapshot.taken > 0, "it has no layers");
            scene.snapshots.remove(&snapshot.name).expect("removed");
        }
    }
    for machine in &machines {
        layers(machine).expect("whole");
    }
}

#[test]
fn a_snapshot_that_fails_uses_up_no_layer() {
    let scene = scene();
    let one = scene.machine("one");
    create(&scene.snapshots, &one, &scene.image, 0).expect("made");
    let before = names(&layers(&one).expect("layers"));
    let folder = scene.dir.path().join("machines/snapshots");
    assert!(matches!(scene.snapshots.make(&one, "create"), Err(Error::Reserved(_))));
    // A link to nothing: it is only seen when the snapshot gets its name.
    std::fs::create_dir_all(&folder).expect("made");
    std::os::unix::fs::symlink("/nowhere", folder.join("kept")).expect("linked");
    assert!(matches!(scene.snapshots.make(&one, "kept"), Err(Error::Taken(_))));
    assert_eq!(names(&layers(&one).expect("layers")), before);
    assert!(!one.join("disk.2.qcow2").exists() && !folder.join(".kept").exists());
    std::fs::remove_file(folder.join("kept")).expect("removed");
    scene.snapshots.make(&one, "kept").expect("made");
    // One that cannot be read does not hide the others.
    std::fs::create_dir(folder.join("strange")).expect("made");
    let (found, unreadable) = scene.snapshots.list().expect("list");
    assert_eq!((found.len(), unreadable.len()), (1, 1));
}

#[test]
fn no_crash_has_a_layer_of_a_snapshot_written_to() {
    let scene = scene();
    for steps in 0..3 {
        let one = scene.machine(&format!("one{steps}"));
        create(&scene.snapshots, &one, &scene.image, 0).expect("made");
        let before = Manifest::read(&one).expect("read");
        let temporary = scene.dir.path().join(format!("machines/snapshots/.kept{steps}"));
        durable::make_directories(temporary.parent().expect("parent")).expect("made");
        // It ends after so many steps, and the next start sweeps.
        if steps > 0 {
            Snapshots::prepare(&before, &one, &temporary).expect("prepared");
        }
        if steps > 1 {
            Snapshots::switch(&before, &one).expect("switched");
        }
        assert!(scene.snapshots.sweep().is_empty());
        let found = layers(&one).expect("layers");
        assert_eq!(found.len(), if steps > 1 { 3 } else { 2 });
        assert_eq!(std::fs::metadata(&found[0].path).expect("file").nlink(), 1);
        assert!(scene.list().is_empty());
        scene.snapshots.make(&one, &format!("kept{steps}")).expect("made");
        let written = &layers(&one).expect("layers")[0].path;
        assert_eq!(std::fs::metadata(written).expect("file").nlink(), 1);
        scene.snapshots.remove(&format!("kept{steps}")).expect("removed");
    }
}

#[test]
fn a_pipe_is_no_disk_and_nobody_waits_for_its_writer() {
    let scene = scene();
    let pipe = scene.dir.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo");
    assert!(made.success());
    let path = pipe.display().to_string();
    let error = create(&scene.snapshots, &scene.machine("one"), &path, 0).expect_err("refused");
    assert!(matches!(error, Error::NoFile(_)), "{error}");
}
