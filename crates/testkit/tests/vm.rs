//! Containers in virtual machines: what their users see is what they see of others. Dockerd has no
//! such wall, so these run on us alone; what is expected is what the other suites found on both.
//!
//! The kernel is the host's, or the one that `ISOPOD_TEST_VM_KERNEL` names.

use std::io::{Read as _, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use testkit::daemon::{Daemon, Options};
use testkit::engine::{Kind, encode, isopod_binary, target_dir};
use testkit::{Container, Engine, eventually, image, json, unique};

use crate::names::upstream::Server;
use crate::vm_machines::Mounted;

const LIMIT: Duration = Duration::from_secs(90);

/// A daemon that boots each machine anew.
pub(crate) fn daemon() -> Daemon {
    daemon_with(&["--vm-templates", "never"])
}

/// By emulation, which is the same everywhere: finding out about the hardware, which every daemon with
/// new directories does, takes seconds where it does not work.
pub(crate) fn daemon_with(more: &[&str]) -> Daemon {
    start(None, more)
}

/// The same of another program than the one that was built.
pub(crate) fn start(program: Option<PathBuf>, more: &[&str]) -> Daemon {
    let kernel = std::env::var("ISOPOD_TEST_VM_KERNEL").ok();
    let kernel = kernel.as_deref().into_iter().flat_map(|kernel| ["--vm-kernel", kernel]);
    let arguments = ["--vm-accelerator", "emulation"].into_iter().chain(more.iter().copied());
    let arguments = arguments.chain(kernel).map(str::to_owned).collect();
    let options = Options { kind: Kind::Isopod, program, arguments, host_network: false };
    let daemon = Daemon::start(options).unwrap_or_else(|error| panic!("{error}"));
    let saved = image::busybox(&["busybox:latest"]);
    let answer = daemon.engine().upload("/images/load?quiet=1", &saved.tar);
    assert_eq!(answer.status, 200, "{}", answer.text());
    daemon
}

/// A container that sleeps in a machine.
pub(crate) fn sleeper(engine: &Engine, mut host: testkit::Value) -> Container {
    host["Isolation"] = json!("vm");
    engine.sleeper(json!({"HostConfig": host}))
}

#[test]
fn privileged_a_machine_runs_what_a_process_would() {
    let daemon = daemon();
    let engine = daemon.engine();
    let script = "uname -r; id -un; ulimit -n; ulimit -u; ulimit -c; cat /proc/sys/kernel/pid_max; \
                  cat; echo err >&2; exit 7";
    let output = engine.run(json!({
        "Cmd": ["sh", "-c", script], "User": "nobody",
        "HostConfig": {"Isolation": "vm"},
    }));
    let host = rustix::system::uname().release().to_string_lossy().into_owned();
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!((output.code, output.stderr.as_str()), (7, "err\n"));
    let core = engine.sh("ulimit -c", json!({}));
    let expected = ["nobody", "1048576", "unlimited", core.trim(), "4194304"];
    assert_eq!(lines[1..], expected, "{output:?}");
    assert_ne!(lines[0], host, "it has a kernel of its own");

    // A program that is not there has the same words and status.
    let container = engine.create(json!({"Cmd": ["nothing"], "HostConfig": {"Isolation": "vm"}}));
    let answer = engine.act(&container.path("/start"));
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(answer.text().contains("executable file not found in $PATH"), "{}", answer.text());
    assert_eq!(container.inspect()["State"]["ExitCode"], 127);
    daemon.stop().unwrap();
}

#[test]
fn privileged_execs_signals_counters_and_freezing_reach_into_a_machine() {
    let daemon = daemon();
    let engine = daemon.engine();
    let container = sleeper(&engine, json!({"Memory": 64 << 20, "PidsLimit": 50}));
    let inspect = container.inspect();
    assert_eq!(inspect["HostConfig"]["Isolation"], "vm");
    assert_eq!(inspect["HostConfig"]["Runtime"], "vm");
    let output = container.exec(&["sh", "-c", "cat /sys/fs/cgroup/pids.max; echo e >&2; exit 9"]);
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (9, "50\n", "e\n"));
    assert_eq!(container.sh("cat /sys/fs/cgroup/memory.max").trim(), (64 << 20).to_string());

    let top = engine.get(&container.path("/top")).json();
    assert_eq!(top["Titles"][7], "CMD");
    assert!(top["Processes"][0][7].as_str().unwrap().contains("sleep"), "{top}");
    let stats = engine.get(&container.path("/stats?stream=false")).json();
    assert_eq!(stats["pids_stats"]["limit"], 50);
    assert!(stats["memory_stats"]["usage"].as_u64().unwrap() > 0, "{stats}");

    assert_eq!(engine.act(&container.path("/pause")).status, 204);
    assert_eq!(container.status(), "paused");
    let answer = engine.post(&container.path("/exec"), &json!({"Cmd": ["true"]}));
    assert_eq!(answer.status, 409, "{}", answer.text());
    assert_eq!(engine.act(&container.path("/unpause")).status, 204);
    let answer = engine.post(&container.path("/update"), &json!({"PidsLimit": 77}));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(container.sh("cat /sys/fs/cgroup/pids.max").trim(), "77");
    let answer =
        engine.post(&container.path("/update"), &json!({"Memory": 2_i64 << 30, "MemorySwap": -1}));
    assert_eq!(answer.status, 409, "{}", answer.text());

    container.kill("KILL");
    assert_eq!(container.wait(), 137);
    daemon.stop().unwrap();
}

#[test]
fn privileged_a_terminal_and_standard_input_lead_into_a_machine() {
    let daemon = daemon();
    let engine = daemon.engine();
    let container = engine.create(json!({
        "Cmd": ["sh", "-c", "read line; stty size; echo got $line"],
        "Tty": true, "OpenStdin": true, "AttachStdin": true, "StdinOnce": true,
        "HostConfig": {"Isolation": "vm", "ConsoleSize": [20, 50]},
    }));
    let path = container.path("/attach?stream=1&stdin=1&stdout=1");
    let mut stream = engine.hijack(&path, true, &testkit::Value::Null);
    container.start();
    let resized = engine.act(&container.path("/resize?h=30&w=99"));
    assert_eq!(resized.status, 200, "{}", resized.text());
    stream.write_all(b"hello\n").unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert_eq!(said, "hello\r\n30 99\r\ngot hello\r\n");
    assert_eq!(container.wait(), 0);

    let container = engine.create(json!({
        "Cmd": ["cat"], "OpenStdin": true, "AttachStdin": true, "StdinOnce": true,
        "HostConfig": {"Isolation": "vm"},
    }));
    let path = container.path("/attach?stream=1&stdin=1&stdout=1");
    let mut stream = engine.hijack(&path, true, &testkit::Value::Null);
    container.start();
    let text = "x".repeat(100_000);
    stream.write_all(text.as_bytes()).unwrap();
    stream.close_write();
    let said = testkit::frames::split(&mut stream);
    assert!(said.stdout == text.as_bytes(), "{} bytes came back", said.stdout.len());
    assert_eq!(container.wait(), 0);
    daemon.stop().unwrap();
}

#[test]
fn privileged_a_machine_outlives_its_daemon_and_starts_again_by_policy() {
    let mut daemon = daemon();
    let engine = daemon.engine();
    let script = "n=0; while :; do n=$((n+1)); echo $n; sleep 0.1; [ -e /end ] && exit 3; done";
    let container = engine.create(json!({
        "Cmd": ["sh", "-c", script],
        "HostConfig": {"Isolation": "vm", "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 1}},
    }));
    container.start();
    let pid = container.inspect()["State"]["Pid"].clone();
    daemon.restart();
    assert_eq!(container.inspect()["State"]["Pid"], pid, "the same machine");
    assert_eq!(container.sh("touch /end"), "");
    // What it wrote is there after the restart, so it ends at once again.
    eventually("it has been started again and ended", LIMIT, || {
        let state = container.inspect();
        (state["RestartCount"] == 1 && state["State"]["Status"] == "exited").then_some(())
    });
    assert_eq!(container.inspect()["State"]["ExitCode"], 3);
    let logs = String::from_utf8(container.logs().stdout).unwrap();
    let numbers: Vec<u32> = logs.lines().map(|line| line.parse().unwrap()).collect();
    let second = numbers.iter().skip(1).position(|number| *number == 1).unwrap() + 1;
    let expected: Vec<u32> = (1..=u32::try_from(second).unwrap()).collect();
    assert_eq!(numbers[..second], expected, "no line was lost");
    daemon.stop().unwrap();
}

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

fn archive(name: &str, text: &str) -> Vec<u8> {
    image::Layer::new().file(name, 0o640, text.as_bytes()).bytes()
}

#[test]
fn privileged_files_go_in_and_out_of_machines_that_run_and_that_do_not() {
    let daemon = daemon();
    let engine = daemon.engine();
    let container = sleeper(&engine, json!({}));
    assert_eq!(container.sh("echo inside > /root/f; rm /etc/group; mkdir /new"), "");
    for running in [true, false] {
        let name = if running { "up" } else { "down" };
        assert_eq!(content(&engine, &container, "/root/f"), "inside\n");
        let put = engine.put(&container.path("/archive?path=/new"), &archive(name, name));
        assert_eq!(put.status, 200, "{}", put.text());
        assert_eq!(content(&engine, &container, &format!("/new/{name}")), name);
        let missing = engine.get(&container.path("/archive?path=/none"));
        assert_eq!(missing.status, 404, "{}", missing.text());
        let changes = engine.get(&container.path("/changes")).json();
        let of = |path: &str| {
            let all = changes.as_array().unwrap().iter();
            all.clone().find(|change| change["Path"] == path).map(|change| change["Kind"].clone())
        };
        assert_eq!(of("/root/f"), Some(json!(1)), "{changes}");
        assert_eq!(of("/etc/group"), Some(json!(2)), "{changes}");
        assert_eq!(of("/etc/hosts"), None, "{changes}");
        let exported = engine.get(&container.path("/export")).expect(200).body;
        let mut tar = tar::Archive::new(&exported[..]);
        let mut entries = tar.entries().unwrap().map(Result::unwrap);
        let wanted = format!("new/{name}");
        let mut found = entries.find(|entry| entry.path().unwrap().as_os_str() == &*wanted);
        let text = found.as_mut().map(|entry| std::io::read_to_string(entry).unwrap());
        assert_eq!(text.as_deref(), Some(name), "{wanted} in the export");
        if running {
            container.stop(0);
        }
    }
    let image = unique("committed");
    let answer =
        engine.post(&format!("/commit?container={}&repo={image}", container.id), &json!({}));
    assert_eq!(answer.status, 201, "{}", answer.text());
    // Behind the other wall, of the same image.
    let script = "cat /root/f /new/up /new/down; test -e /etc/group || echo gone";
    let said = engine.sh(script, json!({"Image": image}));
    assert_eq!(said, "inside\nupdowngone\n");
    // And it goes on where it was.
    container.start();
    assert_eq!(container.sh("cat /root/f"), "inside");
    daemon.stop().unwrap();
}

#[test]
fn privileged_machines_have_names_ports_volumes_and_secrets() {
    let daemon = daemon();
    let engine = daemon.engine();
    let network = unique("n");
    let made = engine.post("/networks/create", &json!({"Name": network}));
    assert_eq!(made.status, 201, "{}", made.text());
    let seen = engine.get(&format!("/networks/{network}")).json();
    let gateway: IpAddr = seen["IPAM"]["Config"][0]["Gateway"].as_str().unwrap().parse().unwrap();
    let world = Server::start(engine.netns.as_deref(), gateway, [192, 0, 2, 7]);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("page"), "of the host").unwrap();
    let volume = unique("v");
    let value = folder.path().join("value").display().to_string();
    std::fs::write(&value, "sesame").unwrap();
    let kept = |kind: &str| engine.isopod_cli(&[kind, "create", "kept", &value]).success();
    let file =
        |kind: &str, target: &str| json!({"ID": kept(kind), "Name": "kept", "Target": target});
    let web = engine.create_named(
        "web",
        json!({
            "Cmd": ["httpd", "-f", "-h", "/page"],
            "ExposedPorts": {"80/tcp": {}},
            "HostConfig": {
                "Isolation": "vm", "NetworkMode": network, "Dns": [gateway.to_string()],
                "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]},
                "Binds": [
                    format!("{}:/page:ro", folder.path().display()),
                    format!("{volume}:/data"),
                ],
                "Secrets": [file("secret", "key")],
                "Configs": [file("config", "/etc/conf")],
            },
        }),
    );
    web.start();
    // A process finds the machine, and the machine the process, by name.
    let peer = engine.create_named(
        "peer",
        json!({
            "Cmd": ["httpd", "-f", "-h", "/etc"], "HostConfig": {"NetworkMode": network},
        }),
    );
    peer.start();
    let fetch = |container: &Container, url: &str| {
        eventually(&format!("an answer of {url}"), LIMIT, || {
            let output = container.exec(&["wget", "-q", "-O", "-", url]);
            (output.code == 0).then_some(output.stdout)
        })
    };
    // The machine first: nobody has asked for its address yet.
    assert!(fetch(&web, "http://peer/passwd").contains("root"), "the machine asks for names");
    assert_eq!(fetch(&peer, "http://web/page"), "of the host");
    assert!(web.sh("nslookup www.example").contains("192.0.2.7"), "the world is asked, too");
    drop(world);
    let port = web.inspect()["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"].clone();
    let address = format!("127.0.0.1:{}", port.as_str().unwrap());
    let answer = engine.on_its_network(|| {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        stream.write_all(b"GET /page HTTP/1.0\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    });
    assert!(answer.ends_with("of the host"), "{answer}");
    let output = web.exec(&["sh", "-c", "echo kept > /data/f; touch /page/x"]);
    assert_ne!(output.code, 0, "a read-only bind is read-only");
    let said = engine.sh("cat /v/f", json!({"HostConfig": {"Binds": [format!("{volume}:/v")]}}));
    assert_eq!(said, "kept\n");
    assert_eq!(web.sh("cat /run/secrets/key /etc/conf"), "sesamesesame");
    // What it could use is its machine's.
    let stats = engine.get(&web.path("/stats?stream=false")).json();
    assert_eq!(stats["memory_stats"]["limit"], 512 << 20, "{stats}");
    assert_eq!(stats["cpu_stats"]["online_cpus"], 1, "{stats}");
    // Who serves the directories sees nothing else and can do little else.
    let monitors = daemon.processes("isopod-monitor").flat_map(children);
    let serving: Vec<i32> = monitors.filter(|pid| is_called(*pid, "virtiofsd")).collect();
    assert_eq!(serving.len(), 2, "one a directory");
    for waits in serving {
        let serves = children(waits);
        assert_eq!(serves.len(), 1);
        sees_a_directory_and_nothing_else(waits, "0000000000000000");
        // Ownership, modes, devices and attributes of the files that it serves.
        sees_a_directory_and_nothing_else(serves[0], "00000000880000db");
        assert_eq!(status_of(serves[0], "Seccomp"), "2");
        assert_eq!(status_of(serves[0], "NoNewPrivs"), "1");
        for kind in ["mnt", "pid", "net"] {
            let namespace =
                |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
            assert_ne!(namespace(&serves[0].to_string()), namespace("self"), "{kind}");
        }
    }
    // It keeps its card until it ends, and nothing is half done.
    let leave = format!("/networks/{network}/disconnect");
    let refused = engine.post(&leave, &json!({"Container": "web", "Force": true}));
    assert_eq!(refused.status, 409, "{}", refused.text());
    assert!(refused.text().contains("stop it first"), "{}", refused.text());
    assert_eq!(fetch(&peer, "http://web/page"), "of the host");
    assert!(web.inspect()["NetworkSettings"]["Networks"][&network].is_object());
    web.stop(0);
    assert_eq!(engine.post(&leave, &json!({"Container": "web"})).status, 200);
    daemon.stop().unwrap();
}

pub(crate) fn children(pid: i32) -> Vec<i32> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    list.unwrap_or_default().split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

pub(crate) fn is_called(pid: i32, name: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim_end() == name)
}

pub(crate) fn status_of(pid: i32, field: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {field}")).trim().to_owned()
}

/// What a `virtiofsd` has of the host.
fn sees_a_directory_and_nothing_else(pid: i32, capabilities: &str) {
    let list = |path: &str| {
        let entries = std::fs::read_dir(format!("/proc/{pid}/root/{path}")).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(list("/"), ["directory"]);
    let files = list("directory");
    assert!(files == ["page", "value"] || files == ["f"], "{files:?}");
    assert_eq!(status_of(pid, "CapEff"), capabilities);
    assert_eq!(status_of(pid, "CapBnd"), "0000000000000000");
}

#[test]
fn privileged_an_image_of_many_layers_runs_in_a_machine() {
    let daemon = daemon();
    let engine = daemon.engine();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("f"), "").unwrap();
    let mut lines = vec!["FROM busybox".to_owned()];
    lines.extend((1..=20).map(|number| format!("COPY f /f{number}")));
    // In what is merged, and above it.
    lines.insert(10, "RUN rm /f3".to_owned());
    lines.extend(["RUN rm /f5 && echo new > /f6", "COPY f /last"].map(str::to_owned));
    std::fs::write(folder.path().join("Dockerfile"), lines.join("\n")).unwrap();
    let built = engine.isopod_cli(&["build", "-q", "-t", "tall", folder.path().to_str().unwrap()]);
    assert_eq!(built.code, 0, "{built:?}");
    let layers = engine.get("/images/tall/json").json()["RootFS"]["Layers"].clone();
    assert_eq!(layers.as_array().unwrap().len(), 24);
    let script = "cd / && ls -d f? f?? last && cat f6";
    let here = engine.sh(script, json!({"Image": "tall"}));
    let there = engine.sh(script, json!({"Image": "tall", "HostConfig": {"Isolation": "vm"}}));
    assert_eq!(here, there);
    assert!(!here.contains("f3\n") && !here.contains("f5\n") && here.contains("last\n"), "{here}");
    daemon.stop().unwrap();
}

#[test]
fn privileged_kernels_and_templates_are_listed_where_the_daemon_has_them() {
    let daemon = daemon_with(&[]);
    let engine = daemon.engine();
    let boot = daemon.folder().join("data/vm/packages/amd64/boot");
    std::fs::create_dir_all(&boot).unwrap();
    std::fs::write(boot.join("vmlinuz-9.8.7"), "").unwrap();
    let listed = engine.isopod_cli(&["vm", "kernel", "ls"]).success();
    assert!(listed.contains("9.8.7") && listed.contains(boot.to_str().unwrap()), "{listed}");
    assert!(engine.isopod_cli(&["vm", "template", "ls"]).success().starts_with("NAME"));
    assert!(engine.isopod_cli(&["--help"]).success().contains("\n  vm "));
    let gone = engine.isopod_cli(&["-H", "unix:///nonexistent", "vm", "template", "ls"]);
    assert!(gone.code == 1 && gone.stderr.contains("/nonexistent"), "{gone:?}");
    let far = engine.isopod_cli(&["-H", "tcp://192.0.2.1:2375", "vm", "template", "ls"]);
    assert!(far.code == 1 && far.stderr.contains("--data-root"), "{far:?}");
    std::fs::remove_dir_all(boot).unwrap();

    // A template that was made beforehand is the one that a start of the same size uses.
    let build = ["vm", "template", "build", "-m", "96m"];
    let name = engine.isopod_cli(&build).success();
    assert_eq!(engine.isopod_cli(&build).success(), name);
    let state = daemon.folder().join("data/vm/templates").join(&name).join("state");
    let made = std::fs::metadata(&state).unwrap();
    let said =
        engine.sh("echo cloned", json!({"HostConfig": {"Isolation": "vm", "Memory": 96 << 20}}));
    assert_eq!(said, "cloned\n");
    let listed = engine.isopod_cli(&["vm", "template", "ls"]).success();
    assert!(listed.lines().count() == 2 && listed.contains(&name[..12]), "{listed}");
    // Whoever uses it says so.
    assert!(std::fs::metadata(&state).unwrap().modified().unwrap() > made.modified().unwrap());
    daemon.stop().unwrap();
}

#[test]
fn privileged_what_means_the_host_is_refused() {
    let daemon = daemon();
    let engine = daemon.engine();
    let refused = |host: testkit::Value, word: &str| {
        let mut host = host;
        host["Isolation"] = json!("vm");
        let body = json!({"Image": "busybox", "Cmd": ["true"], "HostConfig": host});
        let answer = engine.post("/containers/create", &body);
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(answer.text().contains(word), "{}", answer.text());
    };
    refused(
        json!({"NetworkMode": "host"}),
        "network mode \\\"host\\\" cannot be used with --isolation vm",
    );
    refused(json!({"PidMode": "host"}), "PID mode");
    refused(
        json!({"Devices": [{"PathOnHost": "/dev/fuse", "PathInContainer": "/dev/fuse", "CgroupPermissions": "rwm"}]}),
        "devices of the host",
    );
    let body = json!({"Image": "busybox", "Cmd": ["true"], "HostConfig": {"Isolation": "process", "Runtime": "vm"}});
    assert_eq!(engine.post("/containers/create", &body).status, 400);
    let info = engine.get("/info").json();
    assert!(info["Runtimes"]["vm"].is_object(), "{}", info["Runtimes"]);
    daemon.stop().unwrap();
}

#[test]
fn privileged_a_machine_that_is_killed_ends_its_container_and_no_other() {
    let daemon = daemon();
    let engine = daemon.engine();
    let victim = sleeper(&engine, json!({}));
    let other = sleeper(&engine, json!({}));
    let pid = victim.inspect()["State"]["Pid"].as_i64().unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    assert_eq!(victim.wait(), 137);
    assert_eq!(other.sh("echo there"), "there");
    // Its disk is as it was; the machine is made anew.
    victim.start();
    assert_eq!(victim.sh("echo again"), "again");

    // A kernel that panics ends its machine at once, and its last words are kept.
    let panics = sleeper(&engine, json!({"Privileged": true}));
    let since = Instant::now();
    let _ = panics.exec(&["sh", "-c", "echo c > /proc/sysrq-trigger"]);
    assert_eq!(panics.wait(), 137);
    assert!(since.elapsed() < Duration::from_secs(30), "{:?}", since.elapsed());
    let log = daemon.log_end();
    assert!(log.contains("Kernel panic - not syncing: sysrq triggered crash"), "{log}");
    daemon.stop().unwrap();
}

#[test]
fn privileged_a_full_disk_of_the_host_is_an_error_in_a_machine_and_stops_none() {
    let daemon = daemon();
    let engine = daemon.engine();
    let container = sleeper(&engine, json!({}));
    container.kill("KILL");
    container.wait();
    // Its disk is on a file system with room for next to nothing more.
    let folder = tempfile::tempdir().unwrap();
    let disk = engine.data_root.join("containers").join(&container.id).join("disk.ext4");
    let mounted = Mounted::tmpfs(folder.path(), "24m");
    let mut copy = std::process::Command::new("cp");
    let copied = copy.arg("--sparse=always").arg(&disk).arg(folder.path()).status();
    assert!(copied.unwrap().success());
    std::fs::remove_file(&disk).unwrap();
    std::os::unix::fs::symlink(folder.path().join("disk.ext4"), &disk).unwrap();
    container.start();
    let said = container.sh("dd if=/dev/zero of=/x bs=1M count=60 conv=fsync 2>&1 || true");
    let ended = container.sh("echo it goes on");
    container.kill("KILL");
    container.wait();
    drop(mounted);
    assert!(said.contains("error"), "{said}");
    assert_eq!(ended, "it goes on");
    daemon.stop().unwrap();
}

/// Bytes of memory that a process has.
fn resident(pid: i64) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// Has a container use much memory and free it, and waits until the host has it again.
fn frees(engine: &Engine, mut host: testkit::Value) -> Container {
    const MUCH: u64 = 150 << 20;
    host["ShmSize"] = json!(300 << 20);
    let container = sleeper(engine, host);
    let pid = container.inspect()["State"]["Pid"].as_i64().unwrap();
    let before = resident(pid);
    let _ = container.sh("dd if=/dev/zero of=/dev/shm/x bs=1M count=200 2>&1");
    let full = resident(pid);
    assert!(full > before + MUCH, "{before} {full}");
    let _ = container.sh("rm /dev/shm/x");
    let after = eventually("the memory is given back", LIMIT, || {
        Some(resident(pid)).filter(|now| *now + MUCH < full)
    });
    println!("MiB: {} before, {} full, {} after", before >> 20, full >> 20, after >> 20);
    container
}

#[test]
fn privileged_memory_that_a_machine_frees_is_given_back() {
    let daemon = daemon();
    let engine = daemon.engine();
    let folder = tempfile::tempdir().unwrap();
    // With memory of its own, and with such that a server of directories shares.
    for binds in [json!([]), json!([format!("{}:/x", folder.path().display())])] {
        frees(&engine, json!({"Binds": binds})).kill("KILL");
    }
    daemon.stop().unwrap();
}

#[test]
fn privileged_memory_that_a_clone_frees_is_given_back_and_its_template_stays() {
    use std::os::unix::fs::MetadataExt;
    let daemon = daemon_with(&["--vm-spares=0"]);
    let engine = daemon.engine();
    let first = engine.run(json!({"Cmd": ["true"], "HostConfig": {"Isolation": "vm"}}));
    assert_eq!(first.code, 0, "{first:?}");
    let templates = engine.data_root.join("vm/templates");
    let memory = || {
        let entries = std::fs::read_dir(&templates).unwrap().map(|entry| entry.unwrap().path());
        let found: Vec<_> = entries.filter_map(|path| path.join("ram").metadata().ok()).collect();
        let [one] = found.try_into().expect("one template");
        (one.ino(), one.blocks(), one.mtime_nsec())
    };
    let before = memory();
    let container = frees(&engine, json!({}));
    // What it removes on its own disk is freed there.
    let disk = engine.data_root.join("containers").join(&container.id).join("disk.ext4");
    let blocks = || disk.metadata().unwrap().blocks();
    let _ = container.sh("dd if=/dev/zero of=/x bs=1M count=30 2>&1; sync");
    let full = blocks();
    let _ = container.sh("rm /x; sync");
    let freed = (20 << 20) / 512;
    eventually("the disk's blocks are freed", LIMIT, || (blocks() + freed < full).then_some(()));
    let pid = container.inspect()["State"]["Pid"].as_i64().unwrap();
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    assert!(maps.lines().any(|line| line.contains(&format!(" {} ", before.0))), "no clone: {maps}");
    assert_eq!(memory(), before);
    let other = sleeper(&engine, json!({}));
    assert_eq!(other.sh("echo as ever"), "as ever");
    daemon.stop().unwrap();
}

/// Puts an agent that breaks its word in this way where a daemon takes its agent from.
pub(crate) fn put_hostile_agent(mode: &str, place: &std::path::Path) {
    let path = target_dir().join("examples/hostile");
    let mut program = std::fs::read(path).unwrap();
    let mark = b"hostile-mode:      ";
    let at = program.windows(mark.len()).position(|window| window == mark).unwrap();
    let at = at + "hostile-mode:".len();
    program[at..at + mode.len()].copy_from_slice(mode.as_bytes());
    std::fs::remove_file(place).unwrap();
    std::fs::write(place, program).unwrap();
}

#[test]
fn privileged_a_hostile_agent_ends_its_machine_with_a_clear_error_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let agent = folder.path().join("agent");
    std::fs::copy(target_dir().join("guest-agent"), &agent).unwrap();
    let daemon = daemon_with(&["--vm-templates", "never", "--vm-agent", agent.to_str().unwrap()]);
    let engine = daemon.engine();
    let other = sleeper(&engine, json!({}));
    for (mode, why) in [
        ("endless", "without end"),
        ("oversized", "a frame of 4294967295 bytes, where 4194304 are allowed"),
        ("truncated", "the virtual machine ended while it started"),
        ("reordered", "an answer to request 2, which was not asked"),
    ] {
        put_hostile_agent(mode, &agent);
        let since = Instant::now();
        let run =
            engine.isopod_cli(&["run", "--rm", "--isolation", "vm", "busybox", "sleep", "1000"]);
        assert_eq!(run.code, 125, "{mode}: {run:?}");
        assert!(run.stderr.contains(why), "{mode}: {run:?}");
        assert!(since.elapsed() < LIMIT, "{mode}: {:?}", since.elapsed());
        let left = engine.get("/containers/json?all=1").json();
        assert_eq!(left.as_array().unwrap().len(), 1, "{mode}: {left}");
        assert_eq!(other.sh("echo there"), "there", "{mode}");
    }
    // When its container runs already, that is its end.
    put_hostile_agent("late", &agent);
    let late = sleeper(&engine, json!({}));
    assert_eq!(late.wait(), 137);
    let log = daemon.log_end();
    assert!(log.contains("the virtual machine was ended: the other side sent a frame of"), "{log}");
    assert_eq!(other.sh("echo there"), "there");
    daemon.stop().unwrap();
}

#[test]
fn privileged_an_agent_may_be_installed_while_the_daemon_runs() {
    let folder = tempfile::tempdir().unwrap();
    let alone = folder.path().join("isopod");
    std::fs::copy(isopod_binary(), &alone).unwrap();
    // What a user may have installed is not there for this one.
    let program = folder.path().join("start");
    let script = format!(
        "#!/bin/sh\nexec unshare --mount sh -c '[ ! -d /usr/lib/isopod ] || mount -t tmpfs none \
         /usr/lib/isopod; exec \"$@\"' sh {} \"$@\"\n",
        alone.display()
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let kernel = std::env::var("ISOPOD_TEST_VM_KERNEL").ok();
    let kernel = kernel.map(|kernel| ["--vm-kernel".to_owned(), kernel]);
    let mut arguments = vec!["--vm-templates".to_owned(), "never".to_owned()];
    arguments.extend(kernel.into_iter().flatten());
    let program = Some(program);
    let options = Options { kind: Kind::Isopod, program, arguments, host_network: false };
    let daemon = Daemon::start(options).unwrap();
    let engine = daemon.engine();
    let saved = image::busybox(&["busybox:latest"]);
    assert_eq!(engine.upload("/images/load?quiet=1", &saved.tar).status, 200);
    let run =
        || engine.isopod_cli(&["run", "--rm", "--isolation", "vm", "busybox", "echo", "fine"]);
    let refused = run();
    assert!(refused.stderr.contains("guests need the program guest-agent"), "{refused:?}");
    std::fs::copy(target_dir().join("guest-agent"), folder.path().join("guest-agent")).unwrap();
    let done = run();
    assert_eq!((done.code, done.stdout.as_str()), (0, "fine\n"), "{done:?}");
    daemon.stop().unwrap();
}

#[test]
fn privileged_without_an_agent_or_a_kernel_the_error_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let kernel = std::env::var("ISOPOD_TEST_VM_KERNEL").unwrap_or_default();
    for (option, word, wrong) in [
        ("--vm-agent", "agent", "it is no program for"),
        ("--vm-kernel", "kernel", "it is no Linux kernel for"),
    ] {
        let path = folder.path().join(word);
        std::fs::write(&path, "").unwrap();
        let mut arguments = vec![option, path.to_str().unwrap()];
        if word == "agent" && !kernel.is_empty() {
            arguments.extend(["--vm-kernel", &kernel]);
        }
        let daemon = Daemon::isopod_with(&arguments);
        let engine = daemon.engine();
        let saved = image::busybox(&["busybox:latest"]);
        assert_eq!(engine.upload("/images/load?quiet=1", &saved.tar).status, 200);
        for there in [true, false] {
            if !there {
                std::fs::remove_file(&path).unwrap();
            }
            let run = engine.isopod_cli(&["run", "--isolation", "vm", "busybox", "true"]);
            assert_eq!(run.code, 125, "{run:?}");
            let why = if there { wrong } else { option };
            assert!(run.stderr.contains(word) && run.stderr.contains(why), "{run:?}");
        }
        daemon.stop().unwrap();
        // A daemon that is told so says it at once.
        let arguments = arguments.into_iter().map(str::to_owned).collect();
        let options = Options { kind: Kind::Isopod, program: None, arguments, host_network: false };
        let refused = Daemon::start(options).unwrap_err();
        assert!(refused.contains("there is no such file"), "{refused}");
    }
}
