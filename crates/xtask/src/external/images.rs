//! The images that other people's tests ask for by name, made from the host's busybox: in the engine
//! and in the registry beside it.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::path::Path;
use std::process::Command;
use testkit::Engine;
use testkit::image::{Layer, Saved, busybox_config, busybox_layer, save};

pub(super) fn provide(engine: &Engine, netns: &Path, suite: &str, folder: &Path) -> Result<()> {
    if !matches!(suite, "bollard" | "docker-py") {
        return provide_clients(engine, netns, suite, &folder.join("databases.tar"));
    }
    for (name, saved) in images(suite) {
        publish(netns, name, &saved)?;
        let answer = engine.upload("/images/load?quiet=1", &saved.tar);
        let there = engine.get(&format!("/images/{name}/json")).status == 200;
        ensure!(there, "loading {name}: {} {}", answer.status, answer.text());
    }
    Ok(())
}

/// What our own suites of clients want: busybox here, an image to pull, and one with databases in it.
fn provide_clients(engine: &Engine, netns: &Path, suite: &str, databases: &Path) -> Result<()> {
    let busybox = save(&["busybox:latest"], &busybox_config(), vec![busybox_layer()]);
    publish(netns, "localhost:5000/small:1", &busybox)?;
    let mut loaded = vec![("busybox", engine.upload("/images/load?quiet=1", &busybox.tar))];
    if suite != "cli" {
        let tar = std::fs::read(databases).with_context(|| databases.display().to_string())?;
        let path = "/images/create?fromSrc=-&repo=clients/databases&tag=latest";
        loaded.push(("clients/databases", engine.upload(path, &tar)));
    }
    for (name, answer) in loaded {
        let there = engine.get(&format!("/images/{name}/json")).status == 200;
        ensure!(there, "{name}: {} {}", answer.status, answer.text());
    }
    Ok(())
}

/// Puts an image into the registry: one that the name says, or Docker's, which is mirrored there.
fn publish(netns: &Path, name: &str, saved: &Saved) -> Result<()> {
    let path = match name.strip_prefix("localhost:5000/") {
        Some(path) => path.to_owned(),
        None => format!("library/{name}"),
    };
    let archive = tempfile::NamedTempFile::new()?;
    std::fs::write(archive.path(), &saved.tar)?;
    let output = Command::new("nsenter")
        .arg(format!("--net={}", netns.display()))
        .args(["--", "skopeo", "copy", "--quiet", "--dest-tls-verify=false"])
        .arg(format!("docker-archive:{}", archive.path().display()))
        .arg(format!("docker://127.0.0.1:5000/{path}"))
        .output()
        .context("skopeo")?;
    ensure!(output.status.success(), "skopeo: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// What each suite asks for, by name.
fn images(suite: &str) -> Vec<(&'static str, Saved)> {
    let image = |name: &'static str, config, layers| (name, save(&[name], config, layers));
    let plain = busybox_config();
    let config = json!({"Env": plain["Env"], "Cmd": ["/hello"]});
    let hello = Layer::new().file(
        "hello",
        0o755,
        b"#!/bin/sh\necho\necho 'Hello from Docker!'\necho 'This message shows that your installation appears to be working correctly.'\necho\n",
    );
    let hello = vec![busybox_layer(), hello];
    if suite == "bollard" {
        let web = Layer::new()
            .file("usr/sbin/run_uhttpd", 0o755, b"#!/bin/sh\nexec httpd \"$@\"\n")
            .dir("www", 0o755)
            .file("www/index.html", 0o644, b"hello\n")
            .dir("etc/config", 0o755)
            .file("etc/config/uhttpd", 0o644, b"# Server configuration\nconfig uhttpd main\n");
        let web = vec![busybox_layer(), web];
        return vec![
            image("localhost:5000/alpine:latest", &plain, vec![busybox_layer()]),
            image("localhost:5000/hello-world:linux", &config, hello),
            image("localhost:5000/fussybeaver/uhttpd:latest", &plain, web),
        ];
    }
    // What the tests know of alpine beyond busybox: a user and a directory.
    let alpine = Layer::new()
        .dir("var/opt", 0o755)
        .file(
            "etc/passwd",
            0o644,
            b"root:x:0:0:root:/root:/bin/sh\npostgres:x:70:70::/var/lib/postgresql:/bin/sh\n",
        )
        .file("etc/group", 0o644, b"root:x:0:root\npostgres:x:70:\n");
    // Own layers, so that removing one image does not remove another.
    let busybox = Layer::new().dir("srv", 0o755);
    let latest = Layer::new().dir("opt", 0o755);
    vec![
        image("alpine:3.10", &plain, vec![busybox_layer(), alpine]),
        image("alpine:latest", &plain, vec![busybox_layer(), latest]),
        image("busybox:latest", &plain, vec![busybox_layer(), busybox]),
        image("hello-world:latest", &config, hello),
    ]
}
