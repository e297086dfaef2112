//! Volumes as Docker has them: drivers' options, filters, who uses them, what they begin with.

use testkit::engine::{Engine, filters};
use testkit::{Container, Daemon, Value, image, json, on_both, unique};

fn create(engine: &Engine, body: &Value) -> Value {
    engine.post("/volumes/create", body).expect(201).json()
}

fn names(engine: &Engine, wanted: &Value) -> Vec<String> {
    let list = engine.get(&format!("/volumes?{}", filters(wanted))).expect(200).json();
    let volumes = list["Volumes"].as_array().cloned().unwrap_or_default();
    let mut names: Vec<String> =
        volumes.iter().map(|volume| volume["Name"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

on_both! {
    fn privileged_volumes_are_filtered(engine) {
        let (mark, one, two) = (unique("mark"), unique("va"), unique("vb"));
        let made = create(engine, &json!({"Name": one, "Labels": {mark.as_str(): "1"}}));
        assert_eq!((&made["Driver"], &made["Scope"]), (&json!("local"), &json!("local")));
        assert_eq!(made["Labels"][&mark], "1");
        create(engine, &json!({"Name": two, "Labels": {mark.as_str(): "2"}}));
        let both = vec![one.clone(), two.clone()];
        assert_eq!(names(engine, &json!({"label": [mark]})), both);
        assert_eq!(names(engine, &json!({"label": [format!("{mark}=2")]})), std::slice::from_ref(&two));
        assert_eq!(names(engine, &json!({"label": [mark], "name": [one]})), std::slice::from_ref(&one));
        assert_eq!(names(engine, &json!({"label": [mark], "driver": ["local"]})), both);
        assert!(names(engine, &json!({"label": [mark], "driver": ["nope"]})).is_empty());
        let user = engine.create(json!({"HostConfig": {"Binds": [format!("{one}:/v")]}}));
        assert_eq!(names(engine, &json!({"label": [mark], "dangling": ["true"]})), std::slice::from_ref(&two));
        assert_eq!(names(engine, &json!({"label": [mark], "dangling": ["false"]})), std::slice::from_ref(&one));
        let answer = engine.delete(&format!("/volumes/{one}?force=1")).expect(409);
        assert!(answer.message().contains("volume is in use"), "{}", answer.message());
        assert!(answer.message().contains(&user.id), "{}", answer.message());
        let usage = engine.get("/system/df").expect(200).json();
        let found = usage["Volumes"].as_array().unwrap().iter().find(|v| v["Name"] == json!(one)).cloned().unwrap();
        assert_eq!(found["UsageData"]["RefCount"], 1);
        user.remove();
        // What nobody uses goes; both are too old a version for only the anonymous.
        let pruned = engine.act(&format!("/volumes/prune?{}", filters(&json!({"label": [mark]})))).expect(200).json();
        assert_eq!(pruned["VolumesDeleted"].as_array().unwrap().len(), 2, "{pruned}");
        assert_eq!(engine.get(&format!("/volumes/{one}")).status, 404);
    }

    fn privileged_a_volume_can_be_memory_or_a_directory(engine) {
        let (memory, directory) = (unique("mem"), unique("dir"));
        create(engine, &json!({"Name": memory, "DriverOpts": {"type": "tmpfs", "device": "tmpfs", "o": "size=64k,uid=7,mode=0750"}}));
        let seen = engine.sh(
            "stat -c '%u %a' /v; dd if=/dev/zero of=/v/x bs=1k count=100 2> /dev/null || echo full",
            json!({"HostConfig": {"Binds": [format!("{memory}:/v:nocopy")]}}),
        );
        assert_eq!(seen, "7 750\nfull\n");
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("here"), "").unwrap();
        let device = folder.path().display().to_string();
        create(engine, &json!({"Name": directory, "DriverOpts": {"type": "none", "device": device, "o": "bind"}}));
        let binds = json!({"HostConfig": {"Binds": [format!("{directory}:/v")]}});
        assert_eq!(engine.sh("ls /v; touch /v/made", binds), "here\n");
        assert!(folder.path().join("made").exists());
        for name in [memory, directory] {
            let _ = engine.delete(&format!("/volumes/{name}")).expect(204);
        }
    }

    fn privileged_bad_volumes_are_refused(engine) {
        for (body, words) in [
            (json!({"Name": "a b"}), "includes invalid characters for a local volume name"),
            (json!({"Name": "x"}), "too short"),
            (json!({"Name": unique("v"), "DriverOpts": {"nonsense": "1"}}), "invalid option"),
            (json!({"Name": unique("v"), "DriverOpts": {"size": "1g"}}), "quota"),
        ] {
            let answer = engine.post("/volumes/create", &body);
            assert!(matches!(answer.status, 400 | 500), "{body}: {}", answer.status);
            assert!(answer.message().contains(words), "{body}: {}", answer.message());
        }
        let answer = engine.get(&format!("/volumes?{}", filters(&json!({"nonsense": ["1"]})))).expect(400);
        assert!(answer.message().to_lowercase().contains("invalid filter"), "{}", answer.message());
    }

    fn privileged_a_new_volume_has_the_images_owners_and_modes(engine) {
        // /tmp of the image is open to all, and has the sticky bit.
        let volume = unique("v");
        let long = json!({"Type": "volume", "Source": volume, "Target": "/tmp",
            "VolumeOptions": {"Labels": {"made": "here"}}});
        let seen = engine.sh("stat -c '%a %u' /tmp", json!({"HostConfig": {"Mounts": [long]}}));
        assert_eq!(seen, "1777 0\n");
        let made = engine.get(&format!("/volumes/{volume}")).expect(200).json();
        assert_eq!(made["Labels"]["made"], "here");
        let _ = engine.delete(&format!("/volumes/{volume}")).expect(204);
    }

    fn privileged_volumes_of_several_containers_are_taken_over(engine) {
        let one = engine.create(json!({"Cmd": ["true"], "Volumes": {"/one": {}}}));
        let two = engine.create(json!({"Cmd": ["true"], "HostConfig": {"Tmpfs": {"/run": ""}}, "Volumes": {"/two": {}}}));
        let from = json!({"HostConfig": {"VolumesFrom": [format!("{}:ro", one.name), two.id]}});
        let seen = engine.sh("touch /one/x 2> /dev/null || echo refused; touch /two/x && echo written", from);
        assert_eq!(seen, "refused\nwritten\n");
    }
}

#[test]
fn privileged_containers_share_a_volume_in_memory() {
    let mut daemon = Daemon::isopod();
    let tar = image::busybox(&["busybox:latest"]).tar;
    let _ = daemon.engine().upload("/images/load?quiet=1", &tar).expect(200);
    let engine = daemon.engine();
    create(
        &engine,
        &json!({"Name": "mem", "DriverOpts": {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}}),
    );
    let make = |mode: &str| {
        let binds = json!({"HostConfig": {"Binds": [format!("mem:/v:{mode}")]}});
        let mut config = binds;
        config["Cmd"] = json!(["sleep", "1000"]);
        engine.create(config)
    };
    // All at once: there is one memory all the same.
    let crowd: Vec<Container> = (0..6).map(|n| make(["ro", "rw"][n % 2])).collect();
    std::thread::scope(|scope| {
        for container in &crowd {
            scope.spawn(|| container.start());
        }
    });
    let _ = crowd[1].sh("echo here > /v/file");
    for container in &crowd {
        assert_eq!(container.sh("cat /v/file"), "here");
    }
    // Each has its own way to have it.
    assert_eq!(crowd[0].sh("touch /v/x 2> /dev/null || echo refused"), "refused");
    assert_eq!(
        crowd[3].sh("touch /v/x; rm /v/x; grep ' /v ' /proc/mounts | cut -d' ' -f3"),
        "tmpfs"
    );
    // Over the death of the daemon, and for one that runs already.
    daemon.kill();
    daemon.restart();
    let engine = daemon.engine();
    let late = engine.sleeper(json!({}));
    let _ = engine.post(&late.path("/update"), &json!({"BindAdd": ["mem:/v"]})).expect(200);
    assert_eq!(late.sh("cat /v/file; echo late > /v/late"), "here");
    assert_eq!(crowd[0].sh("cat /v/late"), "late");
    let _ = late.sh("umount /v 2> /dev/null; true");
    // With the last user it goes.
    crowd.iter().for_each(|container| container.stop(0));
    late.stop(0);
    crowd[1].start();
    assert_eq!(crowd[1].sh("ls /v"), "");
}
