//! Containers of arm64 images on a host of another architecture: their machines are emulated, and
//! their users see what they see of others. `scripts/arm64` has made what they are made of.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use testkit::daemon::{Daemon, Options};
use testkit::engine::{Kind, isopod_binary, target_dir};
use testkit::image::{Layer, busybox_config, busybox_layer, save_for};
use testkit::{Engine, eventually, json};

const LIMIT: Duration = Duration::from_secs(90);

/// A kernel with its modules and a busybox, all for arm64.
fn folder() -> PathBuf {
    let folder = target_dir().parent().unwrap().join("arm64");
    assert!(folder.is_dir(), "scripts/arm64 comes first");
    folder
}

/// Daemons that know kernels of both architectures; agents are found beside the program.
fn kernels() -> Vec<String> {
    let own = std::env::var("ISOPOD_TEST_VM_KERNEL").ok();
    let all = own.into_iter().chain([folder().display().to_string()]);
    all.flat_map(|kernel| ["--vm-kernel".to_owned(), kernel]).collect()
}

fn start(program: Option<PathBuf>, arguments: Vec<String>) -> Daemon {
    let options = Options { kind: Kind::Isopod, program, arguments, host_network: false };
    let daemon = Daemon::start(options).unwrap_or_else(|error| panic!("{error}"));
    let binary = std::fs::read(folder().join("bin/busybox")).unwrap();
    let layers = vec![busybox_layer(), Layer::new().file("bin/busybox", 0o755, &binary)];
    let saved = save_for("arm64", &["arm:latest"], &busybox_config(), layers);
    let answer = daemon.engine().upload("/images/load?quiet=1", &saved.tar);
    assert_eq!(answer.status, 200, "{}", answer.text());
    daemon
}

/// `isopod run --rm --isolation vm` for a platform.
fn run(engine: &Engine, platform: &str, script: &str) -> testkit::Output {
    let words = ["run", "--rm", "--isolation", "vm", "--platform", platform, "arm", "sh", "-c"];
    engine.isopod_cli(&[&words[..], &[script]].concat())
}

/// What is served at a port of the host.
fn fetch(engine: &Engine, port: &str) -> Option<String> {
    engine.on_its_network(|| {
        let mut stream = std::net::TcpStream::connect(format!("127.0.0.1:{port}")).ok()?;
        stream.write_all(b"GET /page HTTP/1.0\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text).filter(|text| !text.is_empty())
    })
}

#[test]
fn privileged_an_arm64_image_runs_on_processors_of_its_own() {
    let arguments =
        [kernels(), vec!["--isolation=vm".to_owned(), "--vm-spares=0".to_owned()]].concat();
    let mut daemon = start(None, arguments);
    let engine = daemon.engine();
    assert_eq!(engine.get("/images/arm/json").json()["Architecture"], "arm64");

    // The first is cloned from the template that it made, the second finds it.
    for platform in ["linux/arm64", "linux/arm64/v8"] {
        let output = run(&engine, platform, "uname -m; echo err >&2; exit 7");
        let seen = (output.code, output.stdout.as_str(), output.stderr.as_str());
        assert_eq!(seen, (7, "aarch64\n", "err\n"), "{platform}");
    }
    assert!(!daemon.log_end().contains("was booted, not cloned"), "{}", daemon.log_end());

    // A volume is a directory of the host, so this one is booted.
    let body = json!({
        "Image": "arm",
        "Cmd": ["sh", "-c", "echo begun; echo kept > /data/page; exec httpd -f -h /data"],
        "ExposedPorts": {"80/tcp": {}},
        "HostConfig": {
            "Binds": ["data:/data"],
            "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]},
        },
    });
    let answer = engine.post("/containers/create?platform=linux%2Farm64&name=web", &body);
    assert_eq!(answer.status, 201, "{}", answer.text());
    let id = answer.json()["Id"].as_str().unwrap().to_owned();
    let web = testkit::Container::new(&engine, id, "web");
    web.start();
    let seen = web.inspect();
    assert_eq!(seen["HostConfig"]["Isolation"], "vm", "{seen}");
    let port = seen["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"].as_str().unwrap();
    let page = || eventually("an answer", LIMIT, || fetch(&engine, port));
    assert!(page().ends_with("kept\n"));

    // The daemon's death is none of the machine's affair.
    daemon.restart();
    assert_eq!(web.inspect()["State"]["Pid"], seen["State"]["Pid"], "the same machine");
    assert!(page().ends_with("kept\n"));
    let output = web.exec(&["sh", "-c", "uname -m; grep -c Seccomp.*2 /proc/self/status; exit 9"]);
    assert_eq!((output.code, output.stdout.as_str()), (9, "aarch64\n1\n"), "{output:?}");
    assert_eq!(String::from_utf8(web.logs().stdout).unwrap(), "begun\n");
    web.stop(0);
    assert_eq!(web.wait(), 137);
    let volume = engine.get("/volumes/data").json();
    let kept = Path::new(volume["Mountpoint"].as_str().unwrap()).join("page");
    assert_eq!(std::fs::read_to_string(kept).unwrap(), "kept\n");
    daemon.stop().unwrap();
}

#[test]
fn privileged_what_an_arm64_machine_lacks_is_said() {
    let place = tempfile::tempdir().unwrap();
    // A program without an agent for other machines beside it.
    let alone = place.path().join("isopod");
    for name in ["isopod", "guest-agent"] {
        let program = if name == "isopod" { isopod_binary() } else { target_dir().join(name) };
        std::fs::copy(program, place.path().join(name)).unwrap();
    }
    // A host without the emulator.
    let without = place.path().join("without");
    let script = format!(
        "#!/bin/sh\nexec unshare --mount sh -c 'mount --bind /dev/null \
         /usr/bin/qemu-system-aarch64 && exec \"$@\"' sh {} \"$@\"\n",
        isopod_binary().display()
    );
    std::fs::write(&without, script).unwrap();
    std::fs::set_permissions(&without, std::fs::Permissions::from_mode(0o755)).unwrap();
    for (program, arguments, expected) in [
        (
            None,
            Vec::new(),
            "no kernel for aarch64 guests was found: install one with `isopod vm \
          kernel install --arch arm64`, or name one with --vm-kernel",
        ),
        (
            Some(alone),
            kernels(),
            "aarch64 guests need the program guest-agent of their \
          architecture, which is looked for beside isopod and in /usr/lib/isopod as \
          guest-agent-aarch64: install it, or say where it is with --vm-agent",
        ),
        (
            Some(without),
            kernels(),
            "running a container in a virtual machine needs \
          qemu-system-aarch64, which is not installed (Debian, Ubuntu: apt-get install \
          qemu-system-arm)",
        ),
    ] {
        let daemon = start(program, arguments);
        let output = run(&daemon.engine(), "linux/arm64", "true");
        assert_eq!(output.code, 125, "{output:?}");
        assert!(output.stderr.contains(expected), "{expected}: {output:?}");
        let output = run(&daemon.engine(), "linux/s390x", "true");
        assert_eq!(output.code, 125, "{output:?}");
        let expected = "the platform linux/s390x cannot be used with --isolation vm: machines are \
                        amd64 or arm64";
        assert!(output.stderr.contains(expected), "{output:?}");
        daemon.stop().unwrap();
    }
}
