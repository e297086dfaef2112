//! Images that travel: written by dockerd, run by us, and the other way round, with nothing lost.

use testkit::engine::encode;
use testkit::image::{Layer, busybox_config, busybox_layer, save};
use testkit::{Engine, json, unique};

/// Everything about every file: path, type and mode, owner, links, device, time, target, content.
/// The program that all the suite's images have, and what a neighbour writes in the same second, may
/// be one file with another image's, which shows in the number of links and nowhere else.
const LISTING: &str = r#"cd / && find bin/busybox data etc/passwd usr -xdev | sort | while read -r f; do
    case $f in bin/*|data/big) h=- ;; *) h=%h ;; esac
    s=$(stat -c "%n %f %u:%g $h %t:%T %Y" "$f"); l=$(readlink "$f")
    if [ -f "$f" ] && [ ! -L "$f" ]; then m=$(md5sum < "$f"); else m=; fi
    echo "$s $l $m"
done"#;

/// Steps that each become a layer: what images in the wild are made of.
const STEPS: &[&str] = &[
    "mkdir -p /data/opaque /data/dir/sub; echo one > /data/one; echo old > /data/opaque/old; echo x > /data/dir/sub/x; ln /data/one /data/hard; ln -s one /data/soft; mknod /data/null c 1 3; mkfifo /data/fifo; chmod 4751 /data/one; chown 1000:1001 /data/dir",
    "rm /data/hard; rm -r /data/dir; rm -r /data/opaque; mkdir /data/opaque; echo new > /data/opaque/new; chmod 1777 /data/opaque; echo changed >> /data/soft",
    "mkdir /data/dir; echo back > /data/dir/back; rm /data/one; ln -s /data/dir /data/one; touch -d '2001-02-03 04:05:06' /data/dir/back; rm -r /usr/sbin",
    "echo 'naïve name' > '/data/ü n ï'; head -c 3000000 /dev/zero > /data/big; mkdir -p /data/a/b/c/d/e; chmod 700 /data/a",
];

/// Builds the image on an engine, layer by layer; returns its name.
fn build(engine: &Engine) -> String {
    let base = format!("{}:base", unique("exchange"));
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let extra = Layer::new().dir("data", 0o755).file_with_xattr(
        "data/capable",
        "security.capability",
        &capability,
        b"#!/bin/sh\n",
    );
    let saved = save(&[&base], &busybox_config(), vec![busybox_layer(), extra]);
    let _ = engine.upload("/images/load?quiet=1", &saved.tar).expect(200);
    let name = base.split(':').next().unwrap().to_owned();
    let mut from = base;
    for (number, step) in STEPS.iter().enumerate() {
        let container = engine.create(json!({"Image": from, "Cmd": ["sh", "-ec", step]}));
        container.start();
        assert_eq!(
            container.wait(),
            0,
            "{step}: {:?}",
            String::from_utf8_lossy(&container.logs().stderr)
        );
        let changes = encode("CMD [\"sh\"]\nENV MADE=yes\nWORKDIR /data\nLABEL made=here");
        let _ = engine
            .act(&format!(
                "/commit?container={}&repo={name}&tag=v{number}&changes={changes}",
                container.id
            ))
            .expect(201);
        from = format!("{name}:v{number}");
    }
    from
}

fn listing(engine: &Engine, image: &str) -> String {
    engine.sh(LISTING, json!({"Image": image}))
}

fn remove(engine: &Engine, image: &str) {
    let name = image.split(':').next().unwrap();
    for tag in ["v3", "v2", "v1", "v0", "base"] {
        let _ = engine.delete(&format!("/images/{name}:{tag}?force=1"));
    }
}

/// Builds on one engine, carries the image to the other and back, and compares all the way.
fn travel(from: &Engine, to: &Engine) {
    let image = build(from);
    let before = from.get(&format!("/images/{image}/json")).expect(200).json();
    let tar = from.get(&format!("/images/{}/get", encode(&image))).expect(200).body;
    let here = listing(from, &image);
    assert!(here.contains("data/opaque/new") && !here.contains("data/opaque/old"), "{here}");
    let _ = to.upload("/images/load?quiet=1", &tar).expect(200);
    let after = to.get(&format!("/images/{image}/json")).expect(200).json();
    for key in ["Id", "RootFS", "Created", "Author", "Comment", "Architecture", "Os"] {
        assert_eq!(before[key], after[key], "{key}");
    }
    for key in ["Cmd", "Env", "WorkingDir", "Labels", "Entrypoint"] {
        assert_eq!(before["Config"][key], after["Config"][key], "{key}");
    }
    assert_eq!(before["RootFS"]["Layers"].as_array().unwrap().len(), 6);
    assert_eq!(here, listing(to, &image));
    let runs = to
        .run(json!({"Image": image, "Cmd": ["sh", "-c", "echo $MADE; pwd; cat /data/opaque/new"]}));
    assert_eq!(runs.stdout, "yes\n/data\nnew\n");
    // And back: what the other engine saves is the same image again.
    let again = to.get(&format!("/images/{}/get", encode(&image))).expect(200).body;
    remove(from, &image);
    let _ = from.upload("/images/load?quiet=1", &again).expect(200);
    let back = from.get(&format!("/images/{image}/json")).expect(200).json();
    assert_eq!(before["Id"], back["Id"]);
    assert_eq!(before["RootFS"], back["RootFS"]);
    assert_eq!(here, listing(from, &image));
    remove(from, &image);
    remove(to, &image);
}

#[test]
fn privileged_images_of_dockerd_run_on_isopod() {
    travel(&Engine::dockerd(), &Engine::isopod());
}

#[test]
fn privileged_images_of_isopod_run_on_dockerd() {
    travel(&Engine::isopod(), &Engine::dockerd());
}

#[test]
fn privileged_exports_are_equal() {
    let (theirs, ours) = (Engine::dockerd(), Engine::isopod());
    let image = build(&theirs);
    let tar = theirs.get(&format!("/images/{}/get", encode(&image))).expect(200).body;
    let _ = ours.upload("/images/load?quiet=1", &tar).expect(200);
    let names = |engine: &Engine| {
        let container = engine.create(json!({"Image": image, "Cmd": ["true"]}));
        let tar = engine.get(&container.path("/export")).expect(200).body;
        let mut archive = tar::Archive::new(&tar[..]);
        let mut names: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
                format!(
                    "{name} {:?} {:o}",
                    entry.header().entry_type(),
                    entry.header().mode().unwrap() & 0o7777
                )
            })
            // What an engine puts there for itself.
            .filter(|line| ["data/", "bin/", "usr/"].iter().any(|start| line.starts_with(start)))
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(&theirs), names(&ours));
    remove(&theirs, &image);
    remove(&ours, &image);
}
