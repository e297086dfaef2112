//! The peers: programs that know nothing of us, and registries near engines.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use testkit::distribution::content::ACCEPTED;
use testkit::distribution::{Maker, Server, text};
use testkit::engine::encode;
use testkit::registry::{Options, Registry};
use testkit::{Engine, Value};

/// A registry over the directory of another, where an engine's host network is.
pub(crate) enum Near {
    Theirs(Registry),
    Ours(Server),
}

impl Near {
    pub(crate) fn new(home: &Server, engine: &Engine) -> Self {
        let netns = engine.netns.as_deref().unwrap();
        match home.maker() {
            Maker::Docker => Self::Theirs(Registry::start(&Options {
                netns: Some(netns),
                storage: Some(home.root().to_owned()),
                ..Options::default()
            })),
            Maker::Isopod => Self::Ours(Server::isopod_over_within(home.root(), netns, &[])),
        }
    }

    pub(crate) fn host(&self) -> String {
        match self {
            Self::Theirs(registry) => registry.host(),
            Self::Ours(server) => server.host(),
        }
    }
}

/// A manifest and its kind, as a registry has them.
pub(crate) fn manifest(server: &Server, name: &str, tag: &str) -> (String, String) {
    let path = format!("/v2/{name}/manifests/{tag}");
    let answer = server.request("GET", &path, &[("Accept", ACCEPTED)], &[]).expect(200);
    let kind = answer.header("content-type").unwrap().to_owned();
    (answer.text(), kind)
}

/// The digests of a manifest's configuration and layers.
pub(crate) fn blobs(manifest: &str) -> Vec<String> {
    let manifest: Value = serde_json::from_str(manifest).unwrap();
    let layers = manifest["layers"].as_array().unwrap();
    let all = std::iter::once(&manifest["config"]).chain(layers);
    all.map(|blob| blob["digest"].as_str().unwrap().to_owned()).collect()
}

/// Pulls; insists on success.
#[track_caller]
pub(crate) fn pull(engine: &Engine, name: &str, platform: &str) {
    let path = format!("/images/create?fromImage={}&platform={}", encode(name), encode(platform));
    let answer = engine.act(&path).expect(200);
    assert!(!answer.text().contains("\"error\""), "{name}: {}", answer.text());
}

/// Names an image anew and pushes it; insists on success.
#[track_caller]
pub(crate) fn push(engine: &Engine, image: &str, host: &str, name: &str, tag: &str) {
    let repository = format!("{host}/{name}");
    let path = format!("/images/{image}/tag?repo={}&tag={tag}", encode(&repository));
    let _ = engine.act(&path).expect(201);
    let path = format!("/v1.41/images/{repository}/push?tag={tag}");
    // `{}`: nobody.
    let answer = engine.client().request("POST", &path, &[("X-Registry-Auth", "e30=")], &[]);
    let answer = answer.expect(200);
    assert!(!answer.text().contains("\"error\""), "{repository}: {}", answer.text());
}

pub(crate) fn inspect(engine: &Engine, image: &str) -> Value {
    engine.get(&format!("/images/{image}/json")).expect(200).json()
}

pub(crate) fn id(engine: &Engine, image: &str) -> String {
    inspect(engine, image)["Id"].as_str().unwrap().to_owned()
}

/// Removes an image with all its names when the test ends, or before.
pub(crate) struct Forget<'a>(pub(crate) &'a Engine, pub(crate) String);

impl Forget<'_> {
    #[track_caller]
    pub(crate) fn now(&self) {
        let _ = self.0.delete(&format!("/images/{}?force=1", self.1)).expect(200);
        assert_eq!(self.0.get(&format!("/images/{}/json", self.1)).status, 404);
    }
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        let _ = self.0.delete(&format!("/images/{}?force=1", self.1));
    }
}

/// Loads an archive; insists on success.
#[track_caller]
pub(crate) fn load(engine: &Engine, tar: &[u8]) {
    let answer = engine.upload("/images/load?quiet=1", tar).expect(200);
    assert!(!answer.text().contains("\"error\""), "{}", answer.text());
}

pub(crate) fn save(engine: &Engine, image: &str) -> Vec<u8> {
    engine.get(&format!("/images/{}/get", encode(image))).expect(200).body
}

#[track_caller]
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {error}");
    text(output)
}

/// Copies with skopeo, and insists that no digest changes.
#[track_caller]
pub(crate) fn skopeo_copy(from: &str, to: &str, more: &[&str]) {
    let fixed =
        ["--insecure-policy", "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false"];
    drop(run("skopeo", &[&fixed[..], more, &[from, to]].concat()));
}

/// Podman with storage of its own.
pub(crate) struct Podman {
    folder: tempfile::TempDir,
}

impl Podman {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let place = |name: &str| self.folder.path().join(name).display().to_string();
        let (root, runroot, tmp) = (place("root"), place("run"), place("tmp"));
        let fixed = ["--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=none"];
        let places = ["--root", &root, "--runroot", &runroot, "--tmpdir", &tmp];
        run("podman", &[&fixed[..], &places, arguments].concat()).trim().to_owned()
    }

    /// What it makes of an image's files.
    pub(crate) fn listing(&self, image: &str) -> String {
        let container = self.run(&["create", image]);
        let root = self.run(&["mount", &container]);
        let listing = super::listing::of_directory(Path::new(&root));
        drop(self.run(&["umount", &container]));
        drop(self.run(&["rm", &container]));
        listing
    }

    pub(crate) fn id(&self, image: &str) -> String {
        format!("sha256:{}", self.run(&["image", "inspect", "-f", "{{.Id}}", image]))
    }
}

/// Unpacks an image of an OCI layout with umoci; gives the bundle.
pub(crate) fn umoci_unpack(layout: &Path, tag: &str, bundle: &Path) -> PathBuf {
    let image = format!("{}:{tag}", layout.display());
    drop(run("umoci", &["unpack", "--image", &image, bundle.to_str().unwrap()]));
    bundle.join("rootfs")
}
