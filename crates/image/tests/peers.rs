//! Images travel from dockerd to us, from us to dockerd and skopeo, and back: every id and digest
//! must stay what it was, and the files must be the same.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use image::{LoadOptions, MountOptions, Options, Store, archive};

/// A dockerd of its own, in a directory of its own.
struct Dockerd {
    process: Child,
    dir: PathBuf,
}

impl Dockerd {
    fn start(dir: &Path) -> Self {
        let dir = dir.join("dockerd");
        fs::create_dir_all(&dir).expect("directory");
        let log = fs::File::create(dir.join("log")).expect("log");
        let at = |name: &str| dir.join(name).display().to_string();
        let process = Command::new("dockerd")
            .args(["--bridge=none", "--iptables=false", "--ip-forward=false"])
            .args(["--data-root", &at("data"), "--exec-root", &at("exec")])
            .args(["-H", &format!("unix://{}", at("sock")), "-p", &at("pid")])
            .stdout(log.try_clone().expect("log"))
            .stderr(log)
            .spawn()
            .expect("dockerd (Debian's docker.io) is installed");
        let dockerd = Self { process, dir };
        let begun = Instant::now();
        while !dockerd.try_run(&["version"]).0 {
            assert!(begun.elapsed() < Duration::from_secs(60), "dockerd does not answer");
            std::thread::sleep(Duration::from_millis(100));
        }
        dockerd
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.env("DOCKER_HOST", format!("unix://{}", self.dir.join("sock").display()));
        command.env("DOCKER_BUILDKIT", "0").env_remove("DOCKER_CONTEXT").args(args);
        command
    }

    fn try_run(&self, args: &[&str]) -> (bool, String) {
        let output = self.command(args).output().expect("docker");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn run(&self, args: &[&str]) -> String {
        let (good, output) = self.try_run(args);
        assert!(good, "docker {args:?}");
        output
    }

    fn feed(&self, args: &[&str], input: &[u8]) {
        let mut child =
            self.command(args).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("docker");
        child.stdin.take().expect("stdin").write_all(input).expect("input");
        assert!(child.wait().expect("docker").success(), "docker {args:?}");
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        let terminated = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = terminated.and_then(|_| self.process.wait());
    }
}

/// A root file system with busybox and a file that has capabilities.
fn root_file_system() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let header = |kind: tar::EntryType, mode: u32, size: u64| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_mtime(1_600_000_000);
        header
    };
    for dir in ["./", "bin/", "etc/", "tmp/"] {
        let mode = if dir == "tmp/" { 0o1777 } else { 0o755 };
        let mut header = header(tar::EntryType::Directory, mode, 0);
        builder.append_data(&mut header, dir, std::io::empty()).expect("directory");
    }
    let busybox = fs::read("/bin/busybox").expect("busybox-static is installed");
    let size = busybox.len() as u64;
    let mut file = header(tar::EntryType::Regular, 0o755, size);
    builder.append_data(&mut file, "bin/busybox", &busybox[..]).expect("busybox");
    for name in ["bin/sh", "bin/ls", "bin/rm", "bin/mkdir", "bin/ln", "bin/chmod", "bin/chown"] {
        let mut link = header(tar::EntryType::Symlink, 0o777, 0);
        builder.append_link(&mut link, name, "busybox").expect("link");
    }
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    builder
        .append_pax_extensions([("SCHILY.xattr.security.capability", &capability[..])])
        .expect("capability");
    let mut capable = header(tar::EntryType::Regular, 0o755, 2);
    builder.append_data(&mut capable, "bin/capable", &b"x\n"[..]).expect("capable");
    builder.into_inner().expect("tar")
}

const DOCKERFILE: &str = "\
FROM base:1
RUN mkdir -p /d/sub /gone /opaque && echo a >/d/a && echo b >/d/sub/b && ln /d/a /d/hard && \
echo g >/gone/g && echo o >/opaque/old
RUN rm -rf /gone /d/a && rm -rf /opaque && mkdir /opaque && echo n >/opaque/new
RUN ln -s /etc/x /d/link && chmod 4755 /bin/busybox && chown 70000:70001 /d/sub/b
ENV HELLO=world
CMD [\"/bin/ls\"]
";

/// Name, type, mode, owner, size and link of everything in a tar, but for what an engine adds.
fn listing(tar: &[u8]) -> BTreeMap<String, String> {
    const ADDED: [&str; 12] = [
        ".dockerenv",
        "dev",
        "dev/console",
        "dev/pts",
        "dev/shm",
        "etc",
        "etc/hostname",
        "etc/hosts",
        "etc/mtab",
        "etc/resolv.conf",
        "proc",
        "sys",
    ];
    let mut archive = tar::Archive::new(tar);
    let mut out = BTreeMap::new();
    for entry in archive.entries().expect("entries") {
        let mut entry = entry.expect("entry");
        let path = String::from_utf8_lossy(&entry.path_bytes()).trim_matches('/').to_owned();
        if ADDED.contains(&path.as_str()) {
            continue;
        }
        let link = entry.link_name_bytes().map(|link| String::from_utf8_lossy(&link).into_owned());
        let keys = entry.pax_extensions().expect("pax").into_iter().flatten();
        let xattr = keys.flatten().any(|e| e.key().is_ok_and(|k| k.contains("capability")));
        let header = entry.header();
        let line = format!(
            "{:?} {:o} {}:{} {} {link:?} {xattr}",
            header.entry_type(),
            header.mode().expect("mode") & 0o7777,
            header.uid().expect("uid"),
            header.gid().expect("gid"),
            header.size().expect("size"),
        );
        out.insert(path, line);
    }
    out
}

fn skopeo(args: &[&str]) {
    let status = Command::new("skopeo").args(["--insecure-policy"]).args(args).status();
    assert!(status.expect("skopeo is installed").success(), "skopeo {args:?}");
}

fn load(store: &Store, path: &Path) -> Vec<image::Loaded> {
    let mut file = fs::File::open(path).expect("archive");
    store.load(&mut file, &LoadOptions::default(), &mut |_| {}).expect("load")
}

#[test]
fn privileged_images_travel_between_engines_unchanged() {
    let dir = tempfile::tempdir().expect("directory");
    let at = |name: &str| dir.path().join(name);
    let dockerd = Dockerd::start(dir.path());
    dockerd.feed(&["import", "-", "base:1"], &root_file_system());
    dockerd.feed(&["build", "-q", "--network=none", "-t", "app:1", "-"], DOCKERFILE.as_bytes());
    let saved = at("docker.tar");
    let saved_name = saved.to_str().expect("UTF-8");
    dockerd.run(&["save", "-o", saved_name, "app:1", "base:1"]);

    // dockerd → us: ids, layers and sizes.
    let store = Store::open(at("store"), Options::default()).expect("open");
    let loaded = load(&store, &saved);
    assert_eq!(loaded.len(), 2);
    let id = dockerd.run(&["image", "inspect", "-f", "{{.Id}}", "app:1"]);
    let ours = store.inspect("app:1").expect("inspect");
    assert_eq!(ours.id.to_string(), id);
    let layers: Vec<String> = ours.root_fs.layers.iter().map(ToString::to_string).collect();
    let format = "{{.Size}} {{range .RootFS.Layers}}{{.}} {{end}}";
    let theirs = dockerd.run(&["image", "inspect", "-f", format, "app:1"]);
    assert_eq!(format!("{} {}", ours.size, layers.join(" ")), theirs);
    let sizes: Vec<String> =
        store.history("app:1").expect("history").iter().map(|step| step.size.to_string()).collect();
    let history = ["history", "--human=false", "--format", "{{.Size}}", "app:1"];
    assert_eq!(sizes.join("\n"), dockerd.run(&history));

    // The files, as each engine exports them.
    let container = "c".repeat(64).parse().expect("id");
    store.prepare(&container, &ours.id).expect("prepare");
    let mount = store.mount(&container, MountOptions::default()).expect("mount");
    let mut export = Vec::new();
    archive::export(mount.as_fd(), &archive::IdMap::default(), &mut export).expect("export");
    drop(mount);
    let created = dockerd.run(&["create", "app:1"]);
    dockerd.run(&["export", "-o", at("export.tar").to_str().expect("UTF-8"), &created]);
    let theirs = fs::read(at("export.tar")).expect("export");
    assert_eq!(listing(&export), listing(&theirs));
    assert!(listing(&export)["bin/capable"].ends_with("true"), "capabilities travel");
    assert!(!listing(&export).contains_key("opaque/old"));
    dockerd.run(&["rm", &created]);

    // us → dockerd.
    let ours_tar = at("ours.tar");
    let mut file = fs::File::create(&ours_tar).expect("create");
    store.save(&["app:1".to_owned(), "base:1".to_owned()], &mut file).expect("save");
    dockerd.run(&["rmi", "app:1", "base:1"]);
    dockerd.run(&["load", "-q", "-i", ours_tar.to_str().expect("UTF-8")]);
    assert_eq!(dockerd.run(&["image", "inspect", "-f", "{{.Id}}", "app:1"]), id);
    let again = at("again.tar");
    dockerd.run(&["save", "-o", again.to_str().expect("UTF-8"), "app:1"]);
    let other = Store::open(at("other"), Options::default()).expect("open");
    assert_eq!(load(&other, &again)[0].id, ours.id);

    // us → skopeo, which compresses the layers → us.
    let from = format!("oci-archive:{}:1", at("single.tar").display());
    let mut file = fs::File::create(at("single.tar")).expect("create");
    store.save(&["app:1".to_owned()], &mut file).expect("save");
    let compressed = at("compressed.tar");
    skopeo(&["copy", "-q", &from, &format!("oci-archive:{}:app:1", compressed.display())]);
    assert!(
        fs::metadata(&compressed).expect("stat").len() < fs::metadata(&saved).expect("stat").len()
    );
    let third = Store::open(at("third"), Options::default()).expect("open");
    let loaded = load(&third, &compressed);
    assert_eq!((&loaded[0].id, loaded[0].names.as_slice()), (&ours.id, &["app:1".to_owned()][..]));
    // The second time nothing is unpacked.
    let mut existed = 0;
    let mut file = fs::File::open(&compressed).expect("archive");
    third
        .load(&mut file, &LoadOptions::default(), &mut |progress| {
            existed +=
                usize::from(matches!(progress, image::Progress::LayerDone { existed: true, .. }));
        })
        .expect("load again");
    assert_eq!(existed, layers.len());
}

fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().expect(program);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {said}");
}

/// An image layout (a directory) in which umoci has put a layer on top of an image.
#[test]
fn privileged_layouts_travel_between_umoci_and_us() {
    let dir = tempfile::tempdir().expect("directory");
    let at = |name: &str| dir.path().join(name);
    let text = |name: &str| at(name).display().to_string();
    let store = Store::open(at("store"), Options::default()).expect("open").into();
    let store: std::sync::Arc<Store> = store;
    let reference = Some("base:1".parse().expect("name"));
    let options = image::ImportOptions { reference, ..image::ImportOptions::default() };
    let base = store.import(&mut &root_file_system()[..], &options).expect("import");
    let mut file = fs::File::create(at("base.tar")).expect("create");
    store.save_oci(&["base:1".to_owned()], &mut file).expect("save");

    // us → umoci: what it unpacks is what we packed.
    let layout = text("layout");
    skopeo(&[
        "copy",
        "-q",
        &format!("oci-archive:{}", text("base.tar")),
        &format!("oci:{layout}:1"),
    ]);
    let bundle = text("bundle");
    run("umoci", &["unpack", "--image", &format!("{layout}:1"), &bundle]);
    let root = at("bundle").join("rootfs");
    assert_eq!(fs::read(root.join("bin/busybox")).expect("busybox"), {
        fs::read("/bin/busybox").expect("busybox")
    });

    // umoci → us: it writes pax headers and whiteouts of its own.
    fs::write(root.join("etc/new"), "new").expect("write");
    fs::write(root.join("bin/ls-la"), vec![1; 9000]).expect("write");
    fs::remove_file(root.join("bin/capable")).expect("remove");
    run("umoci", &["repack", "--image", &format!("{layout}:2"), &bundle]);
    let archive = text("packed.tar");
    skopeo(&["copy", "-q", &format!("oci:{layout}:2"), &format!("oci-archive:{archive}:packed:2")]);
    let loaded = load(&store, &at("packed.tar"));
    assert_eq!(loaded[0].names, ["packed:2"]);
    let changes = store.compare(&base, &loaded[0].id).expect("compare");
    let shown: Vec<(&str, i32)> = changes
        .iter()
        .map(|change| (change.path.as_str(), change.kind as i32))
        .filter(|(path, _)| path.starts_with("/bin/") || path.starts_with("/etc/"))
        .collect();
    assert_eq!(shown, [("/bin/capable", 2), ("/bin/ls-la", 1), ("/etc/new", 1)]);

    // us → umoci again: every digest that it finds is the one that we say.
    let mut file = fs::File::create(at("again.tar")).expect("create");
    store.save_oci(&["packed:2".to_owned()], &mut file).expect("save");
    skopeo(&[
        "copy",
        "-q",
        &format!("oci-archive:{}", text("again.tar")),
        &format!("oci:{layout}:3"),
    ]);
    let bundle = text("bundle3");
    run("umoci", &["unpack", "--image", &format!("{layout}:3"), &bundle]);
    assert_eq!(fs::read(at("bundle3/rootfs/etc/new")).expect("read"), b"new");
    assert!(!at("bundle3/rootfs/bin/capable").exists());
}

#[test]
fn privileged_archives_travel_between_podman_and_us() {
    let dir = tempfile::tempdir().expect("directory");
    let at = |name: &str| dir.path().join(name);
    let text = |name: &str| at(name).display().to_string();
    let (graph, state) = (text("graph"), text("run"));
    let podman = |args: &[&str]| {
        let own = ["--root", &graph, "--runroot", &state, "--storage-driver=vfs"];
        let output = Command::new("podman").args(own).args(args).output().expect("podman");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "podman {args:?}: {said}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let store = std::sync::Arc::new(Store::open(at("store"), Options::default()).expect("open"));
    let reference = Some("base:1".parse().expect("name"));
    let changes = vec!["CMD [\"/bin/ls\"]".to_owned(), "ENV A=b".to_owned()];
    let options = image::ImportOptions { reference, changes, ..image::ImportOptions::default() };
    let id = store.import(&mut &root_file_system()[..], &options).expect("import");

    for (name, oci) in [("docker.tar", false), ("oci.tar", true)] {
        let mut file = fs::File::create(at(name)).expect("create");
        let names = ["base:1".to_owned()];
        match oci {
            true => store.save_oci(&names, &mut file).expect("save"),
            false => store.save(&names, &mut file).expect("save"),
        }
        podman(&["load", "-q", "-i", &text(name)]);
        let theirs = podman(&["image", "inspect", "-f", "{{.Id}}", "docker.io/library/base:1"]);
        assert_eq!(format!("sha256:{theirs}"), id.to_string(), "{name}");
        for format in ["docker-archive", "oci-archive"] {
            let back = format!("{format}-{name}");
            podman(&["save", "-q", "--format", format, "-o", &text(&back), &theirs]);
            let other = Store::open(at(&format!("store-{back}")), Options::default());
            let loaded = load(&other.expect("open"), &at(&back));
            assert_eq!(loaded[0].id, id, "{back}");
        }
        podman(&["rmi", "-f", &theirs]);
    }
}

#[test]
fn privileged_archives_that_lie_are_refused_and_leave_nothing() {
    let dir = tempfile::tempdir().expect("directory");
    let store = Store::open(dir.path(), Options::default()).expect("open");
    let mut layer = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o644);
    layer.append_data(&mut header, "f", &b"x"[..]).expect("file");
    let layer = layer.into_inner().expect("layer");
    let archive = |files: &[(&str, &[u8])]| {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, *content).expect("file");
        }
        builder.into_inner().expect("archive")
    };
    let error = |bytes: &[u8]| {
        let mut input = Cursor::new(bytes.to_vec());
        let input: &mut (dyn Read + Send) = &mut input;
        store.load(input, &LoadOptions::default(), &mut |_| {}).expect_err("refused").to_string()
    };
    let blob = format!("blobs/sha256/{}", "0".repeat(64));
    let manifest = br#"[{"Config":"c.json","RepoTags":["x:1"],"Layers":["l/layer.tar"]}]"#;
    let config = br#"{"rootfs":{"type":"layers","diff_ids":[]}}"#;
    let wrong =
        format!(r#"{{"rootfs":{{"type":"layers","diff_ids":["sha256:{}"]}}}}"#, "1".repeat(64));
    for (bytes, message) in [
        (b"rubbish".to_vec(), "invalid tar: unexpected EOF"),
        (archive(&[]), "it has neither manifest.json nor index.json"),
        (archive(&[(&blob, &layer)]), "not sha256:0000"),
        (archive(&[(&blob, b"{}")]), "not sha256:0000"),
        (archive(&[("manifest.json", b"[]")]), "it has no image"),
        (archive(&[("manifest.json", b"{}")]), "manifest.json: "),
        (archive(&[("manifest.json", manifest)]), "it lacks c.json"),
        (archive(&[("manifest.json", manifest), ("c.json", config)]), "it lacks l/layer.tar"),
        (
            archive(&[("l/layer.tar", &layer), ("c.json", config), ("manifest.json", manifest)]),
            "layers length mismatch: expected 0, got 1",
        ),
        (
            archive(&[
                ("l/layer.tar", &layer),
                ("c.json", wrong.as_bytes()),
                ("manifest.json", manifest),
            ]),
            "layer 0 has the digest",
        ),
        (
            archive(&[
                ("l/layer.tar", &layer[..512]),
                ("c.json", wrong.as_bytes()),
                ("manifest.json", manifest),
            ]),
            "layer l/layer.tar: invalid tar: unexpected EOF",
        ),
    ] {
        let found = error(&bytes);
        assert!(found.contains(message), "{found:?} lacks {message:?}");
    }
    assert!(store.list(&image::ListFilter::default()).expect("list").is_empty());
    let layers = fs::read_dir(dir.path().join("layers")).expect("layers");
    let left: Vec<_> = layers.map(|found| found.expect("entry").file_name()).collect();
    assert_eq!(left.len(), 2, "only the store's own layers: {left:?}");
}
