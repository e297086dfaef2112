//! Daemons elsewhere: certificates and what their owners may do, ssh, contexts. Both command lines
//! are used, Docker's and ours.

mod authority;
mod server;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use authority::Authority;
use server::{PORT, Server, search_path};
use testkit::engine::isopod_binary;
use testkit::{Daemon, Output, eventually, image, json};

const SOON: Duration = Duration::from_secs(40);

fn prepared(arguments: &[&str]) -> Daemon {
    let daemon = Daemon::isopod_with(arguments);
    let tar = image::busybox(&["busybox:latest"]).tar;
    let _ = daemon.engine().upload("/images/load?quiet=1", &tar).expect(200);
    daemon
}

/// Both command lines: Docker's and ours.
fn both() -> [PathBuf; 2] {
    [PathBuf::from("docker"), isopod_binary()]
}

/// A command in a daemon's network whose environment says nothing about daemons.
fn command(daemon: &Daemon, program: &Path, config: &Path) -> Command {
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net={}", daemon.netns().unwrap().path().display()))
        .arg("--")
        .arg(program)
        .env("DOCKER_CONFIG", config)
        .stdin(Stdio::null());
    for variable in ["DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"] {
        command.env_remove(variable);
    }
    command
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let code = output.status.code().map_or(-1, i64::from);
    Output::new(code, &output.stdout, &output.stderr)
}

#[track_caller]
fn succeed(command: &mut Command) -> String {
    let output = run(command);
    assert_eq!(output.code, 0, "{command:?}: {output:?}");
    output.stdout
}

#[track_caller]
fn fail(command: &mut Command) -> String {
    let output = run(command);
    assert_ne!(output.code, 0, "{command:?}: {output:?}");
    output.stderr
}

const ADDRESS: &str = "tcp://127.0.0.1:2376";

/// A daemon that demands certificates, with a configuration file.
fn guarded(authority: &Authority, folder: &Path, access: &testkit::Value) -> Daemon {
    let file = |name: &str| authority.file(name).display().to_string();
    let configuration = json!({
        "tlsverify": true, "tlscacert": file("ca.pem"), "tlscert": file("server.pem"),
        "tlskey": file("server-key.pem"), "client-access": access,
    });
    let path = folder.join("daemon.json");
    fs::write(&path, configuration.to_string()).unwrap();
    prepared(&["--config-file", &path.display().to_string(), "-H", ADDRESS])
}

#[test]
fn privileged_certificates_decide_who_may_do_what() {
    let authority = Authority::new(&[
        ("watcher", "/CN=watcher"),
        ("operator", "/CN=operator/OU=operations"),
        ("robot", "/CN=robot/OU=operations"),
        ("stranger", "/CN=stranger"),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let access = json!({
        "CN:watcher": "read-only", "OU:operations": "full", "*": "none",
        (format!("SHA256:{}", authority.fingerprint("robot"))): "read-only",
    });
    let daemon = guarded(&authority, folder.path(), &access);
    let kept = daemon.engine().sleeper(json!({"Labels": {"secret": "s3cret"}}));
    let with = |program: &Path, who: &str, words: &[&str]| {
        let mut command = command(&daemon, program, folder.path());
        command.args(authority.options(who)).args(["-H", ADDRESS]).args(words);
        command
    };
    for program in both() {
        let seen = succeed(&mut with(&program, "watcher", &["ps", "-q", "--no-trunc"]));
        assert_eq!(seen.trim(), kept.id);
        for look in [&["info"][..], &["images"], &["inspect", &kept.name], &["logs", &kept.name]] {
            succeed(&mut with(&program, "watcher", look));
        }
        let file = folder.path().join("taken").display().to_string();
        for take in [
            &["run", "--rm", "busybox", "true"][..],
            &["exec", &kept.name, "true"],
            &["rm", "-f", &kept.name],
            &["kill", &kept.name],
            &["export", "-o", &file, &kept.name],
            &["save", "-o", &file, "busybox"],
            &["volume", "create", "taken"],
            &["network", "prune", "-f"],
        ] {
            let text = fail(&mut with(&program, "watcher", take));
            assert!(text.contains("access denied to "), "{take:?}: {text}");
            assert!(text.contains("\"watcher\" may only look at things"), "{take:?}: {text}");
        }
        // Of an answer without a body, or to an upgrade, clients know the status alone.
        let file = format!("{}:/etc/passwd", kept.name);
        for take in [&["cp", &file, "-"][..], &["attach", &kept.name]] {
            let text = fail(&mut with(&program, "watcher", take));
            let told = ["403", "Forbidden", "access denied"].iter().any(|word| text.contains(word));
            assert!(told, "{take:?}: {text}");
        }
        succeed(&mut with(&program, "operator", &["run", "--rm", "busybox", "true"]));
        succeed(&mut with(&program, "robot", &["ps"]));
        let text = fail(&mut with(&program, "robot", &["rm", "-f", &kept.name]));
        assert!(text.contains("access denied to DELETE"), "{text}");
        let text = fail(&mut with(&program, "stranger", &["ps"]));
        assert!(text.contains("\"stranger\" may do nothing here"), "{text}");
    }
    assert_eq!(kept.status(), "running", "the unix socket is its group's as before");

    // The file is read again, and holds for connections that come after.
    let path = folder.path().join("daemon.json");
    let mut configuration: testkit::Value =
        serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    configuration["client-access"] = json!({"CN:watcher": "full", "*": "read-only"});
    fs::write(&path, configuration.to_string()).unwrap();
    let pid = rustix::process::Pid::from_raw(daemon.pid()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    eventually("the new rules hold", SOON, || {
        let output = run(&mut with(&isopod_binary(), "stranger", &["ps"]));
        (output.code == 0).then_some(())
    });
    succeed(&mut with(&isopod_binary(), "watcher", &["rm", "-f", &kept.name]));
    daemon.stop().unwrap();
}

#[test]
fn privileged_rules_that_would_let_everybody_in_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("daemon.json");
    let check = |text: &str| {
        fs::write(&path, text).unwrap();
        let mut command = Command::new(isopod_binary());
        run(command.args(["daemon", "--validate", "--config-file"]).arg(&path))
    };
    let output = check(r#"{"client-access": {"CN:a": "read-only"}}"#);
    assert!(output.code != 0 && output.stderr.contains("--tlsverify"), "{output:?}");
    let output = check(r#"{"client-access": {"CN:a": "read-only"}, "tls": true}"#);
    assert!(output.code != 0 && output.stderr.contains("--tlsverify"), "{output:?}");
    let output = check(r#"{"tlsverify": true, "client-access": {"CN:a": "readonly"}}"#);
    assert!(output.code != 0 && output.stderr.contains("full, read-only or none"), "{output:?}");
    let output = check(r#"{"tlsverify": true, "client-access": {"a": "full"}}"#);
    assert!(output.code != 0 && output.stderr.contains("CN:NAME"), "{output:?}");
    let output = check(r#"{"tlsverify": true, "client-access": {"OU:a": "full"}}"#);
    assert_eq!(output.code, 0, "{output:?}");
}

#[test]
fn privileged_contexts_hold_keys_and_go_between_command_lines() {
    let authority = Authority::new(&[("client", "/CN=client")]);
    let folder = tempfile::tempdir().unwrap();
    let daemon = guarded(&authority, folder.path(), &json!({}));
    let file = |name: &str| authority.file(name).display().to_string();
    let described = format!(
        "host={ADDRESS},ca={},cert={},key={}",
        file("ca.pem"),
        file("client.pem"),
        file("client-key.pem")
    );
    for (maker, other) in [(0, 1), (1, 0)] {
        let (maker, other) = (&both()[maker], &both()[other]);
        let home = tempfile::tempdir().unwrap();
        let with = |program: &Path, words: &[&str]| {
            let mut command = command(&daemon, program, home.path());
            command.args(words).current_dir(home.path());
            command
        };
        let words = ["context", "create", "far", "--description", "over there", "--docker"];
        let made = succeed(with(maker, &words).arg(&described));
        assert_eq!(made, "far\n");
        let text = fail(with(other, &words).arg(&described));
        assert!(text.contains("\"far\" already exists"), "{text}");
        // Both use it, by its name and as the current one.
        for program in both() {
            succeed(&mut with(&program, &["--context", "far", "ps"]));
        }
        succeed(&mut with(maker, &["context", "use", "far"]));
        for program in both() {
            succeed(&mut with(&program, &["ps"]));
            let shown = succeed(&mut with(&program, &["context", "show"]));
            assert_eq!(shown, "far\n");
            let format = "{{.Name}} {{.Description}} {{.DockerEndpoint}}";
            let listed = succeed(&mut with(&program, &["context", "ls", "--format", format]));
            assert!(listed.contains(&format!("far over there {ADDRESS}")), "{listed}");
            let format = "{{json .TLSMaterial}} {{.Endpoints.docker.Host}}";
            let seen = succeed(&mut with(&program, &["context", "inspect", "far", "-f", format]));
            assert!(seen.contains(r#"["ca.pem","cert.pem","key.pem"]"#), "{seen}");
            assert!(seen.contains(ADDRESS), "{seen}");
        }
        // One exports, the other imports.
        succeed(&mut with(maker, &["context", "export", "far"]));
        let text = fail(&mut with(maker, &["context", "export", "far"]));
        assert!(text.contains("file exists"), "nothing is overwritten: {text}");
        succeed(&mut with(other, &["context", "import", "copy", "far.dockercontext"]));
        for program in both() {
            succeed(&mut with(&program, &["--context", "copy", "ps"]));
        }
        // Changed, without its keys it is refused.
        let bare = format!("host={ADDRESS},ca={}", file("ca.pem"));
        succeed(&mut with(other, &["context", "update", "copy", "--docker", &bare]));
        for program in both() {
            fail(&mut with(&program, &["--context", "copy", "ps"]));
        }
        succeed(&mut with(other, &["context", "create", "third", "--from", "far"]));
        succeed(&mut with(maker, &["--context", "third", "ps"]));
        // The current one stays, unless one insists.
        let text = fail(&mut with(other, &["context", "rm", "far"]));
        assert!(text.contains("is in use, set -f flag to force remove"), "{text}");
        succeed(&mut with(other, &["context", "rm", "-f", "far", "copy", "third"]));
        let listed = succeed(&mut with(maker, &["context", "ls", "-q"]));
        assert_eq!(listed.trim(), "default");
        let left = |kind: &str| {
            let entries = fs::read_dir(home.path().join("contexts").join(kind)).unwrap();
            entries.count()
        };
        assert_eq!((left("meta"), left("tls")), (0, 0), "keys do not outlive their context");
    }
    daemon.stop().unwrap();
}

#[test]
fn privileged_ssh_leads_to_a_daemon() {
    let daemon = prepared(&[]);
    let server = Server::start(&daemon);
    let home = tempfile::tempdir().unwrap();
    let host = format!("ssh://root@127.0.0.1:{PORT}");
    let with = |program: &Path, words: &[&str]| {
        let mut command = command(&daemon, program, home.path());
        command
            .env("DOCKER_HOST", &host)
            .env("PATH", search_path(&server.client_path()))
            .args(words);
        command
    };
    for program in both() {
        let name = testkit::unique("far");
        let text = succeed(&mut with(&program, &["version"]));
        assert!(text.contains("Isopod"), "{text}\n{}", server.log());
        let said = succeed(&mut with(&program, &["run", "--name", &name, "busybox", "echo", "hi"]));
        assert_eq!(said, "hi\n");
        assert_eq!(succeed(&mut with(&program, &["logs", &name])), "hi\n");
        // Standard input goes there, its end too, and the answer comes back.
        let mut child = with(&program, &["run", "-i", "--rm", "busybox", "wc", "-c"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&vec![b'x'; 3 << 20]).unwrap();
        let output = child.wait_with_output().unwrap();
        let counted = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(counted.trim(), (3 << 20).to_string(), "{output:?}\n{}", server.log());
        // Status and errors come through.
        let output = run(&mut with(&program, &["run", "--rm", "busybox", "sh", "-c", "exit 7"]));
        assert_eq!(output.code, 7, "{output:?}");
        let text = fail(&mut with(&program, &["inspect", "nothing-of-this-name"]));
        assert!(text.to_lowercase().contains("no such object"), "{text}");
        // Much comes back as well: an image of a megabyte.
        let file = home.path().join("saved").display().to_string();
        succeed(&mut with(&program, &["save", "-o", &file, "busybox"]));
        succeed(&mut with(&program, &["load", "-q", "-i", &file]));
        succeed(&mut with(&program, &["rm", &name]));
    }
    let ours = isopod_binary();
    let described = format!("host={host}");
    succeed(&mut with(&ours, &["context", "create", "far", "--docker", &described]));
    for program in both() {
        let mut command = with(&program, &["--context", "far", "ps"]);
        succeed(command.env_remove("DOCKER_HOST"));
    }
    // Another socket over there, by its path.
    let socket = daemon.engine().socket.display().to_string();
    succeed(with(&ours, &["ps"]).env("DOCKER_HOST", format!("{host}{socket}")));
    let text = fail(with(&ours, &["ps"]).env("DOCKER_HOST", format!("{host}/nothing.sock")));
    assert!(text.contains("Cannot connect to the Isopod daemon at unix:///nothing.sock"), "{text}");
    let text = fail(with(&ours, &["ps"]).env("DOCKER_HOST", "ssh://root@127.0.0.1:1"));
    assert!(text.contains("no daemon answers at ssh://root@127.0.0.1:1"), "{text}");
    fs::remove_file(server.file("bin/isopod")).unwrap();
    let text = fail(&mut with(&ours, &["ps"]));
    assert!(text.contains("no program named isopod there"), "{text}");
    drop(server);
    daemon.stop().unwrap();
}

#[test]
fn privileged_the_environment_names_certificates() {
    let authority = Authority::new(&[("client", "/CN=client"), ("other", "/CN=other")]);
    let folder = tempfile::tempdir().unwrap();
    let daemon = guarded(&authority, folder.path(), &json!({}));
    let home = tempfile::tempdir().unwrap();
    for program in both() {
        let with = |directory: &Path| {
            let mut command = command(&daemon, &program, home.path());
            command
                .env("DOCKER_HOST", ADDRESS)
                .env("DOCKER_TLS_VERIFY", "1")
                .env("DOCKER_CERT_PATH", directory)
                .args(["version", "--format", "{{.Server.Version}}"]);
            command
        };
        succeed(&mut with(&authority.directory("client")));
        // Somebody else's authority vouches for nobody here.
        let foreign = Authority::new(&[("client", "/CN=client")]);
        fail(&mut with(&foreign.directory("client")));
        // Without TLS nothing is said at all.
        let mut plain = command(&daemon, &program, home.path());
        fail(plain.env("DOCKER_HOST", ADDRESS).arg("ps"));
    }
    daemon.stop().unwrap();
}
