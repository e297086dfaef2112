use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use sys::entry::{self, FileTime};
use sys::fs::{FileType, Node, Root, makedev};

use super::Adopted;
use crate::layer::{LayerMeta, Layers, Staged};
use crate::overlay;
use crate::store::Options;

struct Fixture {
    dir: tempfile::TempDir,
    layers: Layers,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("directory");
        let (layers, _) = Layers::open(&dir.path().join("layers")).expect("open");
        Self { dir, layers }
    }

    fn adopt(&self, name: &str, consume: bool, latest: Option<i64>) -> Staged {
        let parent = Root::open_host(self.dir.path()).expect("open");
        self.layers
            .adopt(&Adopted {
                parent: &parent,
                name: OsStr::new(name),
                consume,
                latest,
                below: &|path| path == b"below",
            })
            .expect("adopt")
    }

    fn publish(&self, staged: Staged) -> LayerMeta {
        let meta = staged.meta.clone();
        self.layers.publish(vec![staged]).expect("publish");
        meta
    }

    fn tar(&self, meta: &LayerMeta) -> Vec<u8> {
        let mut out = Vec::new();
        self.layers.reproduce(meta, &mut out).expect("reproduce");
        out
    }

    /// Everything that can be told of a layer's files.
    fn listing(&self, meta: &LayerMeta) -> BTreeMap<String, String> {
        let root = Root::open_host(self.layers.diff_path(&meta.diff_id)).expect("open");
        let (mut out, mut inodes) = (BTreeMap::new(), BTreeMap::new());
        root.walk(".", &mut |found| {
            let stat = found.stat;
            if overlay::is_whiteout(stat) {
                // Nobody looks at anything else of it.
                out.insert(found.path.to_string_lossy().into_owned(), "whiteout".to_owned());
                return Ok(());
            }
            let path = found.path.to_string_lossy().into_owned();
            let first = inodes.entry(stat.st_ino).or_insert_with(|| path.clone()).clone();
            let content = match found.kind() {
                FileType::RegularFile => {
                    format!("{:x?}", fs::read(self.layers.diff_path(&meta.diff_id).join(&path))?)
                }
                FileType::Symlink => found.read_link()?.display().to_string(),
                _ => String::new(),
            };
            let line = format!(
                "{:o} {}:{} {}.{} {:x} {:?} {first} {content}",
                stat.st_mode,
                stat.st_uid,
                stat.st_gid,
                stat.st_mtime,
                stat.st_mtime_nsec,
                stat.st_rdev,
                root.xattrs(found.path)?,
            );
            out.insert(path, line);
            Ok(())
        })
        .expect("walk");
        out
    }
}

/// An upper directory with everything that overlayfs and a container leave in one.
fn make_upper(at: &Path) {
    fs::create_dir(at).expect("directory");
    let root = Root::open_host(at).expect("open");
    let dir = entry::reopen_dir(&root).expect("open");
    let name = OsStr::new;
    for sub in ["below", "new", "new/inner"] {
        fs::create_dir(at.join(sub)).expect("directory");
        overlay::set_opaque(&dir, name(sub.split('/').next().expect("name"))).expect("opaque");
    }
    root.set_xattr("new/inner", "trusted.overlay.opaque", b"y").expect("opaque");
    root.set_xattr("below", "trusted.overlay.origin", b"x").expect("origin");
    fs::write(at.join("below/file"), "text").expect("write");
    fs::write(at.join("new/inner/big"), vec![7; 100_000]).expect("write");
    fs::write(at.join("empty"), "").expect("write");
    fs::hard_link(at.join("new/inner/big"), at.join("zlink")).expect("link");
    let long = "long".repeat(40);
    fs::write(at.join("new").join(&long), &long).expect("write");
    std::os::unix::fs::symlink("../x", at.join("symlink")).expect("symlink");
    entry::mknod(&dir, name("fifo"), Node::Fifo, 0o640).expect("fifo");
    entry::mknod(&dir, name("null"), Node::Char(makedev(1, 3)), 0o666).expect("device");
    entry::mknod(&dir, name("socket"), Node::Socket, 0o600).expect("socket");
    overlay::make_whiteout(&dir, name("gone")).expect("whiteout");
    let inner = entry::open_dir(&dir, name("new")).expect("open");
    overlay::make_whiteout(&inner, name("gone")).expect("whiteout");
    let sparse = fs::File::create(at.join("sparse")).expect("create");
    sparse.set_len(1 << 20).expect("length");
    fs::write(at.join("capable"), "program").expect("write");
    entry::chown(&dir, name("capable"), 70_000, 80_000).expect("chown");
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    root.set_xattr("capable", "security.capability", capability).expect("capability");
    root.set_xattr("below/file", "user.note", b"hello").expect("attribute");
    fs::set_permissions(at.join("empty"), fs::Permissions::from_mode(0o4711)).expect("mode");
    fs::set_permissions(at.join("new"), fs::Permissions::from_mode(0o1777)).expect("mode");
    entry::chown(&dir, name("symlink"), 5, 6).expect("chown");
    let old = FileTime { seconds: 1_000_000_000, nanoseconds: 123_456_789 };
    entry::set_times(&dir, name("empty"), old, old).expect("times");
    fs::set_permissions(at, fs::Permissions::from_mode(0o751)).expect("mode");
}

#[test]
fn privileged_an_adopted_layer_is_what_its_tar_unpacks_to() {
    let fixture = Fixture::new();
    make_upper(&fixture.dir.path().join("upper"));
    let copied = fixture.adopt("upper", false, None);
    let meta = copied.meta.clone();
    let copied = fixture.publish(copied);
    assert!(fixture.dir.path().join("upper/socket").exists(), "the container keeps its files");

    let tar = fixture.tar(&copied);
    let listing = fixture.listing(&copied);
    assert!(!listing.contains_key("socket"));
    assert!(listing["below"].contains("opaque"), "{}", listing["below"]);
    assert!(!listing["below"].contains("origin"), "{}", listing["below"]);
    assert!(!listing["new"].contains("opaque"), "nothing is below: {}", listing["new"]);
    assert!(listing["capable"].contains("70000:80000"), "{}", listing["capable"]);
    assert!(listing["capable"].contains("security.capability"), "{}", listing["capable"]);
    assert!(listing["empty"].contains("1000000000.0 "), "{}", listing["empty"]);

    let other = Fixture::new();
    let unpacked = other.layers.stage(&mut &tar[..], false, &Options::default()).expect("unpack");
    let unpacked = other.publish(unpacked);
    assert_eq!(unpacked, meta);
    let there = other.listing(&unpacked);
    for (path, line) in &listing {
        assert_eq!(there.get(path), Some(line), "{path}");
    }
    assert_eq!(there.len(), listing.len());
}

#[test]
fn privileged_moving_gives_the_same_layer_as_copying() {
    let (copying, moving) = (Fixture::new(), Fixture::new());
    make_upper(&copying.dir.path().join("upper"));
    let latest = Some(900_000_000);
    let copied = copying.publish(copying.adopt("upper", false, latest));
    fs::rename(copying.dir.path().join("upper"), moving.dir.path().join("upper")).expect("move");
    let moved = moving.publish(moving.adopt("upper", true, latest));
    assert!(!moving.dir.path().join("upper").exists());
    assert_eq!(copied, moved);
    assert_eq!(copying.listing(&copied), moving.listing(&moved));
    for (path, line) in moving.listing(&moved) {
        assert!(line.contains(" 900000000.0 ") || line == "whiteout", "{path}: {line}");
    }
}

#[test]
fn privileged_files_of_other_layers_are_shared() {
    let fixture = Fixture::new();
    let mut layers = Vec::new();
    for (name, more) in [("one", "1"), ("two", "2")] {
        let upper = fixture.dir.path().join(name);
        fs::create_dir_all(upper.join("usr")).expect("directory");
        fs::write(upper.join("usr/big"), vec![9; 50_000]).expect("write");
        // The same content at another place stays a file of its own.
        fs::write(upper.join("usr/big2"), vec![9; 50_000]).expect("write");
        fs::write(upper.join("more"), more).expect("write");
        layers.push(fixture.publish(fixture.adopt(name, true, Some(1000))));
    }
    let stat = |layer: &LayerMeta, name: &str| {
        fs::metadata(fixture.layers.diff_path(&layer.diff_id).join(name)).expect("stat")
    };
    let [one, two] = &layers[..] else { panic!("two layers") };
    assert_eq!(stat(one, "usr/big").ino(), stat(two, "usr/big").ino());
    assert_ne!(stat(two, "usr/big").ino(), stat(two, "usr/big2").ino());
    assert_eq!(stat(two, "usr").mtime(), 1000, "the exchange leaves no trace");
    for layer in &layers {
        fixture.tar(layer);
    }
}

#[test]
fn privileged_nothing_is_left_of_a_layer_that_fails() {
    let fixture = Fixture::new();
    let parent = Root::open_host(fixture.dir.path()).expect("open");
    let adopted = Adopted {
        parent: &parent,
        name: OsStr::new("nothing"),
        consume: true,
        latest: None,
        below: &|_| false,
    };
    assert!(fixture.layers.adopt(&adopted).is_err());
    let left: Vec<_> = fs::read_dir(fixture.dir.path().join("layers"))
        .expect("list")
        .flatten()
        .filter(|found| found.file_name().to_string_lossy().starts_with("tmp-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
