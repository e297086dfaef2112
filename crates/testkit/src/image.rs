//! Images made from nothing but the host's static busybox, in the format of `docker save`.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::process::Command;

/// Builds one layer's tar.
#[derive(Default)]
pub struct Layer {
    tar: Option<tar::Builder<Vec<u8>>>,
}

impl std::fmt::Debug for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Layer")
    }
}

/// A fixed modification time: the same image has the same digest on every run.
const MTIME: u64 = 1_700_000_000;

impl Layer {
    /// An empty layer.
    #[must_use]
    pub fn new() -> Self {
        Self { tar: Some(tar::Builder::new(Vec::new())) }
    }

    fn add(mut self, path: &str, kind: tar::EntryType, mode: u32, link: &str, data: &[u8]) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_mtime(MTIME);
        header.set_size(data.len() as u64);
        if kind == tar::EntryType::Char {
            header.set_device_major(1).expect("a major number");
            header.set_device_minor(3).expect("a minor number");
        }
        // Written by hand: the crate refuses `..` and absolute paths, which hostile tars have.
        let name = &mut header.as_old_mut().name;
        assert!(path.len() <= name.len(), "{path} is too long for this builder");
        name[..path.len()].copy_from_slice(path.as_bytes());
        let target = &mut header.as_old_mut().linkname;
        target[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.tar.as_mut().expect("not finished").append(&header, data).expect("writing to memory");
        self
    }

    /// A directory.
    #[must_use]
    pub fn dir(self, path: &str, mode: u32) -> Self {
        self.add(path, tar::EntryType::Directory, mode, "", &[])
    }

    /// A file.
    #[must_use]
    pub fn file(self, path: &str, mode: u32, data: &[u8]) -> Self {
        self.add(path, tar::EntryType::Regular, mode, "", data)
    }

    /// A symbolic link.
    #[must_use]
    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.add(path, tar::EntryType::Symlink, 0o777, target, &[])
    }

    /// A hard link.
    #[must_use]
    pub fn hardlink(self, path: &str, target: &str) -> Self {
        self.add(path, tar::EntryType::Link, 0o644, target, &[])
    }

    /// The null device.
    #[must_use]
    pub fn device(self, path: &str) -> Self {
        self.add(path, tar::EntryType::Char, 0o666, "", &[])
    }

    /// A file with an extended attribute, in a PAX header as tar and docker write it.
    #[must_use]
    pub fn file_with_xattr(mut self, path: &str, name: &str, value: &[u8], data: &[u8]) -> Self {
        let key = format!("SCHILY.xattr.{name}");
        let records = [(key.as_str(), value)];
        self.tar
            .as_mut()
            .expect("not finished")
            .append_pax_extensions(records)
            .expect("writing to memory");
        self.file(path, 0o755, data)
    }

    /// A file that hides `path` of the layers below.
    #[must_use]
    pub fn whiteout(self, path: &str) -> Self {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let slash = if folder.is_empty() { "" } else { "/" };
        self.file(&format!("{folder}{slash}.wh.{name}"), 0o644, &[])
    }

    /// Hides everything the layers below have in a directory.
    #[must_use]
    pub fn opaque(self, folder: &str) -> Self {
        self.file(&format!("{folder}/.wh..wh..opq"), 0o644, &[])
    }

    /// The tar.
    #[must_use]
    pub fn bytes(mut self) -> Vec<u8> {
        self.tar.take().expect("not finished").into_inner().expect("writing to memory")
    }
}

/// A whole root file system: busybox, its applets as links, users and the usual directories.
#[must_use]
pub fn busybox_layer() -> Layer {
    let binary = std::fs::read("/bin/busybox")
        .expect("/bin/busybox is missing: install Debian's busybox-static");
    let output = Command::new("/bin/busybox").arg("--list").output().expect("busybox --list");
    let applets = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut layer = Layer::new();
    for (path, mode) in [
        ("bin", 0o755),
        ("dev", 0o755),
        ("etc", 0o755),
        ("home", 0o755),
        ("proc", 0o755),
        ("root", 0o700),
        ("sys", 0o755),
        ("tmp", 0o1777),
        ("usr", 0o755),
        ("usr/bin", 0o755),
        ("usr/sbin", 0o755),
        ("var", 0o755),
    ] {
        layer = layer.dir(path, mode);
    }
    layer = layer
        .file("bin/busybox", 0o755, &binary)
        .file(
            "etc/passwd",
            0o644,
            b"root:x:0:0:root:/root:/bin/sh\nbin:x:2:2:bin:/bin:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\napp:x:1000:1001:app:/home:/bin/sh\n",
        )
        .file(
            "etc/group",
            0o644,
            b"root:x:0:\nbin:x:2:\nwheel:x:10:root\nnobody:x:65534:\napp:x:1001:\naudio:x:29:app\nvideo:x:44:app,root\n",
        );
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        layer = layer.symlink(&format!("bin/{applet}"), "busybox");
    }
    layer
}

/// The configuration that goes with [`busybox_layer`].
#[must_use]
pub fn busybox_config() -> Value {
    json!({
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        "Cmd": ["sh"],
    })
}

/// An image in the format of `docker save`, ready for `/images/load`.
#[derive(Debug)]
pub struct Saved {
    /// The tar.
    pub tar: Vec<u8>,
    /// `sha256:…` of the configuration: the image's id.
    pub id: String,
    /// `sha256:…` of each uncompressed layer.
    pub diff_ids: Vec<String>,
}

/// Packs layers (lowest first) and a container configuration under some names.
#[must_use]
pub fn save(tags: &[&str], config: &Value, layers: Vec<Layer>) -> Saved {
    let host = std::env::consts::ARCH.replace("x86_64", "amd64").replace("aarch64", "arm64");
    save_for(&host, tags, config, layers)
}

/// The same for another architecture than the host's.
#[must_use]
pub fn save_for(architecture: &str, tags: &[&str], config: &Value, layers: Vec<Layer>) -> Saved {
    let blobs: Vec<Vec<u8>> = layers.into_iter().map(Layer::bytes).collect();
    let diff_ids: Vec<String> = blobs.iter().map(|blob| digest(blob)).collect();
    let history: Vec<Value> = diff_ids
        .iter()
        .map(|_| json!({ "created": "2023-11-14T22:13:20Z", "created_by": "testkit" }))
        .collect();
    let image = json!({
        "architecture": architecture,
        "os": "linux",
        "created": "2023-11-14T22:13:20Z",
        "config": config,
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
        "history": history,
    })
    .to_string();
    let id = digest(image.as_bytes());
    let config_name = format!("{}.json", hex_part(&id));
    let layer_names: Vec<String> =
        diff_ids.iter().map(|id| format!("{}/layer.tar", hex_part(id))).collect();
    let manifest = json!([{ "Config": config_name, "RepoTags": tags, "Layers": layer_names }]);

    let mut tar = tar::Builder::new(Vec::new());
    let mut put = |name: &str, data: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_mtime(MTIME);
        header.set_size(data.len() as u64);
        tar.append_data(&mut header, name, data).expect("writing to memory");
    };
    let mut written = Vec::new();
    for (name, blob) in layer_names.iter().zip(&blobs) {
        if !written.contains(&name) {
            put(name, blob);
            written.push(name);
        }
    }
    put(&config_name, image.as_bytes());
    put("manifest.json", manifest.to_string().as_bytes());
    Saved { tar: tar.into_inner().expect("writing to memory"), id, diff_ids }
}

/// The busybox image that every test starts from.
#[must_use]
pub fn busybox(tags: &[&str]) -> Saved {
    save(tags, &busybox_config(), vec![busybox_layer()])
}

/// `sha256:…` of some bytes.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn hex_part(digest: &str) -> &str {
    digest.trim_start_matches("sha256:")
}
