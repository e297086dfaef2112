use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, Stdio};

use sys::fs::{Node, OFlags};

use super::*;
use crate::model::{ChangeKind, ContainerUse, Removal};
use crate::remove::RemoveOptions;
use crate::testing::{Fixture, container};

/// The names in a directory, but for the mount points that every container has.
fn names(root: &Root, path: &str) -> Vec<String> {
    const EVERYWHERE: [&str; 8] =
        [".dockerenv", "dev", "hostname", "hosts", "mtab", "proc", "resolv.conf", "sys"];
    let names = root.read_dir(path).expect("list").into_iter();
    names
        .map(|found| found.name.into_string().expect("UTF-8"))
        .filter(|name| !EVERYWHERE.contains(&name.as_str()))
        .collect()
}

fn text(root: &Root, path: &str) -> String {
    String::from_utf8(root.read(path, 1000).expect(path)).expect("UTF-8")
}

fn write(root: &Root, path: &str, text: &str) {
    let mut file = File::from(
        root.open(path, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC, 0o644.into()).expect(path),
    );
    file.write_all(text.as_bytes()).expect(path);
}

/// Three layers that add, replace, hide and reopen names.
fn layered(fixture: &Fixture) -> Digest {
    fixture.image(
        "app:1",
        &[
            &[
                ("./", "d"),
                ("etc/", "d"),
                ("etc/a", "-one"),
                ("gone/", "d"),
                ("gone/x", "-x"),
                ("full/", "d"),
                ("full/old", "-old"),
                ("link", ">etc/a"),
            ],
            &[
                ("etc/", "d"),
                ("etc/a", "-two"),
                (".wh.gone", "-"),
                ("full/", "d"),
                ("full/.wh..wh..opq", "-"),
                ("full/new", "-new"),
            ],
            &[("etc/", "d"), ("etc/b", "-three"), ("hard", "=etc/b")],
        ],
    )
}

fn mounted(fixture: &Fixture, id: &ContainerId) -> Root {
    Root::from(fixture.store.mount(id, MountOptions::default()).expect("mount"))
}

#[test]
fn privileged_layers_are_seen_as_one_file_system() {
    let fixture = Fixture::new();
    let image = layered(&fixture);
    let id = container('1');
    fixture.store.prepare(&id, &image).expect("prepare");
    fixture.store.prepare(&id, &image).expect("twice is fine");
    let root = mounted(&fixture, &id);
    assert_eq!(names(&root, "/"), ["etc", "full", "hard", "link"]);
    assert_eq!(text(&root, "link"), "two");
    assert_eq!(text(&root, "hard"), "three");
    assert_eq!(names(&root, "full"), ["new"]);
    write(&root, "etc/a", "mine");
    drop(root);
    // Nothing was mounted where anybody sees it, and what was written is there the next time.
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    assert!(!mounts.contains(fixture.dir.path().to_str().expect("UTF-8")));
    assert_eq!(text(&mounted(&fixture, &id), "etc/a"), "mine");
    let below = fixture.store.mount_image(&image, MountOptions::default()).expect("image");
    let below = Root::from(below);
    assert_eq!(text(&below, "etc/a"), "two");
    let error = below.create_file("x", 0o600.into()).expect_err("read-only");
    assert_eq!(error.kind(), io::ErrorKind::ReadOnlyFilesystem);
    assert_eq!(fixture.store.size_rw(&id).expect("size"), 4);
}

#[test]
fn privileged_every_way_of_mounting_shows_the_same() {
    let fixture = Fixture::new();
    let image = layered(&fixture);
    let id = container('1');
    fixture.store.prepare(&id, &image).expect("prepare");
    for options in [
        MountOptions { volatile: true, ..MountOptions::default() },
        MountOptions { read_only: true, ..MountOptions::default() },
        // After a volatile mount the kernel would refuse the directory unless it was tidied.
        MountOptions::default(),
    ] {
        let root = Root::from(fixture.store.mount(&id, options).expect("mount"));
        assert_eq!(text(&root, "etc/b"), "three", "{options:?}");
        let written = root.create_file("new", 0o600.into()).map(|_| ());
        assert_eq!(written.is_err(), options.read_only, "{options:?}");
        let _ = root.remove_file("new");
    }
    let layers = fixture.store.record_of(&id).expect("record").layers;
    let old = fixture.store.mount_the_old_way(&id, &layers).expect("old way");
    let old = Root::from(old);
    assert_eq!(names(&old, "/"), ["etc", "full", "hard", "link"]);
    write(&old, "etc/b", "old");
    drop(old);
    assert_eq!(text(&mounted(&fixture, &id), "etc/b"), "old");
}

#[test]
fn privileged_hundreds_of_layers_and_repeated_ones_are_mounted() {
    let fixture = Fixture::new();
    let contents: Vec<String> = (0..300).map(|at| format!("-{at}")).collect();
    let layers: Vec<Vec<(&str, &str)>> =
        contents.iter().map(|content| vec![("f", content.as_str())]).collect();
    let mut layers: Vec<&[(&str, &str)]> = layers.iter().map(Vec::as_slice).collect();
    // The same layer once more, on top.
    layers.push(layers[7]);
    let image = fixture.image("tall:1", &layers);
    let root = fixture.store.mount_image(&image, MountOptions::default()).expect("mount");
    assert_eq!(text(&Root::from(root), "f"), "7");
    let single = fixture.image("single:1", &[&[("only", "-x")]]);
    let root = fixture.store.mount_image(&single, MountOptions::default()).expect("mount");
    assert_eq!(names(&Root::from(root), "/"), ["only"]);
}

/// A user namespace that maps 0… to 100000…, and the process that keeps it.
struct UserNamespace {
    fd: OwnedFd,
    keeper: std::process::Child,
}

impl UserNamespace {
    fn new() -> Self {
        let mut keeper = Command::new("unshare")
            .args(["--user", "sh", "-c", "echo ready; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare");
        let mut ready = [0; 6];
        keeper.stdout.as_mut().expect("stdout").read_exact(&mut ready).expect("ready");
        for map in ["uid_map", "gid_map"] {
            std::fs::write(format!("/proc/{}/{map}", keeper.id()), "0 100000 65536").expect("map");
        }
        let fd = File::open(format!("/proc/{}/ns/user", keeper.id())).expect("namespace").into();
        Self { fd, keeper }
    }
}

impl Drop for UserNamespace {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

#[test]
fn privileged_ids_are_mapped_without_changing_the_disk() {
    let fixture = Fixture::new();
    let image = layered(&fixture);
    let id = container('1');
    fixture.store.prepare(&id, &image).expect("prepare");
    let namespace = UserNamespace::new();
    let userns = Some(namespace.fd.as_fd());
    let options = MountOptions { userns, ..MountOptions::default() };
    let root = Root::from(fixture.store.mount(&id, options).expect("mount"));
    assert_eq!(root.stat("etc/a").expect("lower").st_uid, 100_000);
    assert_eq!(root.stat("/").expect("upper").st_uid, 100_000);
    // As the container's own root would: a file of uid 100000 is stored as root's.
    std::thread::scope(|scope| {
        let as_root = scope.spawn(|| {
            sys::fsids::set(100_000, 100_000).expect("ids");
            write(&root, "mine", "x");
        });
        as_root.join().expect("thread");
    });
    assert_eq!(root.stat("mine").expect("made").st_uid, 100_000);
    root.chown("mine", 100_005, 100_006).expect("chown");
    root.chown("etc/a", 100_001, 100_001).expect("copy up");
    drop(root);
    let upper = fixture.dir.path().join("containers").join(id.as_str()).join("upper");
    let mine = std::fs::metadata(upper.join("mine")).expect("mine");
    assert_eq!((mine.uid(), mine.gid()), (5, 6));
    assert_eq!(std::fs::metadata(upper.join("etc/a")).expect("copied up").uid(), 1);
    let below = fixture.store.mount_image(&image, options).expect("image");
    assert_eq!(Root::from(below).stat("etc/a").expect("image").st_uid, 100_000);
}

#[test]
fn privileged_changes_are_found_as_docker_finds_them() {
    let fixture = Fixture::new();
    let image = fixture.image(
        "app:1",
        &[&[
            ("d/", "d"),
            ("d/keep", "-k"),
            ("d/change", "-c"),
            ("d/gone", "-g"),
            ("deep/", "d"),
            ("deep/er/", "d"),
            ("deep/er/f", "-f"),
            ("swap/", "d"),
            ("swap/a", "-a"),
            ("swap/b", "-b"),
            ("swap/sub/", "d"),
            ("swap/sub/c", "-c"),
            ("whole/", "d"),
            ("whole/x", "-x"),
        ]],
    );
    let id = container('1');
    fixture.store.prepare(&id, &image).expect("prepare");
    let root = mounted(&fixture, &id);
    write(&root, "d/change", "changed");
    write(&root, "d/new", "n");
    root.remove_file("d/gone").expect("remove");
    write(&root, "deep/er/f", "changed");
    root.remove_all("swap").expect("remove");
    root.mkdir_all("swap/sub", 0o755.into()).expect("make");
    write(&root, "swap/a", "again");
    root.remove_all("whole").expect("remove");
    root.mkdir("fresh", 0o755.into()).expect("make");
    write(&root, "fresh/f", "f");
    // Made and removed: nothing.
    write(&root, "brief", "b");
    root.remove_file("brief").expect("remove");
    drop(root);
    let changes = fixture.store.changes(&id).expect("changes");
    let shown: Vec<String> = changes
        .iter()
        .map(|change| format!("{} {}", ["C", "A", "D"][change.kind as usize], change.path))
        .collect();
    assert_eq!(
        shown,
        [
            "C /d",
            "C /d/change",
            "D /d/gone",
            "A /d/new",
            "C /deep/er/f",
            "A /fresh",
            "A /fresh/f",
            "C /swap",
            "C /swap/a",
            "D /swap/b",
            "C /swap/sub",
            "D /swap/sub/c",
            "D /whole"
        ]
    );
    assert_eq!(ChangeKind::Deleted as u8, 2);
}

#[test]
fn privileged_a_commit_is_an_image_of_what_is_seen() {
    let mut fixture = Fixture::new();
    let image = layered(&fixture);
    let id = container('1');
    fixture.store.prepare(&id, &image).expect("prepare");
    let root = mounted(&fixture, &id);
    root.remove_file("etc/a").expect("remove");
    root.remove_all("full").expect("remove");
    root.mkdir("full", 0o700.into()).expect("make");
    write(&root, "full/again", "again");
    root.mkdir("fresh", 0o755.into()).expect("make");
    write(&root, "fresh/f", "f");
    root.hard_link("fresh/f", "fresh/g").expect("link");
    root.mknod("fifo", Node::Fifo, 0o600.into()).expect("fifo");
    root.chmod("/", 0o711.into()).expect("chmod");
    drop(root);
    let options = CommitOptions {
        reference: Some("made:2".parse().expect("name")),
        container_config: types::container::ContainerConfig {
            cmd: Some(vec!["make".to_owned(), "it".to_owned()].into()),
            ..Default::default()
        },
        changes: vec!["ENV A=b".to_owned()],
        author: "me".to_owned(),
        comment: "done".to_owned(),
        ..CommitOptions::default()
    };
    let made = fixture.store.commit(&id, &options).expect("commit");
    let inspect = fixture.store.inspect("made:2").expect("inspect");
    assert_eq!((&inspect.id, &inspect.parent), (&made, &image.to_string()));
    assert_eq!(inspect.root_fs.layers.len(), 4);
    assert_eq!((inspect.author.as_str(), inspect.comment.as_str()), ("me", "done"));
    assert_eq!(inspect.config.expect("config").env, ["A=b"]);
    let history = fixture.store.history("made:2").expect("history");
    assert_eq!((history[0].created_by.as_str(), &history[0].id), ("make it", &made.to_string()));

    // The tar that the layer was made of comes back, and has no marks that mean nothing.
    let mut archive = Vec::new();
    fixture.store.save(&["made:2".to_owned()], &mut archive).expect("save");
    let top = fixture.store.layer(&inspect.root_fs.layers[3]).expect("layer");
    let mut bytes = Vec::new();
    fixture.store.layers.reproduce(&top, &mut bytes).expect("reproduce");
    let mut reader = crate::tarball::TarReader::new(&bytes[..]);
    let mut found = Vec::new();
    while let Some(entry) = reader.next().expect("valid") {
        found.push(entry.shown());
    }
    assert_eq!(
        found,
        [
            "etc/",
            "etc/.wh.a",
            "fifo",
            "fresh/",
            "fresh/f",
            "fresh/g",
            "full/",
            "full/.wh..wh..opq",
            "full/again"
        ]
    );

    let other = container('2');
    fixture.store.prepare(&other, &made).expect("prepare");
    let root = mounted(&fixture, &other);
    assert_eq!(names(&root, "/"), ["etc", "fifo", "fresh", "full", "hard", "link"]);
    assert_eq!(names(&root, "etc"), ["b"]);
    assert_eq!(names(&root, "full"), ["again"]);
    assert_eq!(root.stat("fresh/g").expect("link").st_nlink, 2);
    // What `/` itself is, a layer does not say, as in Docker.
    assert_eq!(root.stat("/").expect("root").st_mode & 0o7777, 0o755);
    drop(root);

    // Without a change there is no layer.
    let third = container('3');
    fixture.store.prepare(&third, &made).expect("prepare");
    let same = fixture.store.commit(&third, &CommitOptions::default()).expect("commit");
    let config = fixture.store.config(&same).expect("config");
    assert_eq!(config.rootfs.diff_ids.len(), 4);
    assert!(config.history.last().expect("step").empty_layer);
    fixture.reopen();
    assert_eq!(fixture.store.resolve("made:2").expect("still there"), made);
}

#[test]
fn privileged_a_container_keeps_its_layers_when_its_image_is_forced_away() {
    let mut fixture = Fixture::new();
    let image = layered(&fixture);
    let id = container('1');
    fixture.store.prepare(&id, &image).expect("prepare");
    let users = [ContainerUse { container: id.to_string(), image: image.clone(), running: false }];
    let force = RemoveOptions { force: true, ..RemoveOptions::default() };
    let removed = fixture.store.remove("app:1", force, &users).expect("forced");
    assert_eq!(removed.len(), 2, "no layer goes: {removed:?}");
    fixture.reopen();
    assert_eq!(text(&mounted(&fixture, &id), "etc/a"), "two");
    assert_eq!(fixture.layer_count(), 3);
    fixture.store.remove_snapshot(&id).expect("remove");
    assert_eq!(fixture.layer_count(), 0);
    fixture.store.remove_snapshot(&id).expect("twice is fine");
    assert!(matches!(fixture.store.changes(&id), Err(Error::NoSnapshot(_))));
}

#[test]
fn privileged_a_layer_that_two_images_have_goes_with_the_second() {
    let fixture = Fixture::new();
    let shared: &[(&str, &str)] = &[("s", "-shared")];
    fixture.image("one:1", &[shared, &[("a", "-a")]]);
    fixture.image("two:1", &[&[("b", "-b")], shared]);
    assert_eq!(fixture.layer_count(), 3);
    let usage = fixture.store.usage(&[]).expect("usage");
    assert_eq!(usage.layers_size, 8);
    assert!(usage.images.iter().all(|image| image.shared_size == 6 && image.size == 7));
    let remove = |name: &str| fixture.store.remove(name, RemoveOptions::default(), &[]);
    let removed = remove("one:1").expect("remove");
    let layers = |removed: &[Removal]| {
        removed.iter().filter(|r| matches!(r, Removal::DeletedLayer { .. })).count()
    };
    assert_eq!(layers(&removed), 1);
    assert_eq!(layers(&remove("two:1").expect("remove")), 2);
    assert_eq!(fixture.layer_count(), 0);
}

#[test]
fn privileged_the_upper_directory_takes_the_images_root_over() {
    let fixture = Fixture::new();
    let image = fixture.image("app:1", &[&[("./", "d"), ("a", "-a")], &[("b", "-b")]]);
    let id = container('1');
    fixture.store.prepare(&id, &image).expect("prepare");
    let upper = fixture.dir.path().join("containers").join(id.as_str()).join("upper");
    assert_eq!(std::fs::metadata(upper).expect("upper").permissions().mode() & 0o7777, 0o755);
    let other = fixture.image("other:1", &[&[("a", "-a")]]);
    assert!(matches!(fixture.store.prepare(&id, &other), Err(Error::SnapshotExists(_))));
}

#[test]
fn privileged_containers_of_images_that_share_a_file_do_not_see_each_other() {
    let fixture = Fixture::new();
    let content = format!("-{}", "shared ".repeat(1000));
    let file = ("usr/file", content.as_str());
    let first = fixture.image("one:1", &[&[file, ("one", "-1")]]);
    let second = fixture.image("two:1", &[&[("two", "-2"), file]]);
    let layer = |image: &Digest| {
        let config = fixture.store.config(image).expect("config");
        fixture.store.layers.diff_path(&config.rootfs.diff_ids[0]).join("usr/file")
    };
    let stat = |image: &Digest| std::fs::metadata(layer(image)).expect("stat");
    assert_eq!(stat(&first).ino(), stat(&second).ino(), "one file on disk");
    let usage = fixture.store.usage(&[]).expect("usage");
    assert_eq!(usage.layers_size - usage.disk_size, content.len() as u64 - 1);

    let (one, two) = (container('1'), container('2'));
    fixture.store.prepare(&one, &first).expect("prepare");
    fixture.store.prepare(&two, &second).expect("prepare");
    let mount = |id| Root::from(fixture.store.mount(id, MountOptions::default()).expect("mount"));
    let (one_root, two_root) = (mount(&one), mount(&two));
    let change = one_root.open("usr/file", OFlags::WRONLY | OFlags::APPEND, 0.into());
    File::from(change.expect("open")).write_all(b"changed").expect("write");
    one_root.chmod("usr/file", 0o600.into()).expect("mode");
    assert!(one_root.read("usr/file", 1 << 20).expect("read").ends_with(b"changed"));
    assert_eq!(two_root.read("usr/file", 1 << 20).expect("read"), &content.as_bytes()[1..]);
    assert_eq!(two_root.stat("usr/file").expect("stat").st_mode & 0o777, 0o644);
    assert_eq!(one_root.stat("usr/file").expect("stat").st_nlink, 1, "a copy of its own");
    drop((one_root, two_root));
    let changes = fixture.store.changes(&one).expect("changes");
    let paths: Vec<_> = changes.iter().map(|change| change.path.as_str()).collect();
    assert_eq!(paths, ["/usr/file"]);
    assert_eq!(fixture.store.changes(&two).expect("changes"), []);

    // The image that goes takes nothing from the one that stays.
    fixture.store.remove_snapshot(&two).expect("remove");
    fixture.store.remove("two:1", RemoveOptions::default(), &[]).expect("remove");
    assert_eq!(stat(&first).nlink(), 1);
    let mut saved = Vec::new();
    fixture.store.save(&["one:1".to_owned()], &mut saved).expect("the layer is whole");
    fixture.store.remove_snapshot(&one).expect("remove");
}
