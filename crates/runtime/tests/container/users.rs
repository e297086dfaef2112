//! User namespaces and idmapped mounts.

use std::os::unix::fs::{MetadataExt, chown};

use serde_json::json;
use sys::mount::SetAttr;
use sys::process::IdMap;

use crate::fixture::{Fixture, kill};
use runtime::Root;

const FIRST: u32 = 200_000;

/// In a user namespace with ids from [`FIRST`].
fn remapped(fixture: Fixture) -> Fixture {
    fixture.with(|s| {
        s["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        let map = json!([{"containerID": 0, "hostID": FIRST, "size": 65536}]);
        s["linux"]["uidMappings"] = map.clone();
        s["linux"]["gidMappings"] = map;
    })
}

/// The fixture's directory as a detached mount through which root's files are the namespace's.
fn idmapped_root(fixture: &Fixture) -> Root {
    let map = [IdMap { inside: 0, outside: FIRST, size: 65536 }];
    let ns = sys::process::user_namespace(&map, &map).unwrap();
    let tree = sys::mount::clone_tree_at(sys::fs::CWD, fixture.root(), false).unwrap();
    use std::os::fd::AsFd;
    let change = SetAttr { userns: Some(ns.as_fd()), ..SetAttr::default() };
    sys::mount::set_attr(&tree, false, change).unwrap();
    Root::Detached(tree)
}

#[test]
fn privileged_user_namespace_with_idmapped_root() {
    let fixture = remapped(Fixture::sh(
        "cat /proc/self/uid_map; id -u; stat -c %u /etc/passwd; touch /new; \
         echo x > /dev/null; stat -c '%t:%T' /dev/null; hostname; mount | grep -c ' /proc '",
    ));
    let out = fixture.try_run_on(idmapped_root(&fixture)).unwrap().ok();
    let words: Vec<&str> = out.split_whitespace().collect();
    assert_eq!(words[..3], ["0", "200000", "65536"]);
    assert_eq!(words[3..], ["0", "0", "1:3", "box", "1"], "{out}");
    // What the container made belongs to root on the disk.
    assert_eq!(std::fs::metadata(fixture.root().join("new")).unwrap().uid(), 0);
}

#[test]
fn privileged_user_namespace_has_all_capabilities_inside_only() {
    let fixture = remapped(Fixture::sh("grep CapEff /proc/self/status; cat /secret"));
    std::fs::write(fixture.root().join("secret"), "").unwrap();
    std::fs::set_permissions(
        fixture.root().join("secret"),
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )
    .unwrap();
    chown(fixture.root().join("secret"), Some(7), Some(7)).unwrap();
    // Without an idmapped mount the root's files belong to nobody.
    let out = fixture.try_run().unwrap();
    assert!(out.stdout.contains("00000000a80425fb"));
    assert!(out.stderr.contains("Permission denied"), "{}", out.stderr);
}

#[test]
fn privileged_exec_enters_the_user_namespace() {
    let fixture = remapped(Fixture::new(&["sleep", "100"]));
    let (stdio, streams) = crate::fixture::pipes();
    drop(streams);
    let created = fixture.create(idmapped_root(&fixture), stdio).unwrap();
    let running = created.start().unwrap();
    let out = fixture
        .exec(&running, &["sh", "-c", "id -u; cat /proc/self/uid_map; echo ok > /tmp/f; ls /root"])
        .unwrap();
    assert!(out.ok().starts_with("0\n         0     200000      65536"));
    let stat = std::fs::metadata(format!("/proc/{}", running.pid)).unwrap();
    assert_eq!(stat.uid(), FIRST);
    kill(running);
}

#[test]
fn privileged_idmapped_bind_mount() {
    let fixture = Fixture::sh("stat -c %u /data/f /plain/f; touch /data/new");
    let source = fixture.dir.path().join("source");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("f"), "").unwrap();
    chown(source.join("f"), Some(0), Some(0)).unwrap();
    let map = json!([{"containerID": 0, "hostID": 5000, "size": 1000}]);
    let fixture = fixture
        .mount(json!({"destination": "/data", "type": "bind", "source": source,
            "options": ["bind", "idmap"], "uidMappings": map, "gidMappings": map}))
        .mount(json!({"destination": "/plain", "type": "bind", "source": source,
            "options": ["bind"]}));
    let out = fixture.run();
    assert_eq!(out.stdout, "5000\n0\n");
    // root of the container is not in the mapped range, so it may not create there.
    assert!(
        out.stderr.contains("Value too large") || out.stderr.contains("denied"),
        "{}",
        out.stderr
    );
}

#[test]
fn privileged_user_namespace_without_maps_is_refused() {
    let fixture = Fixture::new(&["true"])
        .with(|s| s["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"})));
    assert!(fixture.fails().to_string().contains("uidMappings"));
}

#[test]
fn privileged_user_namespace_with_a_network_namespace_handed_in() {
    // Two steps: the network namespace is joined with the host's rights, the others are made after.
    let first = Fixture::new(&["sleep", "100"]);
    let running = first.start();
    let path = format!("/proc/{}/ns/net", running.pid);
    let fixture =
        remapped(Fixture::sh("readlink /proc/self/ns/net; id -u; echo out > /dev/stdout"));
    let fixture = fixture.with(|s| {
        let list = s["linux"]["namespaces"].as_array_mut().unwrap();
        list.retain(|ns| ns["type"] != "network");
        list.push(json!({"type": "network", "path": path}));
        // A sysfs shows a network namespace, and only whose owner one is can mount it.
        s["mounts"]
            .as_array_mut()
            .unwrap()
            .retain(|m| m["type"] != "sysfs" && m["type"] != "cgroup");
        s["linux"]["maskedPaths"] = json!([]);
    });
    let out = fixture.try_run_on(idmapped_root(&fixture)).unwrap().ok();
    let net = std::fs::read_link(&path).unwrap();
    assert_eq!(out, format!("{}\n0\nout\n", net.display()));
    kill(running);
}

#[test]
fn privileged_joins_the_user_namespace_of_another() {
    let first = remapped(Fixture::new(&["sleep", "100"]));
    let (stdio, _streams) = crate::fixture::pipes();
    let running = first.create(idmapped_root(&first), stdio).unwrap().start().unwrap();
    let path = |ns: &str| json!(format!("/proc/{}/ns/{ns}", running.pid));
    let fixture = Fixture::sh("id -u; cat /proc/self/uid_map; hostname").with(|s| {
        s["hostname"] = json!("");
        s["linux"]["namespaces"] = json!([
            {"type": "mount"}, {"type": "pid"}, {"type": "cgroup"},
            {"type": "user", "path": path("user")}, {"type": "uts", "path": path("uts")},
            {"type": "ipc", "path": path("ipc")}, {"type": "network", "path": path("net")}
        ]);
    });
    let out = fixture.try_run_on(idmapped_root(&fixture)).unwrap().ok();
    assert!(out.starts_with("0\n         0     200000"), "{out}");
    assert!(out.ends_with("box\n"), "{out}");
    kill(running);
}

#[test]
fn privileged_time_namespace() {
    let uptime = |text: &str| text.split_whitespace().next().unwrap().parse::<f64>().unwrap();
    let host = uptime(&std::fs::read_to_string("/proc/uptime").unwrap());
    let fixture = Fixture::sh("cat /proc/uptime; echo $$").with(|s| {
        s["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "time"}));
        s["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1_000_000, "nanosecs": 0}});
    });
    let out = fixture.run().ok();
    assert!(uptime(&out) > host + 999_999.0, "{out}");
    assert!(out.ends_with("\n1\n"), "{out}");
}
