//! The images that other people's tests ask for by name, made from the host's busybox.

use anyhow::{Result, ensure};
use serde_json::json;
use testkit::Engine;
use testkit::image::{Layer, Saved, busybox_config, busybox_layer, save};

pub(super) fn load(engine: &Engine, suite: &str) -> Result<()> {
    let busybox = |tags: &[&str]| save(tags, &busybox_config(), vec![busybox_layer()]);
    let images: Vec<(&str, Saved)> = if suite == "bollard" {
        let hello = Layer::new().file(
            "hello",
            0o755,
            b"#!/bin/sh\necho\necho 'Hello from Docker!'\necho 'This message shows that your installation appears to be working correctly.'\necho\n",
        );
        let web = Layer::new()
            .file("usr/sbin/run_uhttpd", 0o755, b"#!/bin/sh\nexec httpd \"$@\"\n")
            .dir("www", 0o755)
            .file("www/index.html", 0o644, b"hello\n")
            .dir("etc/config", 0o755)
            .file("etc/config/uhttpd", 0o644, b"# Server configuration\nconfig uhttpd main\n");
        let config = json!({"Env": busybox_config()["Env"], "Cmd": ["/hello"]});
        vec![
            ("localhost:5000/alpine:latest", busybox(&["localhost:5000/alpine:latest"])),
            (
                "localhost:5000/hello-world:linux",
                save(&["localhost:5000/hello-world:linux"], &config, vec![busybox_layer(), hello]),
            ),
            (
                "localhost:5000/fussybeaver/uhttpd:latest",
                save(
                    &["localhost:5000/fussybeaver/uhttpd:latest"],
                    &busybox_config(),
                    vec![busybox_layer(), web],
                ),
            ),
        ]
    } else {
        // What the tests know of alpine beyond busybox: a user and a directory.
        let alpine = Layer::new()
            .dir("var/opt", 0o755)
            .file(
                "etc/passwd",
                0o644,
                b"root:x:0:0:root:/root:/bin/sh\npostgres:x:70:70::/var/lib/postgresql:/bin/sh\n",
            )
            .file("etc/group", 0o644, b"root:x:0:root\npostgres:x:70:\n");
        vec![
            (
                "alpine:3.10",
                save(
                    &["alpine:3.10", "alpine:latest"],
                    &busybox_config(),
                    vec![busybox_layer(), alpine],
                ),
            ),
            // An own layer, so that removing one image does not remove the other.
            (
                "busybox:latest",
                save(
                    &["busybox:latest"],
                    &busybox_config(),
                    vec![busybox_layer(), Layer::new().dir("srv", 0o755)],
                ),
            ),
        ]
    };
    for (name, saved) in images {
        let answer = engine.upload("/images/load?quiet=1", &saved.tar);
        let there = engine.get(&format!("/images/{name}/json")).status == 200;
        ensure!(there, "loading {name}: {} {}", answer.status, answer.text());
    }
    Ok(())
}
