//! `--userns-remap`: which ids are seen on which side, and what such containers are kept from.
//!
//! The daemon gets a range of ids of its own through files that only its mount namespace sees.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use testkit::daemon::Options;
use testkit::engine::isopod_binary;
use testkit::image::busybox;
use testkit::{Daemon, Engine, Kind, eventually, json};

const UID: u32 = 200_000;
const GID: u32 = 300_000;

/// A daemon that maps 65536 ids, with the busybox image. The directory must outlive it.
fn remapping(folder: &Path) -> Daemon {
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write("subuid", &format!("dockremap:{UID}:65536\n"));
    write("subgid", &format!("dockremap:{GID}:65536\n"));
    let script = format!(
        "#!/bin/sh\nexec unshare --mount --propagation slave sh -c '\n\
         mount --bind {0}/subuid /etc/subuid && mount --bind {0}/subgid /etc/subgid || exit 1\n\
         exec {1} \"$@\"' sh \"$@\"\n",
        folder.display(),
        isopod_binary().display()
    );
    write("start", &script);
    let start = folder.join("start");
    std::fs::set_permissions(&start, std::fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["/etc/subuid", "/etc/subgid"] {
        drop(std::fs::File::options().append(true).create(true).open(name).unwrap());
    }
    let daemon = Daemon::start(Options {
        kind: Kind::Isopod,
        program: Some(start),
        arguments: vec!["--userns-remap=default".into()],
        host_network: false,
    });
    let daemon = daemon.unwrap_or_else(|error| panic!("{error}"));
    let _ = daemon.engine().upload("/images/load", &busybox(&["busybox:latest"]).tar).expect(200);
    daemon
}

fn ids_and_namespaces(engine: &Engine) {
    let seen = engine.sh(
        "cat /proc/self/uid_map /proc/self/gid_map | tr -s ' ' ' '; id -u; stat -c %u:%g / /bin /dev/shm; \
         cat /proc/sys/net/ipv4/ping_group_range; ping -c1 -W2 127.0.0.1 > /dev/null && echo pong",
        json!({}),
    );
    let expected = format!(" 0 {UID} 65536\n 0 {GID} 65536\n0\n0:0\n0:0\n0:0\n0\t65535\npong\n");
    assert_eq!(seen, expected);
    // On the host it is somebody else.
    let container = engine.sleeper(json!({}));
    let pid = container.inspect()["State"]["Pid"].as_i64().unwrap();
    assert_eq!(std::fs::metadata(format!("/proc/{pid}")).unwrap().uid(), UID);
    // A command in it has the same ids.
    assert_eq!(container.sh("cat /proc/self/uid_map | tr -s ' ' ' '"), format!(" 0 {UID} 65536"));
    assert_eq!(container.exec(&["mount", "-t", "tmpfs", "x", "/tmp"]).code, 1);
}

fn files(engine: &Engine, folder: &Path) {
    // Volumes are the engine's: their files keep the container's ids.
    let volume = testkit::unique("v");
    let config = json!({"HostConfig": {"Binds": [format!("{volume}:/v")]}});
    let seen = engine.sh("echo a > /v/a; chown 5:6 /v/a; stat -c %u:%g /v /v/a", config.clone());
    assert_eq!(seen, "0:0\n5:6\n");
    assert_eq!(engine.sh("stat -c %u:%g /v/a", config), "5:6\n");
    let _ = engine.delete(&format!("/volumes/{volume}")).expect(204);

    // A bind is the host's: its root is not this one.
    let bind = folder.join("bind");
    std::fs::create_dir(&bind).unwrap();
    std::fs::write(bind.join("host"), "host\n").unwrap();
    std::fs::create_dir(bind.join("theirs")).unwrap();
    std::os::unix::fs::chown(bind.join("theirs"), Some(UID), Some(GID)).unwrap();
    let config = json!({"HostConfig": {"Binds": [format!("{}:/b", bind.display())]}});
    let seen = engine.sh(
        "cat /b/host; stat -c %u:%g /b/host /b/theirs; echo no >> /b/host || echo refused; \
         touch /b/new || echo refused; echo yes > /b/theirs/new",
        config,
    );
    assert_eq!(seen, "host\n65534:65534\n0:0\nrefused\nrefused\n");
    let made = std::fs::metadata(bind.join("theirs/new")).unwrap();
    assert_eq!((made.uid(), made.gid()), (UID, GID));

    // Somebody else's directory takes what the container's root writes as that somebody's, unless
    // told otherwise.
    let home = folder.join("home");
    std::fs::create_dir(&home).unwrap();
    std::os::unix::fs::chown(&home, Some(4321), Some(4322)).unwrap();
    let at =
        |words: &str| json!({"HostConfig": {"Binds": [format!("{}:/h{words}", home.display())]}});
    let seen =
        engine.sh("stat -c %u:%g /h; touch /h/made; chown 5:6 /h/made; touch /h/own", at(""));
    assert_eq!(seen, "0:0\n");
    let ids = |name: &str| {
        let made = std::fs::metadata(home.join(name)).unwrap();
        (made.uid(), made.gid())
    };
    assert_eq!(ids("own"), (4321, 4322));
    assert_eq!(ids("made"), (UID + 5, GID + 6));
    let seen = engine.sh("stat -c %u:%g /h; touch /h/not || echo refused", at(":noidmap"));
    assert_eq!(seen, "65534:65534\nrefused\n");

    // Mounts come to running containers with the same ids.
    let container = engine.sleeper(json!({}));
    let both = json!({"BindAdd": [format!("{}:/h", home.display()), "liveids:/v"]});
    let _ = engine.post(&container.path("/update"), &both).expect(200);
    assert_eq!(container.sh("touch /h/live /v/live; stat -c %u:%g /h/live /v/live"), "0:0\n0:0");
    assert_eq!(ids("live"), (4321, 4322));
    let gone = json!({"MountRemove": ["/h", "/v"]});
    let _ = engine.post(&container.path("/update"), &gone).expect(200);
    assert_eq!(container.sh("ls /h /v"), "/h:\n\n/v:");
    container.remove();
    let _ = engine.delete("/volumes/liveids").expect(204);
}

fn copies_and_images(engine: &Engine) {
    let container = engine.sleeper(json!({}));
    let script = "mkdir /x; echo one > /x/one; chown 7:8 /x/one; rm -r /var; mkdir /var";
    assert_eq!(container.sh(script), "");
    // Out and in again, running.
    let tar = engine.get(&container.path("/archive?path=/x")).expect(200).body;
    let mut archive = tar::Archive::new(&tar[..]);
    let ids: Vec<_> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.header().uid().unwrap(), entry.header().gid().unwrap()))
        .collect();
    assert_eq!(ids, [(0, 0), (7, 8)]);
    let _ = engine.put(&container.path("/archive?path=/tmp"), &tar).expect(200);
    assert_eq!(container.sh("stat -c %u:%g /tmp/x /tmp/x/one"), "0:0\n7:8");
    // Stopped, it is the same.
    container.stop(0);
    let again = engine.get(&container.path("/archive?path=/x")).expect(200).body;
    assert_eq!(again, tar);
    // And as an image, which has the container's ids, not the host's.
    let name = testkit::unique("remapped");
    let _ = engine.act(&format!("/commit?container={}&repo={name}", container.id)).expect(201);
    let seen = engine.sh("stat -c %u:%g /x/one; ls /var | wc -l", json!({"Image": name}));
    assert_eq!(seen, "7:8\n0\n");
    container.remove();
    let _ = engine.delete(&format!("/images/{name}")).expect(200);
}

fn network(engine: &Engine) {
    let container = engine.create(json!({
        "Cmd": ["sh", "-c", "while :; do echo remapped | nc -l -p 80; done"],
        "ExposedPorts": {"80/tcp": {}},
        "HostConfig": {"NetworkMode": "bridge", "PortBindings": {"80/tcp": [{"HostPort": "8080"}]}},
    }));
    container.start();
    let answer = eventually("an answer", std::time::Duration::from_secs(10), || {
        let text = engine.on_its_network(|| {
            let mut text = String::new();
            let mut stream = std::net::TcpStream::connect("127.0.0.1:8080").ok()?;
            std::io::Read::read_to_string(&mut stream, &mut text).ok()?;
            Some(text)
        })?;
        (!text.is_empty()).then_some(text)
    });
    assert_eq!(answer, "remapped\n");
    // Whoever joins it joins its user namespace as well.
    let joined = json!({"HostConfig": {"NetworkMode": format!("container:{}", container.name)}});
    assert_eq!(engine.sh("nc 127.0.0.1 80 < /dev/null", joined), "remapped\n");
}

fn refusals(engine: &Engine) {
    for (host, message) in [
        (
            json!({"Privileged": true}),
            "privileged mode is incompatible with user namespaces.  You must run the container in \
             the host namespace when running privileged mode",
        ),
        (
            json!({"NetworkMode": "host"}),
            "cannot share the host's network namespace when user namespaces are enabled",
        ),
        (
            json!({"PidMode": "host"}),
            "cannot share the host PID namespace when user namespaces are enabled",
        ),
    ] {
        let body = json!({"Image": "busybox", "HostConfig": host});
        let answer = engine.post("/containers/create", &body).expect(400);
        assert_eq!(answer.message(), message);
    }
    // The way out that Docker names.
    let host = json!({"UsernsMode": "host", "Privileged": true, "NetworkMode": "host"});
    let seen = engine.sh("tr -s ' ' ' ' < /proc/self/uid_map", json!({"HostConfig": host}));
    assert_eq!(seen, " 0 0 4294967295\n");
}

#[test]
fn privileged_remapped_containers() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let daemon = remapping(folder.path());
    let engine = daemon.engine();
    ids_and_namespaces(&engine);
    files(&engine, folder.path());
    copies_and_images(&engine);
    network(&engine);
    refusals(&engine);
    daemon.stop().unwrap();
}
