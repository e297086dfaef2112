//! Mounts that Debian's dockerd is too old for: read-only all the way down, parts of volumes and
//! of images.

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use testkit::image::busybox;
use testkit::{Engine, json, unique};

/// A directory with a tmpfs mounted below it; gone when the test ends.
struct Nested(tempfile::TempDir);

impl Nested {
    fn new() -> Nested {
        let folder = tempfile::tempdir().unwrap();
        let sub = folder.path().join("sub");
        std::fs::create_dir(&sub).unwrap();
        mount("tmpfs", &sub, "tmpfs", MountFlags::empty(), None).unwrap();
        Nested(folder)
    }
}

impl Drop for Nested {
    fn drop(&mut self) {
        let _ = unmount(self.0.path().join("sub"), UnmountFlags::DETACH);
    }
}

#[test]
fn privileged_read_only_binds_are_read_only_all_the_way_down() {
    let engine = Engine::isopod();
    let nested = Nested::new();
    let folder = nested.0.path().display();
    let script = "touch /b/x 2> /dev/null || echo above; touch /b/sub/x 2> /dev/null || echo below";
    let binds = json!({"HostConfig": {"Binds": [format!("{folder}:/b:ro")]}});
    assert_eq!(engine.sh(script, binds), "above\nbelow\n");
    let long = json!({
        "Type": "bind", "Source": folder.to_string(), "Target": "/b", "ReadOnly": true,
        "BindOptions": {"ReadOnlyNonRecursive": true},
    });
    assert_eq!(engine.sh(script, json!({"HostConfig": {"Mounts": [long]}})), "above\n");
    // The host's own view is as it was.
    std::fs::write(nested.0.path().join("sub/y"), "").unwrap();
}

#[test]
fn privileged_parts_of_volumes_and_images_are_mounted() {
    let engine = Engine::isopod();
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = json!({"type": "none", "o": "bind", "device": folder.path()});
    for options in [json!({}), elsewhere] {
        let volume = unique("v");
        let made = json!({"Name": volume, "DriverOpts": options});
        let _ = engine.post("/volumes/create", &made).expect(201);
        let whole = json!({"HostConfig": {"Binds": [format!("{volume}:/v")]}});
        let script = "mkdir -p /v/a/b; echo deep > /v/a/b/f; ln -s a/b /v/in; ln -s /etc /v/out";
        let _ = engine.sh(script, whole);
        let part = |subpath: &str| {
            json!({"HostConfig": {"Mounts": [{
                "Type": "volume", "Source": volume, "Target": "/p", "VolumeOptions": {"Subpath": subpath},
            }]}})
        };
        assert_eq!(engine.sh("cat /p/f", part("a/b")), "deep\n");
        assert_eq!(engine.sh("cat /p/f", part("in")), "deep\n");
        // A link leads nowhere but into the volume, which has no /etc.
        let refused = engine.create(part("out"));
        let message = engine.act(&refused.path("/start")).message();
        assert!(message.contains("cannot access path out in volume"), "{message}");
        refused.remove();
        let _ = engine.delete(&format!("/volumes/{volume}")).expect(204);
    }

    let name = format!("{}:1", unique("part"));
    let _ = engine.upload("/images/load", &busybox(&[&name]).tar).expect(200);
    let image = json!({"HostConfig": {"Mounts": [{
        "Type": "image", "Source": name, "Target": "/p", "ImageOptions": {"Subpath": "etc"},
    }]}});
    let seen = engine.sh("grep -c root: /p/passwd; touch /p/x 2> /dev/null || echo refused", image);
    assert_eq!(seen, "1\nrefused\n");
    let _ = engine.delete(&format!("/images/{name}")).expect(200);
}
