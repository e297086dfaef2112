//! Files in and out: archive (`docker cp`), diff, export, commit, import, load and save.

use base64::Engine as _;
use std::io::Read;
use std::path::Path;
use testkit::engine::{encode, isopod_binary};
use testkit::image::{Layer, Saved, busybox_config, busybox_layer, save};
use testkit::{Container, Engine, Output, json, on_both, unique};

/// The entries of a tar: name, type, size, link target.
fn entries(tar: &[u8]) -> Vec<(String, tar::EntryType, u64, String)> {
    let mut archive = tar::Archive::new(tar);
    archive
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let link =
                entry.link_name_bytes().map(|name| String::from_utf8_lossy(&name).into_owned());
            (name, entry.header().entry_type(), entry.size(), link.unwrap_or_default())
        })
        .collect()
}

fn names(tar: &[u8]) -> Vec<String> {
    entries(tar).into_iter().map(|entry| entry.0).collect()
}

fn content(tar: &[u8], name: &str) -> String {
    let mut archive = tar::Archive::new(tar);
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.path_bytes().as_ref() == name.as_bytes() {
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            return text;
        }
    }
    panic!("no {name} in {:?}", names(tar));
}

fn archive(container: &Container, path: &str) -> String {
    container.path(&format!("/archive?path={}", encode(path)))
}

/// Runs the right command line: Docker's own for dockerd, and both must do the same on ours.
fn cp(engine: &Engine, from: &str, to: &str) -> Output {
    engine.docker(&["cp", "-q", from, to])
}

/// An image that goes when the test ends.
struct Image<'a>(&'a Engine, String);

impl Drop for Image<'_> {
    fn drop(&mut self) {
        let _ = self.0.delete(&format!("/images/{}?force=1", self.1));
    }
}

fn load<'a>(engine: &'a Engine, tag: &str, saved: &Saved) -> Image<'a> {
    let answer = engine.upload("/images/load?quiet=1", &saved.tar).expect(200);
    assert!(answer.text().contains(&format!("Loaded image: {tag}")), "{}", answer.text());
    Image(engine, tag.to_owned())
}

on_both! {
    fn privileged_archive_get_and_stat(engine) {
        let container = engine.create(json!({"Cmd": ["sh", "-c", "mkdir -p /d/sub; echo text > /d/file; ln -s file /d/link; ln /d/file /d/hard; chmod 640 /d/file; chown 1000:1001 /d/file"]}));
        container.start();
        container.wait();
        let answer = engine.get(&archive(&container, "/d")).expect(200);
        assert_eq!(answer.header("content-type"), Some("application/x-tar"));
        let mut list = names(&answer.body);
        list.sort();
        assert_eq!(list, ["d/", "d/file", "d/hard", "d/link", "d/sub/"]);
        let all = entries(&answer.body);
        let link = all.iter().find(|entry| entry.0 == "d/link").unwrap();
        assert_eq!((link.1, link.3.as_str()), (tar::EntryType::Symlink, "file"));
        let hard: Vec<_> = all.iter().filter(|entry| entry.1 == tar::EntryType::Link).collect();
        assert_eq!(hard.len(), 1, "{all:?}");
        // One file, the contents of a directory, and a name through a link.
        assert_eq!(content(&engine.get(&archive(&container, "/d/file")).expect(200).body, "file"), "text\n");
        let mut list = names(&engine.get(&archive(&container, "/d/.")).expect(200).body);
        list.sort();
        assert_eq!(list, ["./", "./file", "./hard", "./link", "./sub/"]);
        let stat = |path: &str| {
            let path = format!("{}{}", testkit::engine::VERSION, archive(&container, path));
            let answer = engine.client().request("HEAD", &path, &[], &[]);
            let header = answer.header("x-docker-container-path-stat").unwrap_or_else(|| panic!("{}", answer.status)).to_owned();
            let bytes = base64::engine::general_purpose::STANDARD.decode(header).unwrap();
            serde_json::from_slice::<testkit::Value>(&bytes).unwrap()
        };
        let file = stat("/d/file");
        assert_eq!((&file["name"], &file["size"], &file["mode"]), (&json!("file"), &json!(5), &json!(0o640)));
        let link = stat("/d/link");
        assert_eq!(link["linkTarget"], "/d/file");
        // Go's mode bits: a directory is bit 31, a symbolic link bit 27.
        assert_eq!(link["mode"].as_u64().unwrap() >> 27 & 1, 1);
        assert_eq!(stat("/d")["mode"].as_u64().unwrap(), (1 << 31) | 0o755);
        let header = engine.get(&archive(&container, "/d/file")).expect(200);
        assert!(header.header("x-docker-container-path-stat").is_some());
        let answer = engine.get(&archive(&container, "/no/such")).expect(404);
        assert!(answer.message().contains("/no/such"), "{}", answer.text());
        assert_eq!(engine.get(&container.path("/archive")).status, 400);
    }

    fn privileged_archive_put(engine) {
        for running in [false, true] {
            let container = engine.create(json!({"Cmd": ["sleep", "1000"]}));
            if running { container.start(); }
            let tar = Layer::new().dir("new", 0o755).file("new/file", 0o600, b"inside").symlink("new/link", "file").bytes();
            let _ = engine.put(&archive(&container, "/tmp"), &tar).expect(200);
            assert_eq!(content(&engine.get(&archive(&container, "/tmp/new/file")).expect(200).body, "file"), "inside");
            if running { assert_eq!(container.sh("cat /tmp/new/link; stat -c %a /tmp/new/file"), "inside600"); }
            assert_eq!(engine.put(&archive(&container, "/no/such"), &tar).status, 404);
            // 20.10 has no code of its own for it.
            let expected = if engine.is_dockerd() { 500 } else { 400 };
            assert_eq!(engine.put(&archive(&container, "/etc/passwd"), &tar).status, expected);
            // A directory must not become a file, nor the other way round, if the client says so.
            let tar = Layer::new().file("etc", 0o600, b"file").bytes();
            let path = format!("{}&noOverwriteDirNonDir=1", archive(&container, "/"));
            assert!(engine.put(&path, &tar).status >= 400);
            let answer = engine.put(&archive(&container, "/tmp"), b"this is not a tar at all, however long it may be");
            assert!(answer.status >= 400, "{}", answer.status);
        }
    }

    fn privileged_archive_respects_a_read_only_root(engine) {
        let container = engine.create(json!({"Cmd": ["sleep", "1000"], "HostConfig": {"ReadonlyRootfs": true}}));
        let tar = Layer::new().file("file", 0o600, b"x").bytes();
        let answer = engine.put(&archive(&container, "/tmp"), &tar);
        assert!(answer.status == 403 || engine.is_dockerd(), "{} {}", answer.status, answer.text());
        assert!(answer.message().contains("read-only"), "{}", answer.text());
    }

    fn privileged_cp_follows_docker_rules(engine) {
        let container = engine.sleeper(json!({}));
        let _ = container.sh("mkdir -p /src/sub /dst; echo a > /src/a; echo b > /src/sub/b; ln -s /src/a /src/link; ln -s /dst /dstlink");
        let host = tempfile::tempdir().unwrap();
        let at = |path: &str| host.path().join(path).display().to_string();
        let inside = |path: &str| format!("{}:{path}", container.id);
        let read = |path: &str| std::fs::read_to_string(host.path().join(path)).unwrap();
        // Out of the container.
        let _ = cp(engine, &inside("/src/a"), &at("copy")).success();
        assert_eq!(read("copy"), "a\n");
        std::fs::create_dir(host.path().join("dir")).unwrap();
        let _ = cp(engine, &inside("/src/a"), &at("dir")).success();
        assert_eq!(read("dir/a"), "a\n");
        let _ = cp(engine, &inside("/src"), &at("fresh")).success();
        assert_eq!(read("fresh/sub/b"), "b\n");
        let _ = cp(engine, &inside("/src"), &at("dir")).success();
        assert_eq!(read("dir/src/sub/b"), "b\n");
        let _ = cp(engine, &inside("/src/."), &at("dir")).success();
        assert_eq!(read("dir/sub/b"), "b\n");
        let _ = cp(engine, &inside("/src/link"), &at("alink")).success();
        assert!(std::fs::symlink_metadata(host.path().join("alink")).unwrap().is_symlink());
        let _ = engine.docker(&["cp", "-qL", &inside("/src/link"), &at("followed")]).success();
        assert_eq!(read("followed"), "a\n");
        assert_ne!(cp(engine, &inside("/src/a"), &at("none/")).code, 0, "the directory is not there");
        assert_ne!(cp(engine, &inside("/src/a/"), &at("x")).code, 0, "not a directory");
        assert_ne!(cp(engine, &inside("/src"), &at("copy")).code, 0, "a directory over a file");
        assert_ne!(cp(engine, &inside("/nothing"), &at("x")).code, 0);
        // Into the container.
        std::fs::write(host.path().join("up"), "up\n").unwrap();
        let _ = cp(engine, &at("up"), &inside("/dst/renamed")).success();
        let _ = cp(engine, &at("up"), &inside("/dst/")).success();
        let _ = cp(engine, &at("up"), &inside("/dstlink")).success();
        let _ = cp(engine, &at("fresh"), &inside("/dst")).success();
        let _ = cp(engine, &at("fresh/."), &inside("/dst")).success();
        let _ = cp(engine, &at("fresh"), &inside("/other")).success();
        let all = container.sh("cd /dst; find . | sort; cat renamed; find /other | sort");
        assert_eq!(all, ".\n./a\n./fresh\n./fresh/a\n./fresh/link\n./fresh/sub\n./fresh/sub/b\n./link\n./renamed\n./sub\n./sub/b\n./up\nup\n/other\n/other/a\n/other/link\n/other/sub\n/other/sub/b");
        assert_ne!(cp(engine, &at("up"), &inside("/none/")).code, 0);
        assert_ne!(cp(engine, &at("fresh"), &inside("/dst/renamed")).code, 0, "a directory over a file");
    }

    fn privileged_cp_sees_mounts_of_a_running_container(engine) {
        let host = tempfile::tempdir().unwrap();
        std::fs::write(host.path().join("given"), "given\n").unwrap();
        let container = engine.sleeper(json!({"HostConfig": {"Binds": [format!("{}:/bound", host.path().display())]}, "Volumes": {"/vol": {}}}));
        let _ = container.sh("echo v > /vol/v");
        assert_eq!(content(&engine.get(&archive(&container, "/bound/given")).expect(200).body, "given"), "given\n");
        assert_eq!(content(&engine.get(&archive(&container, "/vol/v")).expect(200).body, "v"), "v\n");
        container.stop(1);
        assert_eq!(content(&engine.get(&archive(&container, "/vol/v")).expect(200).body, "v"), "v\n", "stopped");
        let tar = Layer::new().file("put", 0o644, b"p").bytes();
        let _ = engine.put(&archive(&container, "/bound"), &tar).expect(200);
        assert!(host.path().join("put").exists());
    }

    fn privileged_diff(engine) {
        let container = engine.create(json!({"Cmd": ["sh", "-c", "echo x > /etc/new; rm /etc/group; echo y >> /etc/passwd; mkdir /made; chmod 700 /home"]}));
        assert!(engine.get(&container.path("/changes")).expect(200).json().as_array().is_none_or(Vec::is_empty));
        container.start();
        container.wait();
        let answer = engine.get(&container.path("/changes")).expect(200).json();
        testkit::shape::check("GET /containers/{id}/changes", &answer, &[]);
        let mut seen: Vec<(String, i64)> = answer.as_array().unwrap().iter().map(|change| (change["Path"].as_str().unwrap().to_owned(), change["Kind"].as_i64().unwrap())).collect();
        seen.sort();
        let wanted = [("/etc", 0), ("/etc/group", 2), ("/etc/new", 1), ("/etc/passwd", 0), ("/home", 0), ("/made", 1)];
        for (path, kind) in wanted {
            assert!(seen.contains(&(path.to_owned(), kind)), "{path} {kind} not in {seen:?}");
        }
        assert_eq!(seen.len(), wanted.len(), "{seen:?}");
    }

    fn privileged_export_is_the_whole_tree(engine) {
        let container = engine.create(json!({"Cmd": ["sh", "-c", "echo mine > /mine; rm /etc/group"]}));
        container.start();
        container.wait();
        let tar = engine.get(&container.path("/export")).expect(200).body;
        assert_eq!(content(&tar, "mine"), "mine\n");
        let list = names(&tar);
        assert!(list.iter().any(|name| name == "bin/busybox"));
        assert!(list.iter().any(|name| name == "etc/"));
        assert!(!list.iter().any(|name| name == "etc/group"));
        assert!(!list.iter().any(|name| name.contains(".wh.")));
    }

    fn privileged_commit(engine) {
        let tag = unique("committed");
        let container = engine.create(json!({"Cmd": ["sh", "-c", "echo kept > /kept; rm -r /home"], "Env": ["OWN=1"], "WorkingDir": "/tmp"}));
        container.start();
        container.wait();
        let answer = engine.post(&format!("/commit?container={}&repo={tag}&tag=v1&comment=why&author=who&changes={}", container.id, encode("CMD [\"cat\", \"/kept\"]\nENV MORE=2\nLABEL a=b\nEXPOSE 80\nUSER app")), &json!(null)).expect(201);
        let _image = Image(engine, format!("{tag}:v1"));
        let id = answer.json()["Id"].as_str().unwrap().to_owned();
        assert!(id.starts_with("sha256:"), "{id}");
        let image = engine.get(&format!("/images/{tag}:v1/json")).expect(200).json();
        assert_eq!(image["Id"], id);
        assert_eq!(image["Author"], "who");
        assert_eq!(image["Comment"], "why");
        assert_eq!(image["RootFS"]["Layers"].as_array().unwrap().len(), 2);
        let config = image["Config"].clone();
        assert_eq!(config["Cmd"], json!(["cat", "/kept"]));
        assert_eq!(config["User"], "app");
        assert_eq!(config["WorkingDir"], "/tmp");
        assert_eq!(config["Labels"]["a"], "b");
        assert!(config["ExposedPorts"]["80/tcp"].is_object());
        for variable in ["OWN=1", "MORE=2"] {
            assert!(config["Env"].as_array().unwrap().contains(&json!(variable)), "{config}");
        }
        assert_eq!(engine.run(json!({"Image": format!("{tag}:v1")})).stdout, "kept\n");
        let output = engine.run(json!({"Image": format!("{tag}:v1"), "Cmd": ["ls", "/home"]}));
        assert_ne!(output.code, 0, "/home is still there");
        let history = engine.get(&format!("/images/{tag}:v1/history")).expect(200).json();
        testkit::shape::check("GET /images/{name}/history", &history, &[]);
        assert_eq!(history[0]["Comment"], "why");
    }

    fn privileged_import(engine) {
        let tag = unique("imported");
        let tar = busybox_layer().file("own", 0o644, b"own\n").bytes();
        let changes = [("changes", "CMD [\"cat\", \"/own\"]"), ("changes", "ENV A=b"), ("message", "from a tar")];
        let query: String = changes.iter().map(|(key, value)| format!("&{key}={}", encode(value))).collect();
        let answer = engine.upload(&format!("/images/create?fromSrc=-&repo={tag}&tag=latest{query}"), &tar).expect(200);
        let _image = Image(engine, format!("{tag}:latest"));
        let last: testkit::Value = serde_json::from_str(answer.text().lines().last().unwrap()).unwrap();
        assert!(last["status"].as_str().unwrap().starts_with("sha256:"), "{last}");
        assert_eq!(engine.run(json!({"Image": tag})).stdout, "own\n");
        let image = engine.get(&format!("/images/{tag}/json")).expect(200).json();
        assert_eq!(image["RootFS"]["Layers"], json!([testkit::image::digest(&tar)]));
        assert_eq!(image["Comment"], "from a tar");
    }

    fn privileged_what_a_tar_says_of_its_root_directory_counts_for_nothing(engine) {
        let tag = unique("rooted");
        // As `tar -C $(mktemp -d) -c .` has it.
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_path("./").unwrap();
        header.set_mode(0o700);
        header.set_uid(1234);
        header.set_size(0);
        header.set_cksum();
        let tar = [header.as_bytes(), &busybox_layer().bytes()[..]].concat();
        let _ = engine.upload(&format!("/images/create?fromSrc=-&repo={tag}&tag=latest"), &tar).expect(200);
        let _image = Image(engine, format!("{tag}:latest"));
        let script = "/bin/busybox stat -c '%a %u' / && /bin/busybox id -u";
        let ran = engine.run(json!({"Image": tag, "User": "1000", "Cmd": ["/bin/busybox", "sh", "-c", script]}));
        assert_eq!((ran.code, ran.stdout.as_str()), (0, "755 0\n1000\n"), "{}", ran.stderr);
        let image = engine.get(&format!("/images/{tag}/json")).expect(200).json();
        assert_eq!(image["Comment"], "Imported from -");
    }

    fn privileged_load_gives_the_digests_of_the_archive(engine) {
        let tag = format!("{}:latest", unique("loaded"));
        let saved = save(&[&tag], &busybox_config(), vec![busybox_layer(), Layer::new().file("second", 0o644, b"2")]);
        let _image = load(engine, &tag, &saved);
        let image = engine.get(&format!("/images/{tag}/json")).expect(200).json();
        assert_eq!(image["Id"], saved.id);
        assert_eq!(image["RootFS"]["Layers"], json!(saved.diff_ids));
        assert_eq!(image["RepoTags"], json!([tag]));
        assert_eq!(image["Os"], "linux");
        assert_eq!(image["Created"], "2023-11-14T22:13:20Z");
    }

    fn privileged_layers_hide_and_replace(engine) {
        let tag = format!("{}:latest", unique("layers"));
        let lower = Layer::new().dir("data", 0o755).dir("data/opaque", 0o755).file("data/opaque/old", 0o644, b"old")
            .file("data/gone", 0o644, b"gone").file("data/kept", 0o644, b"kept").dir("data/dir", 0o755).file("data/dir/inner", 0o644, b"inner")
            .file("data/turns", 0o644, b"file");
        let middle = Layer::new().dir("data", 0o755).whiteout("data/gone").whiteout("data/dir").opaque("data/opaque").file("data/opaque/new", 0o644, b"new")
            .file("data/replaced", 0o644, b"first").hardlink("data/hard", "data/replaced")
            .file_with_xattr("data/capable", "security.capability", &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], b"#!/bin/sh\n");
        let upper = Layer::new().dir("data", 0o711).file("data/replaced2", 0o4755, b"second").whiteout("data/turns").dir("data/turns2", 0o1777).symlink("data/absolute", "/data/kept");
        let saved = save(&[&tag], &busybox_config(), vec![busybox_layer(), lower, middle, upper]);
        let _image = load(engine, &tag, &saved);
        let script = "cd /data; find . | sort | tr '\\n' ' '; cat kept opaque/new absolute hard; stat -c ' %a %h' replaced2 hard; stat -c %a .";
        let seen = engine.sh(script, json!({"Image": tag}));
        assert_eq!(seen, ". ./absolute ./capable ./hard ./kept ./opaque ./opaque/new ./replaced ./replaced2 ./turns2 keptnewkeptfirst 4755 1\n 644 2\n711\n");
        // The file capability (cap_net_raw) is on the file: seen from the container's own export.
        let container = engine.create(json!({"Image": tag, "Cmd": ["true"]}));
        let mut tar = tar::Archive::new(std::io::Cursor::new(engine.get(&archive(&container, "/data/capable")).expect(200).body));
        let mut entry = tar.entries().unwrap().next().unwrap().unwrap();
        let keys: Vec<String> = entry.pax_extensions().unwrap().into_iter().flatten().map(|record| record.unwrap().key().unwrap().to_owned()).collect();
        assert!(keys.iter().any(|key| key == "SCHILY.xattr.security.capability"), "{keys:?}");
    }

    fn privileged_save_and_load_round_trip(engine) {
        let tag = format!("{}:latest", unique("saved"));
        let saved = save(&[&tag], &busybox_config(), vec![busybox_layer(), Layer::new().whiteout("etc/group").file("more", 0o644, b"more")]);
        let image = load(engine, &tag, &saved);
        let tar = engine.get(&format!("/images/{}/get", encode(&tag))).expect(200).body;
        let list = names(&tar);
        assert!(list.iter().any(|name| name == "manifest.json") && list.iter().any(|name| name == "repositories"), "{list:?}");
        let manifest: testkit::Value = serde_json::from_str(&content(&tar, "manifest.json")).unwrap();
        assert_eq!(manifest[0]["RepoTags"], json!([tag]));
        let config = content(&tar, manifest[0]["Config"].as_str().unwrap());
        assert_eq!(testkit::image::digest(config.as_bytes()), saved.id);
        drop(image);
        assert_eq!(engine.get(&format!("/images/{tag}/json")).status, 404);
        let _ = engine.upload("/images/load?quiet=1", &tar).expect(200);
        let again = engine.get(&format!("/images/{tag}/json")).expect(200).json();
        let _image = Image(engine, tag.clone());
        assert_eq!(again["Id"], saved.id);
        assert_eq!(again["RootFS"]["Layers"], json!(saved.diff_ids));
        assert_eq!(engine.sh("cat /more; ls /etc", json!({"Image": tag})), "morehostname\nhosts\nmtab\npasswd\nresolv.conf\n");
    }

    fn privileged_a_name_without_a_tag_saves_all_its_tags(engine) {
        let name = unique("untagged");
        let tags = [format!("{name}:a"), format!("{name}:b")];
        let saved = [b"a", b"b"].map(|text| {
            save(&[&format!("{name}:{}", text.escape_ascii())], &busybox_config(), vec![busybox_layer(), Layer::new().file("f", 0o644, text)])
        });
        let _images = [load(engine, &tags[0], &saved[0]), load(engine, &tags[1], &saved[1])];
        for path in [format!("/images/{name}/get"), format!("/images/get?names={name}")] {
            let tar = engine.get(&path).expect(200).body;
            let manifest: testkit::Value = serde_json::from_str(&content(&tar, "manifest.json")).unwrap();
            let mut found: Vec<&str> = manifest.as_array().unwrap().iter().map(|image| image["RepoTags"][0].as_str().unwrap()).collect();
            found.sort_unstable();
            assert_eq!(found, tags);
        }
        assert_eq!(engine.get(&format!("/images/{name}:c/get")).status, 404);
    }

    fn privileged_a_load_says_whose_name_it_takes(engine) {
        let tag = format!("{}:1", unique("taken"));
        let [first, second] = ["1", "2"].map(|text| save(&[&tag], &busybox_config(), vec![Layer::new().file("f", 0o644, text.as_bytes())]));
        let _image = load(engine, &tag, &first);
        let _old = Image(engine, first.id.clone());
        let told = engine.upload("/images/load?quiet=1", &second.tar).expect(200).text();
        let words = format!("The image {tag} already exists, renaming the old one with ID {} to empty string", first.id);
        assert!(told.contains(&words), "{told}");
        let again = engine.upload("/images/load?quiet=1", &second.tar).expect(200).text();
        assert!(!again.contains("already exists"), "{again}");
    }

    fn privileged_images_list_tag_and_remove(engine) {
        let tag = unique("tagged");
        let saved = save(&[&format!("{tag}:one")], &json!({"Labels": {"who": tag}, "Cmd": ["sh"]}), vec![busybox_layer()]);
        let _image = load(engine, &format!("{tag}:one"), &saved);
        let _ = engine.act(&format!("/images/{tag}:one/tag?repo={tag}&tag=two")).expect(201);
        let query = testkit::engine::filters(&json!({"label": [format!("who={tag}")]}));
        let list = engine.get(&format!("/images/json?{query}")).expect(200).json();
        testkit::shape::check("GET /images/json", &list, &["[0].VirtualSize"]);
        assert_eq!(list.as_array().unwrap().len(), 1);
        let mut tags: Vec<&str> = list[0]["RepoTags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap()).collect();
        tags.sort_unstable();
        assert_eq!(tags, [format!("{tag}:one"), format!("{tag}:two")]);
        assert_eq!(list[0]["Id"], saved.id);
        let query = testkit::engine::filters(&json!({"reference": [format!("{tag}:t*")]}));
        assert_eq!(engine.get(&format!("/images/json?{query}")).json().as_array().unwrap().len(), 1);
        let answer = engine.delete(&format!("/images/{tag}:two")).expect(200);
        assert_eq!(answer.json(), json!([{"Untagged": format!("{tag}:two")}]));
        let container = engine.create(json!({"Image": format!("{tag}:one"), "Cmd": ["true"]}));
        let answer = engine.delete(&format!("/images/{tag}:one")).expect(409);
        assert!(answer.message().contains("container"), "{}", answer.text());
        drop(container);
        let answer = engine.delete(&format!("/images/{tag}:one")).expect(200).json();
        assert!(answer.to_string().contains(&format!("\"Deleted\":\"{}\"", saved.id)), "{answer}");
        assert_eq!(engine.get(&format!("/images/{}/json", saved.id)).status, 404);
        assert_eq!(engine.delete(&format!("/images/{tag}:one")).status, 404);
    }

    fn privileged_image_inspect_shape(engine) {
        let image = engine.get("/images/busybox/json").expect(200).json();
        testkit::shape::check("GET /images/{name}/json", &image, &[".Container", ".ContainerConfig", ".VirtualSize", ".Parent", ".DockerVersion",
            ".Config.Hostname", ".Config.Domainname", ".Config.AttachStdin", ".Config.AttachStdout", ".Config.AttachStderr", ".Config.Tty", ".Config.OpenStdin", ".Config.StdinOnce", ".Config.Image"]);
        assert_eq!(image["Config"]["Cmd"], json!(["sh"]));
        assert!(image["Size"].as_u64().unwrap() > 500_000);
        assert_eq!(engine.get("/images/nothing/json").status, 404);
        assert!(engine.get("/images/nothing/json").message().contains("No such image: nothing:latest"));
    }

    fn privileged_hostile_layers_write_nothing_outside(engine) {
        let mark = format!("/tmp/{}", unique("isopod-escape"));
        let name = unique("isopod-victim");
        let victim = Path::new("/tmp").join(&name);
        let hostile = [
            ("dot dot", Layer::new().file(&format!("../../../../../../../../..{mark}"), 0o644, b"x")),
            ("absolute", Layer::new().file(&mark, 0o644, b"x")),
            ("through a link", Layer::new().symlink("way", "/tmp").file(&format!("way/{}", &mark[5..]), 0o644, b"x")),
            ("through a relative link", Layer::new().symlink("way", "../../../../../../../../tmp").file(&format!("way/{}", &mark[5..]), 0o644, b"x")),
            ("hard link out", Layer::new().hardlink("passwd", "../../../../../../../../etc/shadow")),
            ("link over a link", Layer::new().symlink("a", "/tmp").symlink("b", "a").file(&format!("b/{}", &mark[5..]), 0o644, b"x")),
            ("whiteout out", Layer::new().file(&format!("../../../../../../../../tmp/.wh.{name}"), 0o644, b"")),
        ];
        std::fs::write(&victim, "victim").unwrap();
        for (what, layer) in hostile {
            let tag = format!("{}:latest", unique("hostile"));
            let saved = save(&[&tag], &busybox_config(), vec![busybox_layer(), layer]);
            let answer = engine.upload("/images/load?quiet=1", &saved.tar);
            let _image = Image(engine, tag.clone());
            assert!(!Path::new(&mark).exists(), "{what}: {}", answer.text());
            // Whether it was refused or tamed, the engine goes on.
            assert!(engine.client().answers());
        }
        assert!(victim.exists());
        std::fs::remove_file(&victim).unwrap();
    }

    fn privileged_hostile_copies_write_nothing_outside(engine) {
        let container = engine.sleeper(json!({}));
        let name = unique("isopod-escape");
        let mark = format!("/tmp/{name}");
        let _ = container.sh("ln -s /proc/1/root/tmp /slash; ln -s ../../../../../../../../tmp /relative; ln -s / /tmp/top");
        let file = |path: &str| Layer::new().file(path, 0o644, b"x").bytes();
        for (target, tar) in [
            ("/", file(&format!("../../../../../../../..{mark}"))),
            ("/", file(&mark)),
            ("/slash", file(&name)),
            ("/relative", file(&name)),
            ("/../../../../../../tmp", file(&name)),
            ("/tmp", Layer::new().symlink("l", "/tmp").file(&format!("l/{name}"), 0o644, b"x").bytes()),
            ("/tmp", Layer::new().hardlink("h", "/etc/shadow").bytes()),
        ] {
            let _ = engine.put(&archive(&container, target), &tar);
            assert!(!Path::new(&mark).exists(), "{target} wrote outside");
        }
        for path in ["/../../../../../../../../etc/shadow", "/relative/../etc/shadow"] {
            let answer = engine.get(&archive(&container, path));
            assert_eq!(answer.status, 404, "{path}: the host's file came out");
        }
        assert_eq!(container.status(), "running");
    }

    fn privileged_a_huge_size_is_only_a_claim(engine) {
        let mut header = tar::Header::new_gnu();
        header.set_path("huge").unwrap();
        header.set_mode(0o644);
        header.set_size(1 << 50);
        header.set_cksum();
        let mut tar = header.as_bytes().to_vec();
        tar.extend([0; 4096]);
        let container = engine.create(json!({"Cmd": ["true"]}));
        let answer = engine.put(&archive(&container, "/tmp"), &tar);
        assert!(answer.status >= 400, "{}", answer.status);
        let answer = engine.upload("/images/load?quiet=1", &tar);
        assert!(answer.status >= 400 || answer.text().contains("error"), "{}", answer.text());
        assert!(engine.client().answers());
    }
}

/// Both command lines copy alike; ours is checked on our engine only.
#[test]
fn privileged_a_refused_load_is_answered_to_the_end() {
    let engine = Engine::isopod();
    let folder = tempfile::tempdir().unwrap();
    let rubbish = folder.path().join("rubbish");
    std::fs::write(&rubbish, vec![b'x'; 8 << 20]).unwrap();
    for _ in 0..10 {
        let output = engine.docker(&["load", "-q", "-i", rubbish.to_str().unwrap()]);
        assert_eq!(output.code, 1);
        assert!(output.stderr.contains("invalid tar"), "{output:?}");
    }
}

#[test]
fn privileged_our_cp_does_the_same() {
    let engine = Engine::isopod();
    let container = engine.sleeper(json!({}));
    let host = tempfile::tempdir().unwrap();
    let file = host.path().join("file");
    std::fs::write(&file, "text").unwrap();
    let ours = isopod_binary();
    let inside = format!("{}:/tmp/", container.id);
    let _ = engine.command(&ours, &["cp", &file.display().to_string(), &inside]).success();
    assert_eq!(container.sh("cat /tmp/file"), "text");
    let back = host.path().join("back");
    let _ = engine
        .command(
            &ours,
            &["cp", &format!("{}:/tmp/file", container.id), &back.display().to_string()],
        )
        .success();
    assert_eq!(std::fs::read_to_string(back).unwrap(), "text");
}
