//! What the tests of several modules share: a store with images made of a few files.

mod remote;

use std::io::Write;

use types::ContainerId;
use types::digest::Digest;

use crate::config::{ImageConfig, RootFs};
use crate::store::{Options, Store};
use crate::tarball::{Header, Kind, TarWriter};

pub(crate) use remote::{Host, Remote, RemoteLayer, gzip, pull};

/// A store in a directory that goes away with it.
pub(crate) struct Fixture {
    pub(crate) store: Store,
    pub(crate) dir: tempfile::TempDir,
}

/// A name and what it is: `d` a directory, `-text` a file, `>text` a symlink.
pub(crate) type Spec<'a> = (&'a str, &'a str);

/// A tar of these.
pub(crate) fn tar(entries: &[Spec<'_>]) -> Vec<u8> {
    let mut writer = TarWriter::new(Vec::new());
    for (name, what) in entries {
        let (kind, text) = match what.split_at(1) {
            ("d", _) => (Kind::Dir, ""),
            (">", text) => (Kind::Symlink, text),
            ("=", text) => (Kind::HardLink, text),
            (_, text) => (Kind::File, text),
        };
        let size = if kind == Kind::File { text.len() as u64 } else { 0 };
        let link = if kind == Kind::File { "" } else { text };
        writer
            .header(&Header {
                name: name.as_bytes(),
                kind,
                link: link.as_bytes(),
                size,
                mode: if kind == Kind::Dir { 0o755 } else { 0o644 },
                mtime: 1_000_000_000,
                ..Header::default()
            })
            .expect("header");
        if size > 0 {
            writer.output().write_all(text.as_bytes()).expect("content");
            writer.pad(size).expect("padding");
        }
    }
    writer.end().expect("end");
    writer.into_output()
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("directory");
        let store = Store::open(dir.path(), Options::default()).expect("open");
        Self { store, dir }
    }

    /// The same store as a daemon that was started again sees it.
    pub(crate) fn reopen(&mut self) {
        self.store = Store::open(self.dir.path(), Options::default()).expect("open again");
    }

    /// An image of these layers, bottom first.
    pub(crate) fn image(&self, name: &str, layers: &[&[Spec<'_>]]) -> Digest {
        let mut diff_ids = Vec::new();
        for layer in layers {
            let bytes = tar(layer);
            let staged = self.store.layers.stage(&mut &bytes[..], false, &Options::default());
            let staged = staged.expect("layer");
            diff_ids.push(staged.meta.diff_id.clone());
            self.store.publish(vec![staged]).expect("publish");
        }
        let config = ImageConfig {
            os: "linux".to_owned(),
            architecture: "amd64".to_owned(),
            comment: name.to_owned(),
            rootfs: RootFs { kind: "layers".to_owned(), diff_ids: diff_ids.clone() },
            ..ImageConfig::default()
        };
        let text = config.to_json().expect("JSON");
        let names = [name.parse().expect("name")];
        self.store.add_image(&text, &diff_ids, None, &names).expect("image")
    }

    /// Names in the directory of layers.
    pub(crate) fn layer_count(&self) -> usize {
        let names = std::fs::read_dir(self.dir.path().join("layers")).expect("list");
        // The store's own are `empty` and `init`.
        names.filter(|name| name.as_ref().is_ok_and(|name| name.file_name().len() == 64)).count()
    }
}

/// A container id.
pub(crate) fn container(digit: char) -> ContainerId {
    digit.to_string().repeat(64).parse().expect("id")
}
