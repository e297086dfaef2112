//! Machines that were ready before their containers were. Dockerd has none, so these run on us alone.

use std::path::PathBuf;
use std::time::Duration;

use testkit::daemon::Daemon;
use testkit::engine::target_dir;
use testkit::{Container, Engine, eventually, json};

use crate::vm::{children, daemon_with, is_called, status_of};

const LIMIT: Duration = Duration::from_secs(90);

fn daemon() -> Daemon {
    daemon_with(&[])
}

/// The process that has a machine ready, and its machine.
fn spare(daemon: &Daemon) -> Option<(i32, i32)> {
    spares(daemon).first().copied()
}

/// All of them.
fn spares(daemon: &Daemon) -> Vec<(i32, i32)> {
    daemon.processes("isopod-spare").filter_map(held).collect()
}

/// A process that has a machine ready, with the machine, if it still has it.
fn held(holder: i32) -> Option<(i32, i32)> {
    let mut children = children(holder).into_iter();
    let machine = children.find(|child| is_called(*child, "qemu-system-x86"))?;
    Some((holder, machine))
}

/// Starts a container in the machine that is ready. Returns it with the machine's process.
fn in_a_spare(daemon: &Daemon, engine: &Engine, mut host: testkit::Value) -> (Container, i32) {
    host["Isolation"] = json!("vm");
    let (_, machine) = eventually("a machine is ready", LIMIT, || spare(daemon));
    let container = engine.create(json!({"Cmd": ["sleep", "1000"], "HostConfig": host}));
    container.start();
    assert_eq!(container.inspect()["State"]["Pid"], machine, "it got another one");
    (container, machine)
}

#[test]
fn privileged_a_machine_that_was_ready_is_like_any_other() {
    let mut daemon = daemon();
    let engine = daemon.engine();
    let first = engine.run(json!({"Cmd": ["true"], "HostConfig": {"Isolation": "vm"}}));
    assert_eq!(first.code, 0, "{first:?}");
    let host = json!({"NetworkMode": "bridge", "PidsLimit": 77, "PortBindings": {"80/tcp": [{"HostPort": ""}]}});
    let (container, machine) = in_a_spare(&daemon, &engine, host);
    let inspect = container.inspect();

    // Nothing is left of what it ran before; what it has is what was asked for.
    let id = inspect["Id"].as_str().unwrap();
    assert_eq!(container.sh("hostname").trim(), &id[..12]);
    let address = inspect["NetworkSettings"]["IPAddress"].as_str().unwrap();
    let seen = container.sh("ip -o -4 addr show scope global; ip route; ip -o link");
    assert!(seen.contains(&format!(" {address}/")) && !seen.contains("198.18."), "{seen}");
    let mac = inspect["NetworkSettings"]["MacAddress"].as_str().unwrap();
    assert!(seen.contains(mac), "{seen}");
    let mounts = container.sh("cat /proc/self/mounts; ls /; cat /etc/hosts");
    assert!(!mounts.contains("guest-agent") && mounts.contains(&id[..12]), "{mounts}");
    assert_eq!(container.sh("cat /sys/fs/cgroup/pids.max").trim(), "77");
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let clock: u64 = container.sh("date +%s").trim().parse().unwrap();
    assert!(clock.abs_diff(now) < 30, "{clock} instead of {now}");

    // Its process is where any machine's is.
    let groups = std::fs::read_to_string(format!("/proc/{machine}/cgroup")).unwrap();
    for line in groups.lines().filter(|line| line.contains("memory") || line.contains("pids")) {
        assert!(line.ends_with(id), "{groups}");
    }
    let links = engine_links(machine);
    assert!(links.contains("eth0") && links.contains("vmbr"), "{links}");

    let other = in_a_spare(&daemon, &engine, json!({})).0;
    for drawn in ["uuid", "boot_id"] {
        let path = format!("cat /proc/sys/kernel/random/{drawn}");
        assert_ne!(container.sh(&path), other.sh(&path), "two machines are alike: {drawn}");
    }
    assert_eq!(other.sh("ls /sys/class/net").split_whitespace().collect::<Vec<_>>(), ["lo"]);

    // It serves, outlives its daemon, and what it wrote is there in its next machine.
    assert_eq!(container.sh("mkdir /w; echo served > /w/index.html; httpd -h /w"), "");
    let port = inspect["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"].as_str().unwrap();
    let address: std::net::SocketAddr = format!("{address}:80").parse().unwrap();
    assert!(port.parse::<u16>().is_ok_and(|port| port > 0), "{port}");
    daemon.restart();
    assert_eq!(container.inspect()["State"]["Pid"], machine);
    let page = testkit::netns::inside(&daemon.netns().unwrap().path(), || fetch(address));
    assert!(page.ends_with("served\n"), "{page}");
    assert_eq!(engine.act(&container.path("/restart?t=0")).status, 204);
    assert_eq!(container.sh("cat /w/index.html"), "served");
    daemon.stop().unwrap();
}

#[test]
fn privileged_a_machine_that_was_ready_takes_volumes_and_files() {
    let mut daemon = daemon();
    let engine = daemon.engine();
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page");
    std::fs::write(&page, "of the host\n").unwrap();
    let binds = |volume: &str| json!({"Binds": [format!("{volume}:/data"), format!("{}:/page:ro", page.display())]});
    let mut first = binds("earlier");
    first["Isolation"] = json!("vm");
    let script = "cat /page; echo secret > /data/f";
    let first = engine.run(json!({"Cmd": ["sh", "-c", script], "HostConfig": first}));
    assert_eq!((first.code, first.stdout.as_str()), (0, "of the host\n"), "{first:?}");

    let (container, machine) = in_a_spare(&daemon, &engine, binds("later"));
    assert_eq!(container.sh("cat /page; ls /data; echo kept > /data/f"), "of the host");
    let refused = container.exec(&["sh", "-c", "echo mine > /page"]);
    assert!(refused.code != 0 && refused.stderr.contains("Read-only"), "{refused:?}");
    let volume = engine.get("/volumes/later").expect(200).json();
    let file = PathBuf::from(volume["Mountpoint"].as_str().unwrap()).join("f");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept\n");
    std::fs::write(&page, "later\n").unwrap();
    std::fs::write(&file, "of the host\n").unwrap();
    eventually("the machine sees it", LIMIT, || {
        (container.sh("cat /page /data/f") == "later\nof the host").then_some(())
    });
    // Who serves the shares is where the machine is.
    let id = container.inspect()["Id"].as_str().unwrap().to_owned();
    let parent = status_of(machine, "PPid").parse().unwrap();
    let servers = children(parent).into_iter().filter(|pid| *pid != machine);
    let servers: Vec<i32> = servers.flat_map(|pid| [vec![pid], children(pid)].concat()).collect();
    assert_eq!(servers.len(), 4);
    for pid in servers {
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let mut lines =
            groups.lines().filter(|line| line.contains("memory") || line.contains("pids"));
        assert!(lines.all(|line| line.ends_with(&id)), "{groups}");
    }
    daemon.restart();
    assert_eq!(container.sh("cat /data/f"), "of the host");
    assert_eq!(engine.act(&container.path("/restart?t=0")).status, 204);
    assert_eq!(container.sh("cat /page /data/f"), "later\nof the host");
    daemon.stop().unwrap();
}

/// Names of the links in the network namespace of a process.
fn engine_links(pid: i32) -> String {
    let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
    testkit::netns::inside(&path, || {
        let output = std::process::Command::new("ip").args(["-o", "link"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    })
}

fn fetch(address: std::net::SocketAddr) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect_timeout(&address, LIMIT).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    page
}

#[test]
fn privileged_as_many_are_ready_as_came_at_once() {
    let daemon = daemon_with(&["--vm-spares=2", "--vm-memory=128m"]);
    let engine = daemon.engine();
    let host = json!({"Isolation": "vm", "NetworkMode": "none"});
    let first = engine.run(json!({"Cmd": ["true"], "HostConfig": host}));
    assert_eq!(first.code, 0, "{first:?}");
    let three = || -> Vec<(Container, i64)> {
        let made: Vec<Container> = (0..3)
            .map(|_| engine.create(json!({"Cmd": ["sleep", "1000"], "HostConfig": host})))
            .collect();
        std::thread::scope(|scope| {
            for container in &made {
                scope.spawn(|| container.start());
            }
        });
        let pid = |container: &Container| container.inspect()["State"]["Pid"].as_i64().unwrap();
        let pids: Vec<i64> = made.iter().map(pid).collect();
        made.into_iter().zip(pids).collect()
    };
    eventually("a machine is ready", LIMIT, || spare(&daemon));
    drop(three());
    // Two were missed, and no more than two may be ready.
    let ready = eventually("two are ready", LIMIT, || {
        let ready: Vec<i64> = spares(&daemon).into_iter().map(|(_, at)| i64::from(at)).collect();
        assert!(ready.len() <= 2, "{ready:?}");
        (ready.len() == 2).then_some(ready)
    });
    let taken = three();
    let from_those = taken.iter().filter(|(_, pid)| ready.contains(pid)).count();
    assert_eq!(
        from_those,
        2,
        "{ready:?}, and not {:?}",
        taken.iter().map(|(_, p)| p).collect::<Vec<_>>()
    );
    for (container, _) in &taken {
        assert_eq!(container.sh("echo there"), "there");
    }
    daemon.stop().unwrap();
}

#[test]
fn privileged_a_machine_that_is_ready_goes_with_its_daemon_and_may_go_before() {
    // Where every container has a machine, the first one need not be asked for.
    let mut daemon = daemon_with(&["--isolation", "vm"]);
    let engine = daemon.engine();
    let made = || eventually("one is made", LIMIT, || spare(&daemon));
    let (_, machine) = made();
    let pid = rustix::process::Pid::from_raw(machine).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let first = engine.run(json!({"Cmd": ["echo", "there"]}));
    assert_eq!((first.code, first.stdout.as_str()), (0, "there\n"));

    let second = engine.run(json!({"Cmd": ["true"]}));
    assert_eq!(second.code, 0);
    let (holder, machine) = made();
    daemon.kill();
    eventually("it goes with its daemon", LIMIT, || {
        let there = |pid: i32| std::path::Path::new(&format!("/proc/{pid}")).exists();
        (!there(holder) && !there(machine)).then_some(())
    });
    daemon.restart();
    daemon.stop().unwrap();
}

#[test]
fn privileged_a_machine_that_was_ready_before_its_agent_was_replaced_is_for_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let agent = folder.path().join("agent");
    let install = || std::fs::copy(target_dir().join("guest-agent"), &agent).unwrap();
    install();
    let daemon = daemon_with(&["--vm-agent", agent.to_str().unwrap()]);
    let engine = daemon.engine();
    let first = engine.run(json!({"Cmd": ["true"], "HostConfig": {"Isolation": "vm"}}));
    assert_eq!(first.code, 0, "{first:?}");
    let (_, machine) = eventually("a machine is ready", LIMIT, || spare(&daemon));
    std::fs::remove_file(&agent).unwrap();
    install();
    let container =
        engine.create(json!({"Cmd": ["sleep", "1000"], "HostConfig": {"Isolation": "vm"}}));
    container.start();
    assert_ne!(container.inspect()["State"]["Pid"], machine, "it has the old agent");
    assert_eq!(container.sh("echo there"), "there");
    // The next one is as it should be.
    let next = in_a_spare(&daemon, &engine, json!({})).0;
    assert_eq!(next.sh("echo there"), "there");
    daemon.stop().unwrap();
}
