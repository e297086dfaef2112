//! Mounts and variables of existing containers, changed without making them anew. Docker has nothing
//! like it.

use std::path::Path;
use std::time::Duration;

use testkit::engine::VERSION;
use testkit::image::busybox;
use testkit::{Container, Daemon, Engine, Response, Value, eventually, json, unique};

fn update(engine: &Engine, container: &Container, body: Value) -> Response {
    engine.post(&container.path("/update"), &body)
}

fn places(container: &Container) -> Vec<String> {
    let mounts = container.inspect()["Mounts"].as_array().unwrap().clone();
    let mut all: Vec<String> =
        mounts.iter().map(|mount| mount["Destination"].as_str().unwrap().to_owned()).collect();
    all.sort();
    all
}

#[test]
fn privileged_mounts_come_to_a_running_container_and_go() {
    let engine = Engine::isopod();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("host"), "host\n").unwrap();
    let source = folder.path().display().to_string();
    let volume = unique("live");
    let container = engine.sleeper(json!({"HostConfig": {"Binds": [format!("{source}:/first")]}}));
    let _ = engine
        .isopod_cli(&[
            "update",
            "--mount-add",
            &format!("type=bind,src={source},dst=/new/place,readonly"),
            "--volume-add",
            &format!("{volume}:/tmp"),
            "--env",
            "ADDED=yes",
            &container.name,
        ])
        .success();
    assert_eq!(
        container.sh("cat /new/place/host; touch /new/place/x 2> /dev/null || echo refused; \
                      touch /tmp/kept; stat -c %a /tmp; echo $ADDED"),
        "host\nrefused\n1777\nyes"
    );
    assert_eq!(places(&container), ["/first", "/new/place", "/tmp"]);
    // It counts as used, and the container's environment is for the next start.
    assert_eq!(engine.delete(&format!("/volumes/{volume}")).status, 409);
    let environment = container.inspect()["Config"]["Env"].to_string();
    assert!(environment.contains("ADDED=yes"), "{environment}");
    // A file, too.
    let single = json!({"BindAdd": [format!("{source}/host:/etc/one")]});
    let _ = update(&engine, &container, single).expect(200);
    assert_eq!(container.sh("cat /etc/one"), "host");

    for (body, status) in [
        (json!({"BindAdd": ["/etc:/first"]}), 400),
        (json!({"BindAdd": ["/etc:relative"]}), 400),
        (
            json!({"MountAdd": [{"Type": "tmpfs", "Target": "/t",
                "TmpfsOptions": {"Options": [["bogus"]]}}]}),
            400,
        ),
        (json!({"MountAdd": [{"Type": "tmpfs", "Target": "/tmp"}]}), 400),
        (json!({"MountAdd": [{"Type": "bind", "Source": "/does/not/exist", "Target": "/t"}]}), 400),
        (json!({"MountRemove": ["/nothing"]}), 404),
        (json!({"BindAdd": ["/etc:/new/place/below"], "MountRemove": ["/nothing"]}), 404),
        (json!({"EnvAdd": ["=x"]}), 400),
    ] {
        let answer = update(&engine, &container, body.clone());
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
    }
    assert_eq!(places(&container).len(), 4, "what was refused changes nothing");

    // The restart has the same.
    let _ = engine.act(&container.path("/restart?t=5")).expect(204);
    assert_eq!(
        container
            .sh("cat /new/place/host; ls /tmp; cat /proc/1/environ | tr '\\0' '\\n' | grep ADDED"),
        "host\nkept\nADDED=yes"
    );

    let _ = engine
        .isopod_cli(&[
            "update",
            "--mount-rm",
            "/new/place",
            "--mount-rm",
            "/tmp",
            "--mount-rm",
            "/etc/one",
            "--env-rm",
            "ADDED",
            &container.name,
        ])
        .success();
    assert_eq!(
        container.sh(
            "ls /new/place /tmp; echo \"<$ADDED>\"; grep -c /new/place /proc/self/mounts || true"
        ),
        "/new/place:\n\n/tmp:\n<>\n0"
    );
    assert_eq!(places(&container), ["/first"]);
    let _ = engine.delete(&format!("/volumes/{volume}")).expect(204);
    let _ = engine.act(&container.path("/restart?t=5")).expect(204);
    assert_eq!(places(&container), ["/first"]);
    assert_eq!(container.sh("ls /first"), "host");

    // One that does not run gets it at its next start.
    container.stop(0);
    let _ = update(
        &engine,
        &container,
        json!({"BindAdd": [format!("{source}:/later")], "MountRemove": ["/first"]}),
    )
    .expect(200);
    container.start();
    assert_eq!(container.sh("ls /later"), "host");
    assert_eq!(places(&container), ["/later"]);
}

#[test]
fn privileged_a_tmpfs_comes_to_a_running_container_and_goes() {
    let engine = Engine::isopod();
    let container = engine.sleeper(json!({"HostConfig": {"Tmpfs": {"/short": ""}}}));
    let _ = engine
        .isopod_cli(&[
            "update",
            "--mount-add",
            "type=tmpfs,dst=/m/e,tmpfs-size=1m",
            &container.name,
        ])
        .success();
    let line = "grep ' /m/e ' /proc/mounts";
    let shown = container.sh(line);
    assert!(shown.starts_with("tmpfs /m/e tmpfs rw,nosuid,nodev,noexec"), "{shown}");
    assert!(shown.contains("size=1024k"), "{shown}");
    let full = "dd if=/dev/zero of=/m/e/x bs=64k count=32 2> /dev/null || echo full";
    assert_eq!(container.sh(full), "full");
    // The next start has it, and it is empty.
    let _ = engine.act(&container.path("/restart?t=0")).expect(204);
    assert!(container.sh(line).contains("size=1024k"));
    assert_eq!(container.sh("ls /m/e"), "");
    let _ = update(&engine, &container, json!({"MountRemove": ["/m/e", "/short"]})).expect(200);
    assert_eq!(container.sh("grep -c -e ' /m/e ' -e ' /short ' /proc/mounts || true"), "0");
    let _ = engine.act(&container.path("/restart?t=0")).expect(204);
    assert_eq!(container.sh("grep -c -e ' /m/e ' -e ' /short ' /proc/mounts || true"), "0");
    let host = &container.inspect()["HostConfig"];
    assert_eq!(host["Mounts"].as_array().map_or(0, Vec::len), 0, "{host}");
    assert_eq!(host["Tmpfs"].as_object().map_or(0, |all| all.len()), 0, "{host}");
}

#[test]
fn privileged_a_mount_stays_in_the_container_whatever_that_does_with_the_path() {
    let engine = Engine::isopod();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("host"), "host").unwrap();
    let source = folder.path().display().to_string();
    // The path is a directory, a link out, and nothing, by turns.
    let outside = format!("/tmp/{}", unique("outside"));
    let race = format!(
        "mkdir -p /race; cd /race; while :; do rm -rf t; mkdir t; rmdir t; ln -s ../../../../../../..{outside} t; rm t; \
         ln -s /proc/1/root/etc t; rm -f t; done"
    );
    let container = engine.sleeper(json!({"Cmd": ["sh", "-c", race]}));
    let mounts = || std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    for _ in 0..40 {
        let answer =
            update(&engine, &container, json!({"BindAdd": [format!("{source}:/race/t:ro")]}));
        assert!(matches!(answer.status, 200 | 400 | 409 | 500), "{}", answer.text());
        assert!(!mounts().contains(&outside) && !Path::new(&outside).join("host").exists());
        if answer.status == 200 {
            let answer = update(&engine, &container, json!({"MountRemove": ["/race/t"]}));
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        assert_eq!(container.status(), "running");
        assert!(places(&container).is_empty());
    }
    // Links of a quiet container are followed inside it.
    let quiet = engine.sleeper(json!({}));
    let _ = quiet.sh("ln -s /../../etc /link");
    let _ =
        update(&engine, &quiet, json!({"BindAdd": [format!("{source}:/link/deep")]})).expect(200);
    assert_eq!(quiet.sh("cat /etc/deep/host"), "host");
    assert!(!Path::new("/etc/deep").exists());
    // Nothing may be hidden or faked in /proc.
    let answer =
        update(&engine, &quiet, json!({"BindAdd": [format!("{source}/host:/proc/1/comm")]}));
    assert!(answer.status >= 400 && places(&quiet) == ["/link/deep"], "{}", answer.text());
}

#[test]
fn privileged_alone_a_killed_daemon_leaves_a_mount_or_none() {
    let mut daemon = Daemon::isopod();
    let engine = daemon.engine();
    let _ = engine.upload("/images/load?quiet=1", &busybox(&["busybox:latest"]).tar).expect(200);
    let container = engine.sleeper(json!({}));
    for round in 0..10_u64 {
        let name = format!("v{round}");
        let body = if round % 2 == 0 {
            json!({"BindAdd": [format!("{name}:/m{round}")]})
        } else {
            let _ = update(&engine, &container, json!({"BindAdd": [format!("{name}:/m{round}")]}))
                .expect(200);
            json!({"MountRemove": [format!("/m{round}")]})
        };
        let (client, path) = (engine.client(), format!("{VERSION}{}", container.path("/update")));
        let asked = std::thread::spawn(move || {
            let answer = client.attempt("POST", &path, body.to_string().as_bytes());
            answer.is_ok_and(|answer| answer.status == 200)
        });
        std::thread::sleep(Duration::from_millis(round * 2));
        daemon.kill();
        let answered = asked.join().unwrap();
        daemon.restart();
        let place = format!("/m{round}");
        let mounted =
            container.sh(&format!("grep -c ' {place} ' /proc/self/mounts || true")) == "1";
        assert_eq!(places(&container).contains(&place), mounted, "round {round}");
        if answered {
            assert_eq!(mounted, round % 2 == 0, "round {round}");
        }
        if mounted {
            let _ = update(&engine, &container, json!({"MountRemove": [place]})).expect(200);
        }
        eventually("the volume is free", Duration::from_secs(30), || {
            let status = engine.delete(&format!("/volumes/{name}")).status;
            matches!(status, 204 | 404).then_some(())
        });
    }
    container.remove();
    daemon.stop().unwrap();
}
