//! Secrets and configs without a swarm: seen by their containers, and by nobody else.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use testkit::image::busybox;
use testkit::{Daemon, Engine, json, unique};

const VALUE: &str = "correct-horse-battery-staple";

fn file(folder: &Path) -> String {
    let path = folder.join("value");
    std::fs::write(&path, VALUE).unwrap();
    path.display().to_string()
}

/// Files below a directory that have the value in them.
fn leaks(folder: &Path) -> Vec<String> {
    let output = std::process::Command::new("grep")
        .args(["-rlF", "-D", "skip", VALUE])
        .arg(folder)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn privileged_a_secret_is_seen_by_its_container_only() {
    let mut daemon = Daemon::isopod();
    let engine = daemon.engine();
    let _ = engine.upload("/images/load?quiet=1", &busybox(&["busybox:latest"]).tar).expect(200);
    let folder = tempfile::tempdir().unwrap();
    let value = file(folder.path());
    let id = engine.isopod_cli(&["secret", "create", "--label", "a=b", "key", &value]).success();
    let _ = engine.isopod_cli(&["config", "create", "conf", &value]).success();
    assert!(engine.isopod_cli(&["secret", "ls"]).success().contains(&id));

    let started = engine.isopod_cli(&[
        "run",
        "-d",
        "--name",
        "user",
        "--network=none",
        "--secret",
        "key",
        "--secret",
        "source=key,target=sub/other,uid=5,gid=6,mode=0400",
        "--secret",
        "source=key,target=/etc/key",
        "--config",
        "conf",
        "busybox",
        "sh",
        "-c",
        "trap 'exit 0' TERM; while :; do sleep 1 & wait; done",
    ]);
    let _ = started.success();
    let seen = engine.isopod_cli(&[
        "exec", "user", "sh", "-c",
        "cat /run/secrets/key; echo; stat -c '%a %u:%g' /run/secrets/key /run/secrets/sub/other /etc/key /conf; \
         cat /etc/key /conf /run/secrets/sub/other | wc -c; echo x > /run/secrets/key || echo refused; \
         rm -f /run/secrets/key 2> /dev/null || echo refused; stat -f -c %T /run/secrets",
    ]);
    let length = VALUE.len() * 3;
    assert_eq!(
        seen.success(),
        format!("{VALUE}\n444 0:0\n400 5:6\n444 0:0\n444 0:0\n{length}\nrefused\nrefused\ntmpfs")
    );

    // Nowhere else: not in what is told of it, not in its files, not on disk.
    let told = engine.get("/containers/user/json").expect(200).text();
    assert!(told.contains("\"key\"") && !told.contains(VALUE), "{told}");
    assert!(!engine.get("/containers/user/export").expect(200).text().contains(VALUE));
    let secret = engine.get("/isopod/secrets/key").expect(200).text();
    assert!(!secret.contains("Data") && secret.contains("\"a\":\"b\""), "{secret}");
    let config = engine.get("/isopod/configs/conf").expect(200).json();
    assert_eq!(config["Spec"]["Data"], "Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5LXN0YXBsZQ==");
    let _ = engine.act("/commit?container=user&repo=committed").expect(201);
    assert_eq!(engine.run(json!({"Image": "committed", "Cmd": ["cat", "/etc/key"]})).stdout, "");

    // It survives the daemon, and the container's restart.
    daemon.kill();
    daemon.restart();
    let again = engine.isopod_cli(&["exec", "user", "cat", "/run/secrets/key"]);
    assert_eq!(again.success(), VALUE);
    let _ = engine.act("/containers/user/stop?t=5").expect(204);
    assert_eq!(leaks(daemon.folder()), Vec::<String>::new());
    assert_eq!(engine.get("/containers/user/archive?path=/run/secrets/key").status, 404);
    let held = engine.isopod_cli(&["secret", "rm", "key"]);
    assert!(
        held.code != 0 && held.stderr.contains("is in use by the following containers: user"),
        "{held:?}"
    );
    let mode = std::fs::metadata(daemon.folder().join("data/secrets/key.json")).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);

    // A new key opens the same.
    let before = std::fs::read(daemon.folder().join("data/secrets/key.json")).unwrap();
    assert_eq!(engine.isopod_cli(&["secret", "rotate-key"]).success(), "2 encrypted anew");
    assert_ne!(std::fs::read(daemon.folder().join("data/secrets/key.json")).unwrap(), before);
    daemon.restart();
    let _ = engine.act("/containers/user/start").expect(204);
    let again = engine.isopod_cli(&["exec", "user", "cat", "/run/secrets/key"]);
    assert_eq!(again.success(), VALUE);
    let _ = engine.delete("/containers/user?force=1").expect(204);
    assert_eq!(engine.isopod_cli(&["secret", "rm", "key"]).success(), "key");
    assert_eq!(engine.get("/isopod/secrets/key").status, 404);
    daemon.stop().unwrap();
}

#[test]
fn privileged_the_key_can_be_kept_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key").display().to_string();
    let mut daemon = Daemon::isopod_with(&["--secret-key-file", &key]);
    let engine = daemon.engine();
    let _ = engine.isopod_cli(&["secret", "create", "s1", &file(folder.path())]).success();
    assert!(Path::new(&key).exists());
    assert!(!daemon.folder().join("data/secrets/key.json").exists());
    daemon.restart();
    assert_eq!(engine.get("/isopod/secrets/s1").status, 200);
    daemon.stop().unwrap();
}

#[test]
fn privileged_bad_secrets_and_uses_are_refused() {
    let engine = Engine::isopod();
    let make = |noun: &str, body| engine.post(&format!("/isopod/{noun}/create"), &body);
    let name = unique("s");
    let _ = make("secrets", json!({"Name": name, "Data": "eA=="})).expect(201);
    assert!(
        make("secrets", json!({"Name": name, "Data": "eA=="}))
            .expect(409)
            .message()
            .ends_with("already exists")
    );
    let _ = make("configs", json!({"Name": name, "Data": "eA=="})).expect(201);
    for body in [
        json!({"Name": "", "Data": "eA=="}),
        json!({"Name": "../x", "Data": "eA=="}),
        json!({"Name": unique("s"), "Data": ""}),
        json!({"Name": unique("s"), "Data": "no base64"}),
        json!({"Name": unique("s"), "Data": "A".repeat(800 << 10)}),
    ] {
        let answer = make("secrets", body).expect(400);
        assert!(!answer.message().is_empty());
    }
    let create = |file: testkit::Value| {
        let host = json!({"NetworkMode": "none", "Secrets": [file]});
        engine.post("/containers/create", &json!({"Image": "busybox", "HostConfig": host}))
    };
    assert!(create(json!({"Name": "nope-none"})).expect(400).message().contains("not found"));
    for target in ["../../etc/passwd", "..", "/", "/../.."] {
        let _ = create(json!({"Name": name, "Target": target})).expect(400);
    }
    let _ = create(json!({"Name": name, "UID": "root"})).expect(400);
    // Docker's own endpoints are those of a dockerd outside a swarm.
    assert!(engine.get("/secrets").expect(503).message().contains("not a swarm manager"));
    // A symlink of the image leads nowhere but into the container.
    let tag = unique("linked");
    let layer = testkit::image::busybox_layer()
        .symlink("run/secrets", "/etc")
        .symlink("here", "../../../../../../tmp/out");
    let saved = testkit::image::save(
        &[&format!("{tag}:latest")],
        &testkit::image::busybox_config(),
        vec![layer],
    );
    let _ = engine.upload("/images/load?quiet=1", &saved.tar).expect(200);
    let output = engine.run(json!({
        "Image": tag, "Cmd": ["cat", "/run/secrets/b", "/here/c"],
        "HostConfig": {"Secrets": [{"Name": name, "Target": "b"}, {"Name": name, "Target": "/here/c"}]},
    }));
    assert_eq!((output.code, output.stdout.as_str()), (0, "xx"), "{output:?}");
    assert!(!Path::new("/tmp/out").exists());
    let _ = engine.delete(&format!("/images/{tag}")).expect(200);
    for noun in ["secrets", "configs"] {
        let _ = engine.delete(&format!("/isopod/{noun}/{name}")).expect(204);
    }
}
