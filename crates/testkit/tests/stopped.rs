//! Containers that do not run, for `docker cp`, and containers that lean on others: namespaces,
//! volumes and links of containers that are or are not there.

use std::io::Read;
use testkit::engine::encode;
use testkit::{Container, Engine, json, on_both, unique};

/// The content of the only file in the archive of a path.
fn content(engine: &Engine, container: &Container, path: &str) -> String {
    let path = container.path(&format!("/archive?path={}", encode(path)));
    let tar = engine.get(&path).expect(200).body;
    let mut archive = tar::Archive::new(&tar[..]);
    let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
    let mut text = String::new();
    entry.read_to_string(&mut text).unwrap();
    text
}

/// A tar with one file of so many bytes that belongs to 77:88.
fn file(name: &str, size: usize) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_size(size as u64);
    header.set_mode(0o640);
    header.set_uid(77);
    header.set_gid(88);
    header.set_cksum();
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_data(&mut header, name, &vec![b'x'; size][..]).unwrap();
    tar.into_inner().unwrap()
}

on_both! {
    fn privileged_copies_of_stopped_containers_see_their_mounts(engine) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("inner"), "of the host").unwrap();
        let volume = unique("v");
        let container = engine.create(json!({
            "Cmd": ["sh", "-c", "echo deep > /data/v/f; ln -s /data/v /link"],
            "HostConfig": {"Binds": [
                format!("{volume}:/data/v"),
                format!("{}:/data/b:ro", folder.path().display()),
                format!("{}/inner:/data/single", folder.path().display()),
            ]},
        }));
        container.start();
        assert_eq!(container.wait(), 0);
        assert_eq!(content(engine, &container, "/data/v/f"), "deep\n");
        // Over a link in the root, dots, and without the first slash.
        assert_eq!(content(engine, &container, "/link/f"), "deep\n");
        assert_eq!(content(engine, &container, "/etc/../data/./v/f"), "deep\n");
        assert_eq!(content(engine, &container, "data/v/f"), "deep\n");
        assert_eq!(content(engine, &container, "/data/b/inner"), "of the host");
        assert_eq!(content(engine, &container, "/data/single"), "of the host");
        assert!(content(engine, &container, "/etc/hosts").contains("localhost"));
        // From above, everything comes along.
        let tar = engine.get(&container.path("/archive?path=/data")).expect(200).body;
        let mut archive = tar::Archive::new(&tar[..]);
        let mut names: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .map(|name| name.trim_end_matches('/').to_owned())
            .collect();
        names.sort();
        assert_eq!(names, ["data", "data/b", "data/b/inner", "data/single", "data/v", "data/v/f"]);
        // What is put into the volume is in the volume.
        let _ = engine.put(&container.path("/archive?path=/link"), &file("put", 3)).expect(200);
        let config = json!({"HostConfig": {"Binds": [format!("{volume}:/v")]}});
        assert_eq!(engine.sh("cat /v/put", config), "xxx");
        // An export has the places only.
        let tar = engine.get(&container.path("/export")).expect(200).body;
        let mut archive = tar::Archive::new(&tar[..]);
        let inside = archive.entries().unwrap().any(|entry| {
            entry.unwrap().path().unwrap().display().to_string().contains("data/v/f")
        });
        assert!(!inside);
        container.remove();
        let _ = engine.delete(&format!("/volumes/{volume}")).expect(204);
    }

    fn privileged_archives_keep_their_owners_unless_the_container_has_a_user(engine) {
        for (config, query, owner) in [
            (json!({}), "", "77:88"),
            (json!({}), "&copyUIDGID=1", "77:88"),
            (json!({"User": "root"}), "", "77:88"),
            (json!({"User": "root"}), "&copyUIDGID=1", "0:0"),
        ] {
            let mut config = config;
            config["Cmd"] = json!(["stat", "-c", "%u:%g", "/tmp/f"]);
            let container = engine.create(config);
            let path = container.path(&format!("/archive?path=/tmp{query}"));
            let _ = engine.put(&path, &file("f", 3)).expect(200);
            container.start();
            assert_eq!(container.wait(), 0);
            assert_eq!(String::from_utf8(container.logs().stdout).unwrap().trim(), owner, "{query}");
        }
    }

    fn privileged_a_refused_upload_is_answered_to_the_end(engine) {
        let container = engine.create(json!({}));
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("big");
        std::fs::write(&source, vec![b'x'; 4 << 20]).unwrap();
        for _ in 0..10 {
            let to = format!("{}:/no/such/directory/x", container.name);
            let output = engine.docker(&["cp", "-q", source.to_str().unwrap(), &to]);
            assert_eq!(output.code, 1);
            assert!(!output.stderr.contains("broken pipe"), "{output:?}");
            assert!(output.stderr.contains("Could not find the file /no/such/directory"), "{output:?}");
        }
    }

    fn privileged_only_shared_ipc_namespaces_are_joined(engine) {
        let shared = engine.sleeper(json!({"HostConfig": {"IpcMode": "shareable"}}));
        assert_eq!(shared.sh("echo there > /dev/shm/f"), "");
        let join = |name: &str| json!({"HostConfig": {"IpcMode": format!("container:{name}")}});
        assert_eq!(engine.sh("cat /dev/shm/f", join(&shared.name)), "there\n");
        let private = engine.sleeper(json!({"HostConfig": {"IpcMode": "private"}}));
        let refused = engine.create(join(&private.name));
        let answer = engine.act(&refused.path("/start"));
        assert!(answer.status >= 400, "{}", answer.status);
        assert!(answer.message().contains("non-shareable IPC"), "{}", answer.message());
    }

    fn privileged_what_is_not_there_cannot_be_leant_on(engine) {
        // Refused when the container is made, and not with the 404 that means the image.
        let body = json!({"Image": "busybox", "HostConfig": {"VolumesFrom": ["nobody"]}});
        let answer = engine.post("/containers/create", &body).expect(400);
        assert_eq!(answer.message(), "No such container: nobody");
        let body = json!({"Image": "busybox", "HostConfig": {"Links": ["nobody:alias"]}});
        let answer = engine.post("/containers/create", &body).expect(400);
        assert_eq!(answer.message(), "could not get container for nobody: No such container: nobody");
        for host in [json!({"PidMode": "container:nobody"}), json!({"IpcMode": "container:nobody"})] {
            let body = json!({"Image": "busybox", "HostConfig": host});
            let answer = engine.post("/containers/create", &body).expect(400);
            assert_eq!(answer.message(), "No such container: nobody");
        }
        // A network is looked for when the container starts.
        let joining = json!({"NetworkMode": "container:nobody"});
        let container = engine.create(json!({"HostConfig": joining}));
        let answer = engine.act(&container.path("/start")).expect(404);
        assert!(answer.message().contains("No such container: nobody"), "{}", answer.message());
    }

    fn privileged_images_may_expose_ports_on_a_joined_network(engine) {
        let donor = engine.sleeper(json!({}));
        let first = engine.create(json!({"ExposedPorts": {"80/tcp": {}}}));
        let name = unique("exposing");
        let _ = engine.act(&format!("/commit?container={}&repo={name}", first.id)).expect(201);
        let mode = json!({"NetworkMode": format!("container:{}", donor.name)});
        assert_eq!(engine.sh("echo fine", json!({"Image": name, "HostConfig": mode})), "fine\n");
        let body = json!({"Image": name, "ExposedPorts": {"81/tcp": {}}, "HostConfig": mode});
        let answer = engine.post("/containers/create", &body).expect(400);
        assert!(answer.message().contains("port exposing"), "{}", answer.message());
        let _ = engine.delete(&format!("/images/{name}")).expect(200);
    }
}
