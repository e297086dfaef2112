use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use proptest::prelude::*;
use sys::entry;

use super::*;
use crate::Error;
use crate::store::Options;
use crate::tarball::{Header, Kind, TarWriter};

/// An entry of a tar to be.
#[derive(Clone, Debug)]
struct Item {
    kind: Kind,
    name: String,
    link: String,
    content: Vec<u8>,
}

fn item(kind: Kind, name: &str, link: &str, content: &[u8]) -> Item {
    Item { kind, name: name.into(), link: link.into(), content: content.into() }
}

fn tar(items: &[Item], trailer: &[u8]) -> Vec<u8> {
    let mut writer = TarWriter::new(Vec::new());
    for item in items {
        let size = if item.kind == Kind::File { item.content.len() as u64 } else { 0 };
        writer
            .header(&Header {
                name: item.name.as_bytes(),
                kind: item.kind,
                link: item.link.as_bytes(),
                size,
                mtime: 1_000_000_000,
                mode: if item.kind == Kind::Dir { 0o750 } else { 0o640 },
                ..Header::default()
            })
            .expect("header");
        if size > 0 {
            writer.output().write_all(&item.content).expect("content");
            writer.pad(size).expect("padding");
        }
    }
    writer.end().expect("end");
    let mut bytes = writer.into_output();
    bytes.extend_from_slice(trailer);
    bytes
}

struct Fixture {
    dir: tempfile::TempDir,
    layers: Layers,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("directory");
        let (layers, _) = Layers::open(&dir.path().join("layers")).expect("open");
        std::fs::write(dir.path().join("outside"), "untouched").expect("write");
        Self { dir, layers }
    }

    fn stage(&self, mut tar: &[u8]) -> Result<Staged, Error> {
        self.layers.stage(&mut tar, false, &Options::default())
    }

    fn unpack(&self, tar: &[u8]) -> Result<LayerMeta, Error> {
        let staged = self.stage(tar)?;
        let meta = staged.meta.clone();
        self.layers.publish(vec![staged])?;
        Ok(meta)
    }

    /// The tar of a layer that is not published: no flush of the disk for each case.
    fn staged_tar(&self, staged: &Staged) -> Vec<u8> {
        let mut out = Vec::new();
        self.layers.reproduce_staged(staged, &mut out).expect("reproduce");
        out
    }

    fn diff(&self, meta: &LayerMeta) -> std::path::PathBuf {
        self.layers.diff_path(&meta.diff_id)
    }

    fn reproduced(&self, meta: &LayerMeta) -> Vec<u8> {
        let mut out = Vec::new();
        self.layers.reproduce(meta, &mut out).expect("reproduce");
        out
    }

    /// Nothing outside of the layers has changed.
    fn check_outside(&self) {
        let text = std::fs::read_to_string(self.dir.path().join("outside")).expect("read");
        assert_eq!(text, "untouched");
        let names: Vec<_> = std::fs::read_dir(self.dir.path()).expect("list").collect();
        assert_eq!(names.len(), 2);
    }
}

fn any_item() -> impl Strategy<Value = Item> {
    let name = prop_oneof![
        8 => "[abc](/[abc]){0,2}/?",
        1 => "\\./[ab]",
        1 => "[ab]/\\.\\./[bc]",
        1 => "([ab]/)?\\.wh\\.[abc]",
        1 => "([ab]/)?\\.wh\\.\\.wh\\.\\.opq",
        1 => "a{120}/[bc]",
    ];
    let kind = prop_oneof![
        4 => Just(Kind::File),
        2 => Just(Kind::Dir),
        2 => Just(Kind::Symlink),
        2 => Just(Kind::HardLink),
        1 => Just(Kind::Fifo),
    ];
    let link = prop_oneof![2 => "[abc](/[abc])?", 1 => "/[abc]", 1 => "(\\.\\./){1,3}[abc]"];
    (kind, name, link, prop::collection::vec(any::<u8>(), 0..2000))
        .prop_map(|(kind, name, link, content)| Item { kind, name, link, content })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Whatever can be unpacked at all comes back byte for byte, and nothing escapes.
    #[test]
    fn privileged_every_tar_comes_back_byte_for_byte(
        items in prop::collection::vec(any_item(), 0..25),
        trailer in prop_oneof![Just(Vec::new()), prop::collection::vec(any::<u8>(), 0..3000)],
    ) {
        let fixture = Fixture::new();
        // Drop what would be refused, so that the rest is exercised to its end.
        let mut good: Vec<Item> = Vec::new();
        for item in items {
            good.push(item);
            if fixture.stage(&tar(&good, b"")).is_err() {
                good.pop();
            }
        }
        let bytes = tar(&good, &trailer);
        let staged = fixture.stage(&bytes).expect("unpacks");
        prop_assert_eq!(staged.meta.tar_size, bytes.len() as u64);
        prop_assert_eq!(&staged.meta.diff_id, &crate::stream::sha256(&bytes));
        prop_assert_eq!(fixture.staged_tar(&staged), bytes);
        fixture.check_outside();
    }

    /// Rubbish never does more than fail.
    #[test]
    fn privileged_rubbish_is_an_error(
        mut bytes in prop::collection::vec(any::<u8>(), 0..4096),
        at in prop::collection::vec((0usize..3000, any::<u8>()), 0..4),
    ) {
        let fixture = Fixture::new();
        let _ = fixture.stage(&bytes);
        bytes = tar(&[item(Kind::File, "a", "", &[7; 600]), item(Kind::Dir, "d/", "", b"")], b"");
        for (at, byte) in at {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        if let Ok(staged) = fixture.stage(&bytes) {
            prop_assert_eq!(fixture.staged_tar(&staged), bytes);
        }
        fixture.check_outside();
    }
}

#[test]
fn privileged_whiteouts_become_overlayfs_own() {
    let fixture = Fixture::new();
    let bytes = tar(
        &[
            item(Kind::Dir, "d/", "", b""),
            item(Kind::File, "d/.wh..wh..opq", "", b""),
            item(Kind::File, "d/.wh.gone", "", b""),
            item(Kind::File, ".wh.top", "", b""),
            item(Kind::Dir, "kept/", "", b""),
            item(Kind::File, ".wh.kept", "", b""),
            item(Kind::File, ".wh.later", "", b""),
            item(Kind::Dir, "later/", "", b""),
        ],
        b"",
    );
    let meta = fixture.unpack(&bytes).expect("unpacks");
    let diff = fixture.diff(&meta);
    let dir = std::fs::File::open(&diff).expect("open");
    for name in ["d/gone", "top"] {
        let stat = std::fs::symlink_metadata(diff.join(name)).expect(name);
        assert!(stat.file_type().is_char_device() && stat.rdev() == 0, "{name}");
    }
    for name in ["d", "kept", "later"] {
        assert!(crate::overlay::is_opaque(&dir, OsStr::new(name)).expect("xattr"), "{name}");
    }
    assert_eq!(fixture.reproduced(&meta), bytes);
}

#[test]
fn privileged_owners_modes_times_and_capabilities_are_kept() {
    let fixture = Fixture::new();
    let capability = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    let xattrs = [
        (b"security.capability".to_vec(), capability.clone()),
        (b"user.note".to_vec(), b"hello".to_vec()),
        (b"trusted.overlay.opaque".to_vec(), b"y".to_vec()),
    ];
    let mut writer = TarWriter::new(Vec::new());
    let root = Header {
        name: b"./",
        kind: Kind::Dir,
        mode: 0o1777,
        uid: 5,
        gid: 6,
        mtime: 77,
        ..Header::default()
    };
    writer.header(&root).expect("root");
    let header = Header {
        name: b"ping",
        mode: 0o4755,
        uid: 3_000_000_000,
        gid: 70_000,
        mtime: 123_456,
        xattrs: &xattrs,
        ..Header::default()
    };
    writer.header(&header).expect("file");
    let device = Header { name: b"null", kind: Kind::Char, device: (1, 3), ..header.clone() };
    writer.header(&Header { xattrs: &[], ..device }).expect("device");
    writer
        .header(&Header { name: b"hard", kind: Kind::HardLink, link: b"ping", ..header })
        .expect("link");
    writer.end().expect("end");
    let meta = fixture.unpack(&writer.into_output()).expect("unpacks");
    let diff = fixture.diff(&meta);

    let ping = std::fs::metadata(diff.join("ping")).expect("ping");
    assert_eq!((ping.uid(), ping.gid(), ping.mtime()), (3_000_000_000, 70_000, 123_456));
    assert_eq!((ping.mode() & 0o7777, ping.nlink()), (0o4755, 2));
    let dir = std::fs::File::open(&diff).expect("open");
    let get = |key: &str| entry::xattr(&dir, OsStr::new("ping"), OsStr::new(key)).expect("xattr");
    assert_eq!(get("security.capability"), Some(capability));
    assert_eq!(get("user.note").as_deref(), Some(&b"hello"[..]));
    assert_eq!(get("trusted.overlay.opaque"), None, "overlayfs' own attributes are not taken");
    let null = std::fs::metadata(diff.join("null")).expect("null");
    assert_eq!((null.rdev(), null.file_type().is_char_device()), (0x103, true));
    let top = std::fs::metadata(&diff).expect("top");
    assert_eq!((top.permissions().mode() & 0o7777, top.uid()), (0o755, 0), "as in Docker");
}

#[test]
fn privileged_nothing_is_written_outside() {
    let fixture = Fixture::new();
    let outside = fixture.dir.path().join("outside");
    let outside = outside.to_str().expect("UTF-8");
    let escapes: [&[Item]; 8] = [
        &[item(Kind::File, "../../outside", "", b"x")],
        &[item(Kind::File, "a/../../../outside", "", b"x")],
        &[item(Kind::Symlink, "a", "../../..", b""), item(Kind::File, "a/outside", "", b"x")],
        &[
            item(Kind::Symlink, "a", fixture.dir.path().to_str().expect("UTF-8"), b""),
            item(Kind::File, "a/outside", "", b"x"),
        ],
        &[item(Kind::Symlink, "a", outside, b""), item(Kind::File, "a", "", b"x")],
        &[item(Kind::HardLink, "a", "../../outside", b"")],
        &[
            item(Kind::Symlink, "a", outside, b""),
            item(Kind::HardLink, "b", "a", b""),
            item(Kind::File, "b", "", b"x"),
        ],
        &[item(Kind::File, "/outside", "", b"x"), item(Kind::File, "//../outside", "", b"y")],
    ];
    for items in escapes {
        let _ = fixture.unpack(&tar(items, b""));
        fixture.check_outside();
    }
    let error = |items: &[Item]| fixture.unpack(&tar(items, b"")).expect_err("refused").to_string();
    assert_eq!(
        error(&[item(Kind::File, "../x", "", b"")]),
        "cannot unpack \"../x\": leads outside of the archive"
    );
    assert_eq!(
        error(&[item(Kind::HardLink, "a", "../x", b"")]),
        "cannot unpack \"a\": its hard link target leads outside of the archive"
    );
    let file = [item(Kind::File, "f", "", b"x"), item(Kind::File, "f/g", "", b"x")];
    assert!(error(&file).starts_with("cannot unpack \"f/g\": Not a directory"), "{}", error(&file));
    let circle = [
        item(Kind::Symlink, "a", "b", b""),
        item(Kind::Symlink, "b", "a", b""),
        item(Kind::File, "a/x", "", b""),
    ];
    assert!(error(&circle).contains("Too many levels of symbolic links"));
    // What failed has left nothing.
    let left: Vec<_> = std::fs::read_dir(fixture.dir.path().join("layers"))
        .expect("list")
        .filter_map(|found| found.expect("entry").file_name().into_string().ok())
        .filter(|name| name.starts_with("tmp-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn privileged_limits_are_kept() {
    let fixture = Fixture::new();
    let limits = Options { max_layer_bytes: 10_000, max_layer_entries: 3, ..Options::default() };
    let stage = |bytes: &[u8]| {
        fixture.layers.stage(&mut &bytes[..], false, &limits).map(|_| ()).map_err(|e| e.to_string())
    };
    let many: Vec<Item> = (0..4).map(|at| item(Kind::File, &at.to_string(), "", b"")).collect();
    assert_eq!(
        stage(&tar(&many, b"")),
        Err("the number of a layer's files is beyond the limit of 3".into())
    );
    // A bomb: 100 KiB of zeros that compress to nothing.
    let bomb = tar(&[item(Kind::File, "zeros", "", &[0; 100 << 10])], b"");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&bomb).expect("compress");
    let gzip = gzip.finish().expect("compress");
    assert_eq!(stage(&gzip), Err("a decompressed layer is beyond the limit of 10000".into()));
    // A header that promises what never comes.
    let mut promise = tar(&[item(Kind::File, "x", "", b"y")], b"");
    promise.truncate(512);
    assert_eq!(stage(&promise), Err("invalid tar: unexpected EOF".into()));
    let whole = &gzip[..gzip.len() - 20];
    let error = fixture.layers.stage(&mut &whole[..], false, &Options::default()).expect_err("cut");
    assert!(error.to_string().contains("damaged gzip stream"), "{error}");
}

#[test]
fn privileged_a_damaged_layer_is_noticed() {
    let fixture = Fixture::new();
    let bytes = tar(&[item(Kind::File, "f", "", b"right")], b"");
    let meta = fixture.unpack(&bytes).expect("unpacks");
    std::fs::write(fixture.diff(&meta).join("f"), b"wrong").expect("write");
    let error = fixture.layers.reproduce(&meta, &mut Vec::new()).expect_err("damaged");
    assert!(matches!(error, Error::DamagedLayer { .. }), "{error}");
    std::fs::remove_file(fixture.diff(&meta).join("f")).expect("remove");
    fixture.layers.reproduce(&meta, &mut Vec::new()).expect_err("missing");
    assert!(Path::new(&fixture.diff(&meta)).exists());
}

#[test]
fn privileged_remains_are_swept_and_layers_found_again() {
    let fixture = Fixture::new();
    let meta = fixture.unpack(&tar(&[item(Kind::File, "f", "", b"x")], b"")).expect("unpacks");
    let path = fixture.dir.path().join("layers");
    std::fs::create_dir_all(path.join("tmp-7/diff/deep")).expect("remains");
    let (_, found) = Layers::open(&path).expect("open again");
    assert_eq!(found, [meta]);
    assert!(!path.join("tmp-7").exists());
}
