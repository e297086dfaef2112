//! Images that travel between us and other programs: ours → peer → ours and peer → ours → peer,
//! through registries, archives and OCI layouts. No digest changes, and every container sees the
//! same files, down to attributes and links.

mod fixture;
mod listing;
mod tools;

use fixture::{Image, Packing, archive_of, tars};
use listing::{in_container, of_directory, same, same_as_peer};
use std::fs;
use std::path::Path;
use std::process::Command;
use testkit::distribution::Server;
use testkit::distribution::content::INDEX;
use testkit::image::digest;
use testkit::{Engine, Value, json, unique};
use tools::{
    Forget, Near, Podman, blobs, id, inspect, load, manifest, pull, push, run, save, skopeo_copy,
    umoci_unpack,
};

const MIXED: [Packing; 3] = [Packing::Gzip, Packing::Zstd, Packing::Plain];

/// What the listing of the fixture must and must not have, so that it says something.
fn has_everything(listing: &str) {
    let line = |path: &str| {
        let start = format!("\"{path}\" ");
        listing.lines().find(|line| line.starts_with(&start))
    };
    for gone in [
        "data/hard",
        "data/gone",
        "data/null",
        "data/opaque/old",
        "data/opaque/deep",
        "data/dir/sub",
        "data/becomes-file/inside",
        "data/opaque/.wh..wh..opq",
        "data/.wh.hard",
    ] {
        assert_eq!(line(gone), None, "{gone} is hidden");
    }
    let long = "x".repeat(200);
    let deep = format!("data/{long}/{long}/{long}");
    for (path, what) in [
        ("data/opaque/new", " 100644 0:0 "),
        ("data/odd", " 106755 123456:4294967290 "),
        ("data/owned", " 43777 3000000:3000000 "),
        ("data/soft", " 120777 70000:70001 "),
        ("data/becomes-dir/now/file", " 4 bytes "),
        ("data/becomes-link", " -> \"becomes-dir\""),
        ("data/becomes-file", " 7 bytes "),
        ("data/loop", " device 709"),
        ("data/fifo", " 10644 "),
        ("data/one", " 104711 "),
        ("data/sparse", " 9437188 bytes "),
        ("data/capable", "security.capability=[1, 0, 0, 2, 0, 20,"),
        ("data/attributes", "user.binary=[0, 1, 3d, a, ff]"),
        ("data/with-attributes", "user.on.directory=[77, c3, b6"),
        ("data/new\\nline", " 4 bytes "),
        (&deep, " 5 bytes "),
    ] {
        let found = line(path).unwrap_or_else(|| panic!("no {path} in:\n{listing}"));
        assert!(found.contains(what), "{what} in {found}");
    }
    let other = format!("data/{long}/hard-to-long");
    assert!(line(&deep).unwrap().ends_with(&format!(" is {other:?}")), "{:?}", line(&deep));
    assert!(line("data/links/hard-link-to-symlink").unwrap().contains(" -> \"one\""));
    // Equal files are not the same file.
    assert!(!line("data/same-9").unwrap().contains(" is "), "{:?}", line("data/same-9"));
}

fn digests(engine: &Engine, image: &str) -> String {
    inspect(engine, image)["RepoDigests"].to_string()
}

/// dockerd → us → dockerd, and what it reads on the way.
fn dockerd_to_us_and_back(home: &Server) {
    let (dockerd, isopod) = (Engine::dockerd(), Engine::isopod());
    let (theirs, ours) = (Near::new(home, &dockerd), Near::new(home, &isopod));
    let image = Image::docker(&unique("there"));
    image.publish(home, "from/others", "v1");
    let at_theirs = Forget(&dockerd, image.id());
    pull(&dockerd, &format!("{}/from/others:v1", theirs.host()), "");
    assert_eq!(id(&dockerd, &image.id()), image.id());
    let before = in_container(&dockerd, &image.id());
    has_everything(&before);
    push(&dockerd, &image.id(), &theirs.host(), "from/dockerd", "v1");
    let pushed = manifest(home, "from/dockerd", "v1");
    assert_eq!(blobs(&pushed.0), blobs(&image.manifest));

    // Once what others made, once what dockerd made.
    for (name, expected) in [("from/others", &image.manifest), ("from/dockerd", &pushed.0)] {
        let at_ours = Forget(&isopod, image.id());
        pull(&isopod, &format!("{}/{name}:v1", ours.host()), "");
        assert!(digests(&isopod, &image.id()).contains(&digest(expected.as_bytes())), "{name}");
        same_as_peer(name, &in_container(&isopod, &image.id()), &before);
        let back = format!("back/{name}");
        push(&isopod, &image.id(), &ours.host(), &back, "v1");
        assert_eq!(manifest(home, &back, "v1"), (expected.clone(), image.kind.to_owned()));
        at_ours.now();
        at_theirs.now();
        pull(&dockerd, &format!("{}/{back}:v1", theirs.host()), "");
        assert_eq!(id(&dockerd, &image.id()), image.id());
        assert!(digests(&dockerd, &image.id()).contains(&digest(expected.as_bytes())), "{name}");
        push(&dockerd, &image.id(), &theirs.host(), "again/dockerd", "v1");
        assert_eq!(manifest(home, "again/dockerd", "v1").0, pushed.0);
    }
}

/// Us → dockerd → us, with skopeo in between.
fn ours_to_dockerd_and_back(home: &Server) {
    let (dockerd, isopod) = (Engine::dockerd(), Engine::isopod());
    let (theirs, ours) = (Near::new(home, &dockerd), Near::new(home, &isopod));
    let image = Image::docker(&unique("here"));
    let (at_ours, at_theirs) = (Forget(&isopod, image.id()), Forget(&dockerd, image.id()));
    load(&isopod, &image.archive("peers-here:v1"));
    let before = in_container(&isopod, &image.id());
    has_everything(&before);
    push(&isopod, &image.id(), &ours.host(), "ours/pushed", "v1");
    let pushed = manifest(home, "ours/pushed", "v1");
    at_ours.now();

    pull(&dockerd, &format!("{}/ours/pushed@{}", theirs.host(), digest(pushed.0.as_bytes())), "");
    assert_eq!(id(&dockerd, &image.id()), image.id());
    same_as_peer("dockerd has ours", &before, &in_container(&dockerd, &image.id()));
    push(&dockerd, &image.id(), &theirs.host(), "theirs/pushed", "v1");
    assert_eq!(blobs(&manifest(home, "theirs/pushed", "v1").0), blobs(&pushed.0));
    at_theirs.now();

    let at = |name: &str| format!("docker://{}/{name}", home.host());
    skopeo_copy(&at("ours/pushed:v1"), &at("skopeo/copied:v1"), &["--preserve-digests"]);
    assert_eq!(manifest(home, "skopeo/copied", "v1"), pushed);
    for name in ["theirs/pushed", "skopeo/copied"] {
        pull(&isopod, &format!("{}/{name}:v1", ours.host()), "");
        assert_eq!(id(&isopod, &image.id()), image.id());
        push(&isopod, &image.id(), &ours.host(), "ours/again", "v1");
        assert_eq!(manifest(home, "ours/again", "v1"), manifest(home, name, "v1"));
        same(name, &before, &in_container(&isopod, &image.id()));
        at_ours.now();
    }
}

#[test]
fn privileged_from_dockerd_and_back_through_its_registry() {
    dockerd_to_us_and_back(&Server::docker());
}

#[test]
fn privileged_from_dockerd_and_back_through_our_registry() {
    dockerd_to_us_and_back(&Server::isopod(&[]));
}

#[test]
fn privileged_to_dockerd_and_back_through_its_registry() {
    ours_to_dockerd_and_back(&Server::docker());
}

#[test]
fn privileged_to_dockerd_and_back_through_our_registry() {
    ours_to_dockerd_and_back(&Server::isopod(&[]));
}

/// Layers of every packing in one image, which dockerd of this age cannot read.
#[test]
fn privileged_every_packing_survives_us_skopeo_and_podman() {
    let isopod = Engine::isopod();
    for home in [Server::docker(), Server::isopod(&[])] {
        let ours = Near::new(&home, &isopod);
        let image = Image::oci(&unique("mixed"), &MIXED);
        let at_ours = Forget(&isopod, image.id());
        image.publish(&home, "mixed", "v1");
        pull(&isopod, &format!("{}/mixed:v1", ours.host()), "");
        assert_eq!(id(&isopod, &image.id()), image.id());
        let seen = in_container(&isopod, &image.id());
        has_everything(&seen);
        push(&isopod, &image.id(), &ours.host(), "back", "v2");
        assert_eq!(manifest(&home, "back", "v2"), (image.manifest.clone(), image.kind.to_owned()));
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| format!("docker://{}/{name}", home.host());
        // As an OCI layout, in an archive.
        let path = format!("/images/get?names={}&format=oci", image.id());
        let saved = unpacked(folder.path(), &isopod.get(&path).expect(200).body);
        assert_eq!(index_of(&saved)["manifests"][0]["digest"], image.digest());
        let tag = tag_of(&saved);
        let whole = format!("oci:{}:{tag}", saved.display());
        skopeo_copy(&whole, &at("saved:v1"), &["--preserve-digests"]);
        assert_eq!(manifest(&home, "saved", "v1").0, image.manifest);
        at_ours.now();
        load(&isopod, &archive_of(&saved));
        assert_eq!(id(&isopod, &image.id()), image.id());
        same("loaded", &seen, &in_container(&isopod, &image.id()));
        at_ours.now();

        let layout = format!("oci:{}:v3", folder.path().join("layout").display());
        skopeo_copy(&at("back:v2"), &layout, &["--preserve-digests"]);
        skopeo_copy(&layout, &at("again:v4"), &["--preserve-digests"]);
        assert_eq!(manifest(&home, "again", "v4").0, image.manifest);
        let podman = Podman::new();
        let name = format!("{}/back:v2", home.host());
        drop(podman.run(&["pull", "-q", "--tls-verify=false", &name]));
        assert_eq!(podman.id(&name), image.id());
        same_as_peer("podman", &seen, &podman.listing(&name));
    }
}

/// Podman pulls what we pushed and pushes what we pull, in both of its formats.
#[test]
fn privileged_podman_and_we_exchange_images_through_both_registries() {
    let isopod = Engine::isopod();
    for home in [Server::docker(), Server::isopod(&[])] {
        let ours = Near::new(&home, &isopod);
        let image = Image::docker(&unique("podman"));
        let at_ours = Forget(&isopod, image.id());
        load(&isopod, &image.archive("peers-podman:v1"));
        let seen = in_container(&isopod, &image.id());
        push(&isopod, &image.id(), &ours.host(), "ours", "v1");
        at_ours.now();
        let pushed = manifest(&home, "ours", "v1").0;
        let podman = Podman::new();
        let name = |name: &str| format!("{}/{name}", home.host());
        drop(podman.run(&["pull", "-q", "--tls-verify=false", &name("ours:v1")]));
        assert_eq!(podman.id(&name("ours:v1")), image.id());
        same_as_peer("podman has ours", &seen, &podman.listing(&name("ours:v1")));
        for format in ["v2s2", "oci"] {
            let to = name(&format!("podman/{format}:v1"));
            let push = ["push", "-q", "--tls-verify=false", "--format", format];
            drop(podman.run(&[&push[..], &[&name("ours:v1"), &to]].concat()));
            let (bytes, kind) = manifest(&home, &format!("podman/{format}"), "v1");
            let config = blobs(&bytes).remove(0);
            if format == "v2s2" {
                assert_eq!(blobs(&bytes), blobs(&pushed));
            }
            let back = Forget(&isopod, config.clone());
            pull(&isopod, &format!("{}/podman/{format}:v1", ours.host()), "");
            assert_eq!(id(&isopod, &config), config);
            same(format, &seen, &in_container(&isopod, &config));
            push_and_compare(&isopod, &config, &ours, &home, (bytes, kind));
            back.now();
        }
    }
}

fn push_and_compare(
    isopod: &Engine,
    image: &str,
    ours: &Near,
    home: &Server,
    expected: (String, String),
) {
    push(isopod, image, &ours.host(), "compared", "v1");
    assert_eq!(manifest(home, "compared", "v1"), expected);
}

/// A layer that is here in another form is not pulled, so that its blob is nowhere here: where the
/// registry has it, the image goes out as it came all the same, and other images are not touched.
#[test]
fn privileged_an_image_stays_what_it_is_when_its_layers_were_here_before() {
    let isopod = Engine::isopod();
    for home in [Server::docker(), Server::isopod(&[])] {
        let ours = Near::new(&home, &isopod);
        let label = unique("before");
        let tars = tars(&label, false);
        // The same layers packed in two ways, and loaded.
        let [first, second] = [[Packing::Zstd; 3], MIXED]
            .map(|packing| Image::new(&label, "amd64", tars.clone(), &packing, false));
        let at_ours = Forget(&isopod, first.id());
        assert_eq!(first.id(), second.id());
        load(&isopod, &first.archive("peers-before:v1"));
        for (name, image) in [("first", &first), ("second", &second)] {
            image.publish(&home, name, "v1");
            pull(&isopod, &format!("{}/{name}:v1", ours.host()), "");
            push(&isopod, &image.id(), &ours.host(), "back", name);
            assert_eq!(manifest(&home, "back", name), (image.manifest.clone(), image.kind.into()));
            push(&isopod, &image.id(), &ours.host(), &format!("new/{name}"), "v1");
            let name = format!("new/{name}");
            assert_eq!(manifest(&home, &name, "v1"), (image.manifest.clone(), image.kind.into()));
        }
        at_ours.now();
    }
}

/// Sparse files as GNU tar writes them, in both of its ways.
#[test]
fn privileged_sparse_files_are_whole_inside_and_sparse_in_registries() {
    let isopod = Engine::isopod();
    let home = Server::docker();
    let ours = Near::new(&home, &isopod);
    let label = unique("sparse");
    let image = Image::new(&label, "amd64", tars(&label, true), &[Packing::Zstd; 3], false);
    assert!(image.tars[1].len() < 6 << 20, "the sparse file's holes are not in the tar");
    let at_ours = Forget(&isopod, image.id());
    image.publish(&home, "sparse", "v1");
    pull(&isopod, &format!("{}/sparse:v1", ours.host()), "");
    let seen = in_container(&isopod, &image.id());
    has_everything(&seen);
    let blocks = isopod.sh("stat -c %b /data/sparse", json!({ "Image": image.id() }));
    assert!(blocks.trim().parse::<u64>().unwrap() < 200, "its holes are none: {blocks}");
    push(&isopod, &image.id(), &ours.host(), "back", "v1");
    assert_eq!(manifest(&home, "back", "v1").0, image.manifest);

    // From what is unpacked, not from the blob: the same tar.
    let archive = save(&isopod, &image.id());
    at_ours.now();
    load(&isopod, &archive);
    assert_eq!(id(&isopod, &image.id()), image.id());
    same("through an archive", &seen, &in_container(&isopod, &image.id()));
    let folder = tempfile::tempdir().unwrap();
    let layout = unpacked(folder.path(), &archive);
    let tag = tag_of(&layout);
    let root = umoci_unpack(&layout, &tag, &folder.path().join("bundle"));
    same_as_peer("umoci", &seen, &of_directory(&root));
}

/// Several platforms under one name, the name of all and the digest of each.
#[test]
fn privileged_each_platform_of_an_index_comes_and_goes_unchanged() {
    let isopod = Engine::isopod();
    for home in [Server::docker(), Server::isopod(&[])] {
        let ours = Near::new(&home, &isopod);
        let label = unique("platform");
        let tars = tars(&label, false);
        let platforms = [
            ("amd64", "", "linux/amd64"),
            ("arm64", "v8", "linux/arm64"),
            ("arm", "v6", "linux/arm/v7"),
        ];
        let images: Vec<Image> = platforms
            .iter()
            .map(|(architecture, ..)| Image::new(&label, architecture, tars.clone(), &MIXED, false))
            .collect();
        let entries: Vec<Value> = platforms
            .iter()
            .zip(&images)
            .map(|((architecture, variant, _), image)| {
                image.publish(&home, "many", architecture);
                let mut platform = json!({ "architecture": architecture, "os": "linux" });
                if !variant.is_empty() {
                    platform["variant"] = json!(variant);
                }
                json!({ "mediaType": image.kind, "digest": image.digest(), "size": image.manifest.len(), "platform": platform })
            })
            .collect();
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries });
        let index = format!("{index:#}\n\n").into_bytes();
        let _ = home.put("many", "all", INDEX, &index).expect(201);

        let folder = tempfile::tempdir().unwrap();
        for ((architecture, _, asked), image) in platforms.iter().zip(&images) {
            let at_ours = Forget(&isopod, image.id());
            pull(&isopod, &format!("{}/many:all", ours.host()), asked);
            let found = inspect(&isopod, &image.id());
            assert_eq!(found["Architecture"], *architecture);
            assert!(found["RepoDigests"].to_string().contains(&digest(&index)), "{found}");
            let single = format!("only/{architecture}");
            push(&isopod, &image.id(), &ours.host(), &single, "v1");
            let (bytes, kind) = manifest(&home, &single, "v1");
            assert_eq!((bytes.as_str(), kind.as_str()), (image.manifest.as_str(), image.kind));
            // Through an archive as well.
            let archive = folder.path().join(format!("{architecture}.tar"));
            fs::write(&archive, save(&isopod, &image.id())).unwrap();
            let config = run(
                "skopeo",
                &["inspect", "--config", "--raw", &format!("oci-archive:{}", archive.display())],
            );
            assert_eq!(digest(config.as_bytes()), image.id());
            at_ours.now();
        }
        // Without a wish it is the host's.
        let at_ours = Forget(&isopod, images[0].id());
        pull(&isopod, &format!("{}/many@{}", ours.host(), digest(&index)), "");
        assert_eq!(id(&isopod, &images[0].id()), images[0].id());
        at_ours.now();
        let answer = isopod.act(&format!(
            "/images/create?fromImage={}/many&tag=all&platform=linux/riscv64",
            ours.host()
        ));
        assert!(
            answer.text().contains("no matching manifest for linux/riscv64"),
            "{}",
            answer.text()
        );
    }
}

/// An archive's content as a directory, which is an OCI image layout.
fn unpacked(folder: &Path, archive: &[u8]) -> std::path::PathBuf {
    let layout = folder.join(unique("layout"));
    fs::create_dir(&layout).unwrap();
    let tar = folder.join("archive.tar");
    fs::write(&tar, archive).unwrap();
    let status = Command::new("tar").arg("-C").arg(&layout).arg("-xf").arg(&tar).status().unwrap();
    assert!(status.success());
    layout
}

fn index_of(layout: &Path) -> Value {
    serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap()
}

/// Gives the only image of a layout a short name that all programs understand.
fn tag_of(layout: &Path) -> String {
    let mut index = index_of(layout);
    index["manifests"][0]["annotations"] = json!({ "org.opencontainers.image.ref.name": "it" });
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
    String::from("it")
}

/// What we save is read by all, and comes back from all as it was.
#[test]
fn privileged_our_archives_go_through_all_peers_and_come_back() {
    let isopod = Engine::isopod();
    let image = Image::docker(&unique("saved"));
    let name = format!("{}:v1", unique("peers-saved"));
    let at_ours = Forget(&isopod, image.id());
    load(&isopod, &image.archive(&name));
    let seen = in_container(&isopod, &image.id());
    let saved = save(&isopod, &name);
    at_ours.now();
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).display().to_string();
    fs::write(place("saved.tar"), &saved).unwrap();
    let layout = unpacked(folder.path(), &saved);
    let first = index_of(&layout)["manifests"][0]["digest"].clone();

    let comes_back = |what: &str, archive: &[u8]| {
        load(&isopod, archive);
        assert_eq!(id(&isopod, &image.id()), image.id(), "{what}");
        same(what, &seen, &in_container(&isopod, &image.id()));
        // And goes out the same as before.
        let again = unpacked(folder.path(), &save(&isopod, &image.id()));
        assert_eq!(index_of(&again)["manifests"][0]["digest"], first, "{what}");
        at_ours.now();
    };
    comes_back("itself", &saved);
    comes_back("as a directory", &archive_of(&layout));

    let podman = Podman::new();
    let local = format!("docker.io/library/{name}");
    drop(podman.run(&["load", "-q", "-i", &place("saved.tar")]));
    assert_eq!(podman.id(&local), image.id());
    same_as_peer("podman", &seen, &podman.listing(&local));
    for format in ["docker-archive", "oci-archive"] {
        let to = place(format);
        drop(podman.run(&["save", "-q", "--format", format, "-o", &to, &local]));
        if format == "docker-archive" {
            comes_back(format, &fs::read(&to).unwrap());
            continue;
        }
        // Podman writes a configuration of its own into this one.
        skopeo_copy(
            &format!("oci-archive:{to}"),
            &format!("docker-archive:{}", place("turned.tar")),
            &[],
        );
        let turned = unpacked(folder.path(), &fs::read(&to).unwrap());
        let (manifest, config) = documents(&turned);
        let at_ours = Forget(&isopod, config.clone());
        load(&isopod, &fs::read(&to).unwrap());
        assert_eq!(inspect(&isopod, &config)["RootFS"]["Layers"].as_array().unwrap().len(), 3);
        same(format, &seen, &in_container(&isopod, &config));
        assert!(manifest.starts_with("sha256:"));
        at_ours.now();
    }

    let tag = tag_of(&layout);
    let whole = format!("oci:{}:{tag}", layout.display());
    for (format, more) in [("docker-archive", &[][..]), ("oci-archive", &["--preserve-digests"])] {
        let to = place(&format!("skopeo-{format}.tar"));
        skopeo_copy(&whole, &format!("{format}:{to}:{name}"), more);
        comes_back(format, &fs::read(&to).unwrap());
    }
}

/// The digests of the only image's manifest and configuration.
fn documents(layout: &Path) -> (String, String) {
    let found = index_of(layout)["manifests"][0]["digest"].as_str().unwrap().to_owned();
    let bytes = fs::read(layout.join("blobs/sha256").join(&found[7..])).unwrap();
    let config = blobs(&String::from_utf8(bytes).unwrap()).remove(0);
    (found, config)
}

/// OCI layouts that others made: with gzip, and with a layer that umoci adds.
#[test]
fn privileged_umoci_and_we_share_layouts() {
    let isopod = Engine::isopod();
    let folder = tempfile::tempdir().unwrap();
    let layout = folder.path().join("layout");
    let image = Image::oci(&unique("umoci"), &[Packing::Gzip; 3]);
    image.layout(&layout, "base");
    let bundle = folder.path().join("bundle");
    let root = umoci_unpack(&layout, "base", &bundle);
    let theirs = of_directory(&root);
    has_everything(&theirs);
    let at_ours = Forget(&isopod, image.id());
    load(&isopod, &archive_of(&layout));
    assert_eq!(id(&isopod, &image.id()), image.id());
    same_as_peer("umoci", &in_container(&isopod, &image.id()), &theirs);

    // What umoci adds to it, with whiteouts.
    let script = "cd $0/data; rm -r becomes-dir one; rm -r opaque; mkdir opaque; echo newer > opaque/newer; \
                  echo added > added; chown 80000:80000 added; ln added linked; rm capable; \
                  touch -d '2024-01-01 01:01:01' added opaque/newer opaque .";
    let status = Command::new("bash").args(["-euc", script]).arg(&root).status().unwrap();
    assert!(status.success());
    let changed = of_directory(&root);
    let new = format!("{}:changed", layout.display());
    drop(run("umoci", &["repack", "--image", &new, bundle.to_str().unwrap()]));
    drop(run("umoci", &["rm", "--image", &format!("{}:base", layout.display())]));
    let (_, config) = documents(&layout);
    let with_changes = Forget(&isopod, config.clone());
    load(&isopod, &archive_of(&layout));
    assert_eq!(id(&isopod, &config), config);
    let seen = in_container(&isopod, &config);
    same_as_peer("repacked", &seen, &changed);

    // What we save of it is what umoci unpacks.
    let saved = unpacked(folder.path(), &save(&isopod, &config));
    let tag = tag_of(&saved);
    let root = umoci_unpack(&saved, &tag, &folder.path().join("again"));
    same_as_peer("unpacked again", &seen, &of_directory(&root));
    with_changes.now();
    at_ours.now();
}
