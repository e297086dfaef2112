use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::layer::{LayerMeta, Layers, Staged};
use crate::store::Options;
use crate::tarball::{Header, Kind, TarWriter};

struct Fixture {
    _dir: tempfile::TempDir,
    layers: Layers,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("directory");
        let (layers, _) = Layers::open(&dir.path().join("layers")).expect("open");
        Self { _dir: dir, layers }
    }

    fn stage(&self, input: &mut (dyn Read + Send)) -> Staged {
        self.layers.stage(input, false, &Options::default()).expect("stage")
    }

    /// Unpacks and publishes, and checks that the tar can be made again.
    fn add(&self, tar: &[u8]) -> LayerMeta {
        let staged = self.stage(&mut &tar[..]);
        self.publish(staged, tar)
    }

    fn publish(&self, staged: Staged, tar: &[u8]) -> LayerMeta {
        let meta = staged.meta.clone();
        self.layers.publish(vec![staged]).expect("publish");
        self.check(&meta, tar);
        meta
    }

    fn check(&self, meta: &LayerMeta, tar: &[u8]) {
        let mut out = Vec::new();
        self.layers.reproduce(meta, &mut out).expect("reproduce");
        assert!(out == tar, "the layer gives another tar");
    }

    fn path(&self, meta: &LayerMeta, name: &str) -> PathBuf {
        self.layers.diff_path(&meta.diff_id).join(name)
    }

    fn inode(&self, meta: &LayerMeta, name: &str) -> u64 {
        std::fs::symlink_metadata(self.path(meta, name)).expect("stat").ino()
    }
}

struct File<'a> {
    header: Header<'a>,
    content: Vec<u8>,
}

fn file(name: &str, content: Vec<u8>) -> File<'_> {
    let header = Header { name: name.as_bytes(), mtime: 1_000_000_000, ..Header::default() };
    File { header, content }
}

fn link<'a>(name: &'a str, target: &'a str) -> File<'a> {
    let (kind, link) = (Kind::HardLink, target.as_bytes());
    File { header: Header { kind, link, ..file(name, Vec::new()).header }, content: Vec::new() }
}

/// Content that is the same for the same seed, and nowhere else.
fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// A tar of these, and one more file so that no two are the same.
fn tar(files: &[File<'_>], own: u64) -> Vec<u8> {
    let mut writer = TarWriter::new(Vec::new());
    let other = file("own", bytes(own, 100));
    for File { header, content } in files.iter().chain([&other]) {
        let size = content.len() as u64;
        writer.header(&Header { size, ..header.clone() }).expect("header");
        writer.output().write_all(content).expect("content");
        writer.pad(size).expect("padding");
    }
    writer.end().expect("end");
    writer.into_output()
}

#[test]
fn the_same_file_of_two_layers_is_one_file() {
    let fixture = Fixture::new();
    let shared = || vec![file("usr/lib/a", bytes(1, 300_000)), file("usr/lib/b", bytes(2, 5000))];
    let (first_tar, second_tar) = (tar(&shared(), 10), tar(&shared(), 11));
    let first = fixture.add(&first_tar);
    let second = fixture.add(&second_tar);
    for name in ["usr/lib/a", "usr/lib/b"] {
        assert_eq!(fixture.inode(&first, name), fixture.inode(&second, name), "{name}");
    }
    assert_eq!(second.size, 305_100, "sizes are those of Docker");
    let ids = [&first.diff_id, &second.diff_id];
    assert_eq!(fixture.layers.shared_bytes(ids.into_iter()), 305_000);

    let tmp = fixture.layers.unpublish(&first.diff_id).expect("unpublish");
    fixture.layers.sweep(&tmp).expect("sweep");
    fixture.check(&second, &second_tar);
    let third = fixture.add(&tar(&shared(), 12));
    assert_eq!(fixture.inode(&second, "usr/lib/a"), fixture.inode(&third, "usr/lib/a"));
}

#[test]
fn layers_of_one_operation_share_before_they_are_published() {
    let fixture = Fixture::new();
    let shared = || [file("a", bytes(1, 9000))];
    let (first_tar, second_tar) = (tar(&shared(), 10), tar(&shared(), 11));
    let first = fixture.stage(&mut &first_tar[..]);
    let second = fixture.stage(&mut &second_tar[..]);
    let second = fixture.publish(second, &second_tar);
    let first = fixture.publish(first, &first_tar);
    assert_eq!(fixture.inode(&first, "a"), fixture.inode(&second, "a"));
}

#[test]
fn other_content_is_written_from_where_it_differs() {
    let fixture = Fixture::new();
    let content = bytes(1, 1_000_000);
    let first = fixture.add(&tar(&[file("a", content.clone())], 10));
    for (at, own) in [(0, 11), (131_072, 12), (500_000, 13), (999_999, 14)] {
        let mut other = content.clone();
        other[at] ^= 1;
        let second = fixture.add(&tar(&[file("a", other)], own));
        assert_ne!(fixture.inode(&first, "a"), fixture.inode(&second, "a"));
    }
    fixture.check(&first, &tar(&[file("a", content)], 10));
}

#[test]
fn files_that_differ_in_anything_are_not_shared() {
    let fixture = Fixture::new();
    let content = || bytes(1, 8192);
    let names = ["usr/a", "etc/a", "var/spool/cron/a", "small"];
    let small = || bytes(1, 127);
    let all = |name: &'static str| file(name, if name == "small" { small() } else { content() });
    let first = fixture.add(&tar(&names.map(all), 10));
    let second = fixture.add(&tar(&names.map(all), 11));
    for name in names {
        let same = fixture.inode(&first, name) == fixture.inode(&second, name);
        assert_eq!(same, name == "usr/a", "{name}");
    }
    let xattrs = [(b"user.x".to_vec(), b"1".to_vec())];
    let changed: [fn(Header<'_>) -> Header<'_>; 3] = [
        |header| Header { mode: 0o600, ..header },
        |header| Header { mtime: 1, ..header },
        |header| Header { uid: 5, ..header },
    ];
    for (own, change) in (20..).zip(changed) {
        let plain = file("usr/a", content());
        let other = File { header: change(plain.header), content: plain.content };
        let other = fixture.add(&tar(&[other], own));
        assert_ne!(fixture.inode(&first, "usr/a"), fixture.inode(&other, "usr/a"), "{own}");
    }
    let plain = file("usr/a", content());
    let with = File { header: Header { xattrs: &xattrs, ..plain.header }, content: content() };
    let with = fixture.add(&tar(&[with], 30));
    assert_ne!(fixture.inode(&first, "usr/a"), fixture.inode(&with, "usr/a"));
}

#[test]
fn names_of_one_layer_are_one_file_only_if_its_tar_says_so() {
    let fixture = Fixture::new();
    let content = || bytes(1, 8192);
    let linked = fixture.add(&tar(&[file("x", content()), link("y", "x")], 10));
    let apart = fixture.add(&tar(&[file("x", content()), file("y", content())], 11));
    assert_eq!(fixture.inode(&linked, "x"), fixture.inode(&linked, "y"));
    assert_ne!(fixture.inode(&apart, "x"), fixture.inode(&apart, "y"));
    assert_ne!(fixture.inode(&apart, "x"), fixture.inode(&linked, "x"), "it has another name");
    let again = fixture.add(&tar(&[file("x", content()), link("y", "x")], 12));
    assert_eq!(fixture.inode(&again, "x"), fixture.inode(&again, "y"));
    assert_eq!(fixture.inode(&again, "x"), fixture.inode(&apart, "x"));
}

#[test]
fn a_shared_file_that_a_later_entry_replaces_is_kept() {
    let fixture = Fixture::new();
    let content = bytes(1, 8192);
    let first_tar = tar(&[file("a", content.clone())], 10);
    let first = fixture.add(&first_tar);
    let second = tar(&[file("a", bytes(2, 8192)), file("a", content.clone())], 11);
    let second = fixture.add(&second);
    assert_eq!(second.kept, 1);
    assert_eq!(fixture.inode(&second, "a"), fixture.inode(&first, "a"));
    let third = fixture.add(&tar(&[file("a", content.clone()), file("a", bytes(2, 8192))], 12));
    assert_eq!(third.kept, 1);
    assert_eq!(std::fs::read(fixture.path(&first, "a")).expect("read"), content);
    fixture.check(&first, &first_tar);
}

/// Stages another layer in the middle of a file.
struct Interrupted<'a> {
    fixture: &'a Fixture,
    tar: &'a [u8],
    at: usize,
    other: Option<&'a [u8]>,
    staged: Option<Staged>,
}

impl Read for Interrupted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.at > 600_000
            && let Some(mut other) = self.other.take()
        {
            self.staged = Some(self.fixture.stage(&mut other));
        }
        let n = buffer.len().min(self.tar.len() - self.at).min(100_000);
        buffer[..n].copy_from_slice(&self.tar[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

#[test]
fn what_two_layers_write_at_the_same_time_is_shared_afterwards() {
    let fixture = Fixture::new();
    let shared = || [file("usr/a", bytes(1, 1_000_000)), file("usr/b", bytes(2, 50_000))];
    let (first_tar, second_tar) = (tar(&shared(), 10), tar(&shared(), 11));
    let (other, staged) = (Some(&second_tar[..]), None);
    let mut input = Interrupted { fixture: &fixture, tar: &first_tar, at: 0, other, staged };
    let first = fixture.stage(&mut input);
    let second = input.staged.take().expect("the other layer");
    let first = fixture.publish(first, &first_tar);
    let second = fixture.publish(second, &second_tar);
    for name in ["usr/a", "usr/b"] {
        assert_eq!(fixture.inode(&first, name), fixture.inode(&second, name), "{name}");
    }
    let kept = fixture.path(&first, "").with_file_name("kept");
    assert!(!kept.exists(), "nothing is left of the exchange");
}

#[test]
fn a_damaged_list_only_costs_space() {
    let fixture = Fixture::new();
    let first = fixture.add(&tar(&[file("a", bytes(1, 8192))], 10));
    let list = fixture.path(&first, "").with_file_name("files");
    let mut text = std::fs::read(&list).expect("read");
    text.truncate(25);
    std::fs::write(&list, &text).expect("write");
    let second = fixture.add(&tar(&[file("a", bytes(1, 8192))], 11));
    assert_ne!(fixture.inode(&first, "a"), fixture.inode(&second, "a"));
    std::fs::write(&list, "rubbish").expect("write");
    fixture.add(&tar(&[file("a", bytes(1, 8192))], 12));
}
