//! Every form that layers come in: the dialects of tar as GNU tar writes them, and the media types
//! of Docker and OCI. What is unpacked must be what was packed, and a layer's tar must come back
//! byte for byte.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use image::{ImportOptions, LoadOptions, MountOptions, Options, Store};
use sha2::{Digest as _, Sha256};
use sys::fs::{FileType, Root};

/// What a dialect can say.
#[derive(Clone, Copy)]
struct Dialect {
    format: &'static str,
    sparse: &'static [&'static str],
    /// Names of more than 256 bytes, links of more than 100, ids of more than 21 bits.
    long: bool,
    /// Device nodes and the group of them.
    devices: bool,
    /// Nanoseconds and extended attributes.
    extended: bool,
}

const DIALECTS: &[Dialect] = &[
    Dialect { format: "v7", sparse: &[], long: false, devices: false, extended: false },
    Dialect { format: "ustar", sparse: &[], long: false, devices: true, extended: false },
    Dialect { format: "oldgnu", sparse: &[], long: true, devices: true, extended: false },
    Dialect { format: "gnu", sparse: &["--sparse"], long: true, devices: true, extended: false },
    Dialect { format: "posix", sparse: &[], long: true, devices: true, extended: true },
    Dialect {
        format: "posix",
        sparse: &["--sparse", "--sparse-version=0.0"],
        long: true,
        devices: true,
        extended: true,
    },
    Dialect {
        format: "posix",
        sparse: &["--sparse", "--sparse-version=0.1"],
        long: true,
        devices: true,
        extended: true,
    },
    Dialect {
        format: "posix",
        sparse: &["--sparse", "--sparse-version=1.0"],
        long: true,
        devices: true,
        extended: true,
    },
];

/// A tree with everything that this dialect can say.
fn make_tree(at: &Path, dialect: Dialect) {
    let root = Root::open_host(at).expect("open");
    let write = |name: &str, content: &[u8]| fs::write(at.join(name), content).expect("write");
    for dir in ["etc", "sticky", "empty"] {
        fs::create_dir(at.join(dir)).expect("directory");
    }
    write("etc/file", b"text");
    write("etc/none", b"");
    write("etc/block", &[7; 512]);
    write("suid", &[1; 100_000]);
    write("odd", b"owner");
    fs::hard_link(at.join("suid"), at.join("etc/hard")).expect("link");
    symlink("../etc/file", at.join("etc/link")).expect("symlink");
    symlink("nowhere", at.join("dangling")).expect("symlink");
    let sparse = fs::File::create(at.join("sparse")).expect("create");
    sparse.set_len(3 << 20).expect("length");
    for (offset, text) in [(4096, "first"), (1 << 20, "second"), ((3 << 20) - 4096, "last")] {
        std::os::unix::fs::FileExt::write_all_at(&sparse, text.as_bytes(), offset).expect("write");
    }
    // Up to 256 bytes fit where there is a prefix field, 100 where there is none.
    if dialect.format == "v7" {
        write(&"n".repeat(90), b"long");
    } else {
        fs::create_dir(at.join("n".repeat(90))).expect("directory");
        write(&format!("{}/{}", "n".repeat(90), "m".repeat(95)), b"long");
    }
    if dialect.long {
        let (dir, file) = ("d".repeat(200), "f".repeat(200));
        fs::create_dir(at.join(&dir)).expect("directory");
        write(&format!("{dir}/{file}"), b"longer");
        symlink("t".repeat(300), at.join("far")).expect("symlink");
        fs::hard_link(at.join(format!("{dir}/{file}")), at.join("also")).expect("link");
        root.chown("odd", 3_000_000, 4_000_000_000).expect("owner");
    } else {
        root.chown("odd", 70_000, 80_000).expect("owner");
    }
    if dialect.devices {
        let nodes = [("null", "c"), ("disk", "b")];
        for (name, kind) in nodes {
            let made = Command::new("mknod").arg(at.join(name)).args([kind, "259", "300"]).status();
            assert!(made.expect("mknod").success());
        }
    }
    let made = Command::new("mkfifo").arg(at.join("fifo")).status();
    assert!(dialect.format == "v7" || made.expect("mkfifo").success());
    if dialect.format == "v7" {
        fs::remove_file(at.join("fifo")).expect("remove");
    }
    let mode = |name: &str, mode| {
        fs::set_permissions(at.join(name), fs::Permissions::from_mode(mode)).expect("mode");
    };
    mode("suid", 0o6755);
    mode("sticky", 0o1777);
    mode("etc/file", 0o400);
    if dialect.extended {
        let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        root.set_xattr("odd", "security.capability", capability).expect("capability");
        root.set_xattr("etc/file", "user.empty", b"").expect("attribute");
        root.set_xattr("etc", "user.note", b"line\nline=\0x").expect("attribute");
    }
    let fraction = if dialect.extended { ".987654321" } else { "" };
    for (name, time) in [("etc/file", "@1000000000"), ("empty", "@1"), ("dangling", "@86400")] {
        let touched = Command::new("touch")
            .args(["-h", "-d", &format!("{time}{fraction}")])
            .arg(at.join(name))
            .status();
        assert!(touched.expect("touch").success());
    }
    if !dialect.extended {
        // Whole seconds for everything, as the dialect has them.
        let whole = Command::new("find")
            .arg(at)
            .args(["-depth", "-exec", "touch", "-h", "-d", "@1234567890", "{}", "+"])
            .status();
        assert!(whole.expect("touch").success());
    }
}

/// All that can be told of a tree.
fn listing(root: &Root) -> BTreeMap<String, String> {
    let (mut out, mut first) = (BTreeMap::new(), BTreeMap::new());
    root.walk(".", &mut |found| {
        let stat = found.stat;
        let path = found.path.to_string_lossy().into_owned();
        let name = first.entry(stat.st_ino).or_insert_with(|| path.clone()).clone();
        let content = match found.kind() {
            FileType::RegularFile => {
                format!("{:x}", Sha256::digest(root.read(found.path, 1 << 30)?))
            }
            FileType::Symlink => found.read_link()?.display().to_string(),
            _ => String::new(),
        };
        let (mode, rdev) = (stat.st_mode, stat.st_rdev);
        let line = format!(
            "{mode:o} {}:{} {}.{:09} {rdev:x} {name} {content} {:?}",
            stat.st_uid,
            stat.st_gid,
            stat.st_mtime,
            stat.st_mtime_nsec,
            root.xattrs(found.path)?
        );
        out.insert(path, line);
        Ok(())
    })
    .expect("walk");
    out
}

fn gnu_tar(tree: &Path, dialect: Dialect) -> Vec<u8> {
    let mut command = Command::new("tar");
    command
        .args(["-c", "--sort=name", "--numeric-owner"])
        .arg(format!("--format={}", dialect.format));
    command.args(dialect.sparse);
    if dialect.extended {
        command.args(["--xattrs", "--xattrs-include=*"]);
    }
    let output = command.arg("-C").arg(tree).arg(".").output().expect("tar is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn privileged_every_dialect_of_tar_is_unpacked_as_it_was_packed() {
    for (at, dialect) in DIALECTS.iter().enumerate() {
        let dir = tempfile::tempdir().expect("directory");
        let tree = dir.path().join("tree");
        fs::create_dir(&tree).expect("directory");
        make_tree(&tree, *dialect);
        let tar = gnu_tar(&tree, *dialect);
        let store = Store::open(dir.path().join("store"), Options::default()).expect("open");
        let reference = Some("tree:1".parse().expect("name"));
        let options = ImportOptions { reference, ..ImportOptions::default() };
        let id = store.import(&mut &tar[..], &options).expect(dialect.format);

        let what = format!("dialect {at}, {}", dialect.format);
        let (expected, mount) = (listing(&Root::open_host(&tree).expect("open")), {
            store.mount_image(&id, MountOptions::default()).expect("mount")
        });
        let found = listing(&Root::from(mount));
        for (path, line) in &expected {
            assert_eq!(found.get(path), Some(line), "{what}: {path}");
        }
        assert_eq!(found.len(), expected.len(), "{what}");

        // The holes are holes, where the tar says so.
        let layers = store.inspect("tree:1").expect("inspect").root_fs.layers;
        assert_eq!(layers[0].hex(), format!("{:x}", Sha256::digest(&tar)), "{what}");
        let hex = layers[0].hex();
        let sparse = dir.path().join("store/layers").join(hex).join("diff/sparse");
        let stat = fs::metadata(sparse).expect("stat");
        assert_eq!(stat.len(), 3 << 20);
        if !dialect.sparse.is_empty() {
            assert!(stat.blocks() * 512 < 1 << 20, "{what}: {} blocks", stat.blocks());
        }

        let mut saved = Vec::new();
        store.save(&["tree:1".to_owned()], &mut saved).expect("save");
        assert!(saved.windows(tar.len()).step_by(512).any(|part| part == tar), "{what}");
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("compress");
    encoder.finish().expect("compress")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 3).expect("compress")
}

fn blob(archive: &mut tar::Builder<Vec<u8>>, content: &[u8]) -> (String, usize) {
    let hex = format!("{:x}", Sha256::digest(content));
    add(archive, &format!("blobs/sha256/{hex}"), content);
    (format!("sha256:{hex}"), content.len())
}

fn add(archive: &mut tar::Builder<Vec<u8>>, name: &str, content: &[u8]) {
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, name, content).expect("append");
}

/// An image layout of one layer, named by these media types.
fn layout(layer: &[u8], plain: &[u8], types: [&str; 3]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let (digest, size) = blob(&mut archive, layer);
    let [layer_type, config_type, manifest_type] = types;
    let diff_id = format!("sha256:{:x}", Sha256::digest(plain));
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": [diff_id] },
    });
    let (config, config_size) = blob(&mut archive, config.to_string().as_bytes());
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": manifest_type,
        "config": { "mediaType": config_type, "digest": config, "size": config_size },
        "layers": [{ "mediaType": layer_type, "digest": digest, "size": size }],
    });
    let (manifest, manifest_size) = blob(&mut archive, manifest.to_string().as_bytes());
    let index = serde_json::json!({
        "schemaVersion": 2,
        "manifests": [{
            "mediaType": manifest_type, "digest": manifest, "size": manifest_size,
            "annotations": { "org.opencontainers.image.ref.name": "app:1" },
        }],
    });
    add(&mut archive, "index.json", index.to_string().as_bytes());
    add(&mut archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    archive.into_inner().expect("archive")
}

#[test]
fn privileged_every_media_type_of_a_layer_gives_the_same_image() {
    const OCI: [&str; 2] =
        ["application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.manifest.v1+json"];
    const DOCKER: [&str; 2] = [
        "application/vnd.docker.container.image.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    ];
    let mut builder = tar::Builder::new(Vec::new());
    add(&mut builder, "file", b"content");
    let plain = builder.into_inner().expect("tar");
    // Some compressors write several members or frames one after the other.
    let (front, back) = plain.split_at(700);
    let members = [gzip(front), gzip(back)].concat();
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3][..], &zstd(&plain)].concat();
    let frames = [zstd(front), zstd(back)].concat();
    let cases: &[(&str, [&str; 2], Vec<u8>)] = &[
        ("application/vnd.oci.image.layer.v1.tar", OCI, plain.clone()),
        ("application/vnd.oci.image.layer.v1.tar+gzip", OCI, gzip(&plain)),
        ("application/vnd.oci.image.layer.v1.tar+gzip", OCI, members),
        ("application/vnd.oci.image.layer.v1.tar+zstd", OCI, zstd(&plain)),
        ("application/vnd.oci.image.layer.v1.tar+zstd", OCI, skippable),
        ("application/vnd.oci.image.layer.v1.tar+zstd", OCI, frames),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", OCI, gzip(&plain)),
        ("application/vnd.docker.image.rootfs.diff.tar", DOCKER, plain.clone()),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", DOCKER, gzip(&plain)),
        ("application/vnd.docker.image.rootfs.diff.tar.zstd", DOCKER, zstd(&plain)),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", DOCKER, gzip(&plain)),
    ];
    let mut ids = Vec::new();
    for (media_type, [config, manifest], layer) in cases {
        let dir = tempfile::tempdir().expect("directory");
        let store = Store::open(dir.path(), Options::default()).expect("open");
        let archive = layout(layer, &plain, [*media_type, *config, *manifest]);
        let loaded = store.load(&mut &archive[..], &LoadOptions::default(), &mut |_| {});
        let loaded = loaded.unwrap_or_else(|error| panic!("{media_type}: {error}"));
        assert_eq!(loaded[0].names, ["app:1"], "{media_type}");
        let mount = store.mount_image(&loaded[0].id, MountOptions::default()).expect("mount");
        let text = Root::from(mount.as_fd().try_clone_to_owned().expect("duplicate"))
            .read("file", 100)
            .expect("read");
        assert_eq!(text, b"content", "{media_type}");
        ids.push(loaded[0].id.clone());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "one image");

    let dir = tempfile::tempdir().expect("directory");
    let store = Store::open(dir.path(), Options::default()).expect("open");
    let [config, manifest] = OCI;
    for (media_type, layer, says) in [
        ("application/vnd.example.wasm", gzip(&plain), "unknown type"),
        ("application/vnd.oci.image.layer.v1.tar", b"BZh91AY&SY".to_vec(), "bzip2"),
        ("application/vnd.oci.image.layer.v1.tar+gzip", gzip(&plain)[..40].to_vec(), "gzip"),
    ] {
        let archive = layout(&layer, &plain, [media_type, config, manifest]);
        let error = store.load(&mut &archive[..], &LoadOptions::default(), &mut |_| {});
        let error = error.expect_err(media_type).to_string();
        assert!(error.contains(says), "{media_type}: {error}");
    }
    assert_eq!(store.list(&image::ListFilter::default()).expect("list").len(), 0);
}
