//! Images of real content: what GNU tar writes of real files, compressed by the usual programs.

use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use testkit::distribution::Server;
use testkit::distribution::content::{
    CONFIG, DOCKER_CONFIG, DOCKER_LAYER, DOCKER_MANIFEST, LAYER, MANIFEST,
};
use testkit::image::{busybox_config, busybox_layer, digest};

/// The files of the second layer; run in an empty directory.
const FILES: &str = r#"
umask 022; mkdir data; cd data; echo $0 > for
mkdir -p opaque/deep dir/sub gone/a/b becomes-file
echo one > one; ln one hard; ln one 'another hard'; ln -s one soft; ln -s ../../../nowhere broken
mkdir links; ln soft links/hard-link-to-symlink
echo old > opaque/old; echo old > opaque/deep/old; echo x > dir/sub/x; echo x > gone/a/b/x
echo file > becomes-dir; echo link > becomes-link; echo inside > becomes-file/inside
mknod null c 1 3; mknod loop b 7 9; mkfifo fifo
echo odd > odd; chown 123456:4294967290 odd; chmod 6755 odd
mkdir owned; chown 3000000:3000000 owned; chmod 3777 owned; echo in > owned/in; chown -h 70000:70001 soft
echo 'nice' > 'naïve ü'; printf 'odd\n' > $'new\nline'; printf 'latin' > $'l\xe4tin'; : > empty; echo dot > .hidden
long=$(printf 'x%.0s' {1..200}); mkdir -p $long/$long; echo long > $long/$long/$long; ln -s $long/$long/$long to-long
ln $long/$long/$long $long/hard-to-long
truncate -s 9M sparse; echo middle | dd of=sparse bs=1 seek=5000001 conv=notrunc status=none; echo end >> sparse
head -c 700000 /dev/urandom > noise; cp /bin/busybox capable; echo attributes > attributes; mkdir with-attributes
for i in $(seq 40); do echo "the same" > same-$i; done
touch -d '2001-02-03 04:05:06.123456789' one; touch -d '1969-12-31 23:59:58' .hidden
touch -h -d '2033-05-18 03:33:20.5' soft; touch -d '2099-01-01' dir/sub
touch -d '2020-02-02 02:02:02' same-* dir gone opaque owned links . ..
"#;

/// What the third changes.
const CHANGES: &str = r#"
umask 022; mkdir -p data/opaque data/becomes-dir/now; cd data; echo $0 > changed-for
: > .wh.hard; : > .wh.gone; : > .wh.null; : > opaque/.wh..wh..opq; echo new > opaque/new
echo now > becomes-dir/now/file; ln -s becomes-dir becomes-link; echo 'a file' > becomes-file
mkdir -p dir; : > dir/.wh.sub; echo back > dir/back; printf 'more\n' > one; chmod 4711 one
touch -d '2022-02-02 02:02:02' dir opaque becomes-dir becomes-dir/now . ..
"#;

/// How a layer is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    Plain,
    Gzip,
    Zstd,
}

/// Tars of the layers, lowest first. No other test's are equal: a layer that an engine has already
/// is not pulled again, and has the blob that it came as.
pub(crate) fn tars(label: &str, sparse: bool) -> Vec<Vec<u8>> {
    let second = tar(
        label,
        FILES,
        if sparse { &["--format=pax", "--sparse"] } else { &["--format=pax"] },
        |stage| {
            let set = |path: &str, name: &str, value: &[u8]| {
                let flags = rustix::fs::XattrFlags::empty();
                rustix::fs::lsetxattr(stage.join("data").join(path), name, value, flags).unwrap();
            };
            let net_raw = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            set("capable", "security.capability", &net_raw);
            set("attributes", "user.binary", b"\0\x01=\n\xff");
            set("attributes", "user.empty", b"");
            set("with-attributes", "user.on.directory", "wörter".as_bytes());
        },
    );
    let third = tar(
        label,
        CHANGES,
        if sparse { &["--format=gnu", "--sparse"] } else { &["--format=gnu"] },
        |_| (),
    );
    let first = busybox_layer().file("etc/for", 0o644, label.as_bytes());
    vec![first.bytes(), second, third]
}

fn tar(label: &str, script: &str, format: &[&str], finish: impl FnOnce(&Path)) -> Vec<u8> {
    let stage = tempfile::tempdir().unwrap();
    let status =
        Command::new("bash").args(["-euc", script, label]).current_dir(stage.path()).status();
    assert!(status.unwrap().success());
    finish(stage.path());
    let mut command = Command::new("tar");
    command.args(format).args(["--numeric-owner", "--sort=name", "-C"]).arg(stage.path());
    if format.contains(&"--format=pax") {
        command.args(["--xattrs", "--xattrs-include=*"]);
        command.arg("--pax-option=delete=atime,delete=ctime");
    }
    let output = command.args(["-cf", "-", "data"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A program as a filter.
pub(crate) fn filter(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).unwrap());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{program}");
        output.stdout
    })
}

/// A layer as a registry has it.
pub(crate) struct Blob {
    pub(crate) bytes: Vec<u8>,
    pub(crate) kind: String,
}

/// An image as a registry has it.
pub(crate) struct Image {
    pub(crate) config: Vec<u8>,
    pub(crate) tars: Vec<Vec<u8>>,
    pub(crate) layers: Vec<Blob>,
    pub(crate) manifest: String,
    pub(crate) kind: &'static str,
}

impl Image {
    /// Docker's kind of image, all layers gzip.
    pub(crate) fn docker(label: &str) -> Self {
        Self::new(label, "amd64", tars(label, false), &[Packing::Gzip; 3], true)
    }

    /// OCI's kind, packed as told.
    pub(crate) fn oci(label: &str, packing: &[Packing]) -> Self {
        Self::new(label, "amd64", tars(label, false), packing, false)
    }

    pub(crate) fn new(
        label: &str,
        architecture: &str,
        tars: Vec<Vec<u8>>,
        packing: &[Packing],
        docker: bool,
    ) -> Self {
        let diff_ids: Vec<String> = tars.iter().map(|tar| digest(tar)).collect();
        let history: Vec<Value> = diff_ids
            .iter()
            .map(|_| json!({ "created": "2023-11-14T22:13:20Z", "created_by": "a step" }))
            .collect();
        let mut container = busybox_config();
        container["Labels"] = json!({ "for": label });
        let config = json!({
            "architecture": architecture, "os": "linux", "created": "2023-11-14T22:13:20.5Z",
            "config": container, "history": history,
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
            "x-unknown": { "to": ["us", 1, 2.50, null] },
        });
        let config = format!("{config:#}\n").into_bytes();
        let layers: Vec<Blob> =
            tars.iter().zip(packing).map(|(tar, packing)| pack(tar, *packing, docker)).collect();
        let describe = |kind: &str, bytes: &[u8]| json!({ "mediaType": kind, "size": bytes.len(), "digest": digest(bytes) });
        let kind = if docker { DOCKER_MANIFEST } else { MANIFEST };
        let manifest = json!({
            "schemaVersion": 2, "mediaType": kind,
            "config": describe(if docker { DOCKER_CONFIG } else { CONFIG }, &config),
            "layers": layers.iter().map(|layer| describe(&layer.kind, &layer.bytes)).collect::<Vec<_>>(),
        });
        // Spaces nobody else would put there: bytes must come through as they are.
        let manifest = format!(" {manifest:#} \n");
        Self { config, tars, layers, manifest, kind }
    }

    pub(crate) fn id(&self) -> String {
        digest(&self.config)
    }

    pub(crate) fn digest(&self) -> String {
        digest(self.manifest.as_bytes())
    }

    /// Puts blobs and manifest into a registry.
    pub(crate) fn publish(&self, server: &Server, name: &str, tag: &str) {
        for layer in &self.layers {
            server.push_blob(name, &layer.bytes);
        }
        server.push_blob(name, &self.config);
        let _ = server.put(name, tag, self.kind, self.manifest.as_bytes()).expect(201);
    }

    /// Writes an OCI image layout, or adds to the one that is there.
    pub(crate) fn layout(&self, folder: &Path, tag: &str) {
        let blobs = folder.join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        let put = |bytes: &[u8]| fs::write(blobs.join(&digest(bytes)[7..]), bytes).unwrap();
        self.layers.iter().for_each(|layer| put(&layer.bytes));
        put(&self.config);
        put(self.manifest.as_bytes());
        fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        let entry = json!({
            "mediaType": self.kind, "digest": self.digest(), "size": self.manifest.len(),
            "annotations": { "org.opencontainers.image.ref.name": tag },
        });
        let index = json!({ "schemaVersion": 2, "manifests": [entry] });
        fs::write(folder.join("index.json"), index.to_string()).unwrap();
    }

    /// An archive as `docker save` writes it.
    pub(crate) fn archive(&self, name: &str) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let put = |path: &str, bytes: &[u8]| fs::write(folder.path().join(path), bytes).unwrap();
        let config = format!("{}.json", &self.id()[7..]);
        put(&config, &self.config);
        let mut names = Vec::new();
        for (number, tar) in self.tars.iter().enumerate() {
            names.push(format!("layer{number}.tar"));
            put(&names[number], tar);
        }
        let manifest = json!([{ "Config": config, "RepoTags": [name], "Layers": names }]);
        put("manifest.json", manifest.to_string().as_bytes());
        archive_of(folder.path())
    }
}

fn pack(tar: &[u8], packing: Packing, docker: bool) -> Blob {
    let plain = LAYER.trim_end_matches("+gzip");
    let (bytes, kind) = match packing {
        Packing::Plain => (tar.to_vec(), plain.to_owned()),
        Packing::Gzip => (filter("gzip", &["-n", "-1"], tar), LAYER.to_owned()),
        Packing::Zstd => (filter("zstd", &["-q", "-3"], tar), format!("{plain}+zstd")),
    };
    Blob { bytes, kind: if docker { DOCKER_LAYER.to_owned() } else { kind } }
}

/// A directory's content as a tar.
pub(crate) fn archive_of(folder: &Path) -> Vec<u8> {
    let entries =
        fs::read_dir(folder).unwrap().map(|entry| PathBuf::from(entry.unwrap().file_name()));
    let output =
        Command::new("tar").arg("-C").arg(folder).args(["-cf", "-"]).args(entries).output();
    output.unwrap().stdout
}
