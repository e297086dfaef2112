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
    assert!(out.stderr.contains("Value too large") || out.stderr.contains("denied"), "{}", out.stderr);
}

#[test]
fn privileged_user_namespace_without_maps_is_refused() {
    let fixture = Fixture::new(&["true"])
        .with(|s| s["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"})));
    assert!(fixture.fails().to_string().contains("uidMappings"));
}
