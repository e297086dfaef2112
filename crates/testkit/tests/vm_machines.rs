//! Machines that boot a disk of their own. Dockerd has none, so these run on us alone.
//!
//! The guest is a small system that `disk` makes of Debian's kernel and busybox.

mod disk;

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use testkit::daemon::Daemon;
use testkit::{Container, Engine, eventually, image, json};

const LIMIT: Duration = Duration::from_secs(90);

/// A daemon and a disk that boots.
struct Scene {
    daemon: Daemon,
    folder: tempfile::TempDir,
    disk: String,
    size: u64,
}

fn scene() -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("base.img");
    let size = disk::write(&disk);
    let daemon = Daemon::isopod_with(&["--vm-accelerator", "emulation"]);
    Scene { daemon, disk: disk.display().to_string(), size, folder }
}

/// Runs a machine in the background.
fn run(engine: &Engine, name: &str, more: &[&str], disk: &str) -> Container {
    let mut words = vec!["vm", "run", "-d", "--name", name, "-m", "192m"];
    words.extend_from_slice(more);
    words.push(disk);
    let id = engine.isopod_cli(&words).success();
    Container::new(engine, id.trim().to_owned(), name)
}

/// Does a command about machines, which works.
fn vm(engine: &Engine, words: &[&str]) -> String {
    engine.isopod_cli(&[&["vm"], words].concat()).success()
}

/// What a machine answers at its published port, as soon as it does.
fn ask(daemon: &Daemon, machine: &Container, path: &str) -> String {
    let engine = daemon.engine();
    let ports = &machine.inspect()["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"];
    let address = format!("127.0.0.1:{}", ports.as_str().unwrap_or_else(|| panic!("no port")));
    let answer = || -> std::io::Result<String> {
        let mut stream = std::net::TcpStream::connect(&address)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    eventually(&format!("an answer of {address}{path}"), LIMIT, || {
        let state = &machine.inspect()["State"];
        assert_eq!(
            state["Status"],
            "running",
            "{state}: {}\n{}",
            log(&engine, machine),
            daemon.log_end()
        );
        let answer = engine.on_its_network(answer).ok()?;
        answer
            .split_once("\r\n\r\n")
            .map(|(_, body)| body.trim().to_owned())
            .filter(|b| !b.is_empty())
    })
}

/// What it has written on its console.
fn log(engine: &Engine, machine: &Container) -> String {
    vm(engine, &["logs", &machine.name])
}

fn exit_code(machine: &Container) -> i64 {
    machine.inspect()["State"]["ExitCode"].as_i64().unwrap()
}

const PUBLISHED: [&str; 2] = ["-p", "127.0.0.1::80"];

#[test]
fn privileged_a_disk_boots_on_a_network_and_keeps_what_was_written() {
    let Scene { mut daemon, folder, disk, size } = scene();
    let engine = daemon.engine();
    let saved = image::busybox(&["busybox:latest"]);
    assert_eq!(engine.upload("/images/load?quiet=1", &saved.tar).status, 200);
    let network = json!({"Name": "n", "Options": {"com.docker.network.driver.mtu": "1400"}});
    assert_eq!(engine.post("/networks/create", &network).status, 201);
    let before = std::fs::read(&disk).unwrap();
    let file = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).unwrap();
        folder.path().join(name).display().to_string()
    };
    let (data, key) =
        (file("data", "#cloud-config\nlocale: C\n"), file("key", "ssh-ed25519 AAAA me\n"));
    let larger = (size + (64 << 20)).to_string();
    let more = [
        &PUBLISHED[..],
        &["--network", "n", "--user-data", &data, "--ssh-key", &key],
        &["--cpus", "2", "--disk-size", &larger],
    ];
    let web = run(&engine, "web", &more.concat(), &disk);

    // From the host by its port, from its network by its name.
    assert_eq!(ask(&daemon, &web, "/cgi-bin/state"), "web:");
    assert_eq!(ask(&daemon, &web, "/user-data"), "#cloud-config\nlocale: C");
    assert!(ask(&daemon, &web, "/meta-data").contains("- \"ssh-ed25519 AAAA me\""));
    let peer = engine.create_named(
        "peer",
        json!({"Cmd": ["httpd", "-f", "-h", "/etc"], "HostConfig": {"NetworkMode": "n"}}),
    );
    peer.start();
    assert_eq!(peer.sh("wget -q -O - http://web/cgi-bin/state").trim(), "web:");
    // And it finds others by theirs.
    let fetched = ask(&daemon, &web, "/cgi-bin/fetch?http://peer/passwd");
    assert!(fetched.contains("root:"), "{fetched}");
    let sectors = (size + (64 << 20)) / 512;
    let up = format!("web is up with 2 processors, {sectors} sectors, packets of 1400");
    // It serves pages a moment before it says so.
    eventually(&up, LIMIT, || log(&engine, &web).contains(&up).then_some(()));

    let told = ask(&daemon, &web, "/network-config");
    assert!(told.contains("mtu: 1400") && told.contains("search: [\"n\""), "{told}");
    // Who appends what it was told to.
    let fetched = ask(&daemon, &web, "/cgi-bin/fetch?http://peer.n/passwd");
    assert!(fetched.contains("root:"), "{fetched}");
    // What passes is counted once, although the namespace has a bridge and a tap as well.
    let stats = engine.get(&web.path("/stats?stream=false")).json();
    let counted: Vec<&String> = stats["networks"].as_object().unwrap().keys().collect();
    assert_eq!(counted, ["eth0"]);
    assert!(stats["networks"]["eth0"]["rx_bytes"].as_u64().unwrap() > 0, "{stats}");
    // What it has read of its disk, from the cache of the host or not.
    let read = eventually("what it has read is counted", LIMIT, || {
        let stats = engine.get(&web.path("/stats?stream=false")).json();
        let rows = stats["blkio_stats"]["io_service_bytes_recursive"].as_array()?;
        rows.iter().find(|row| row["op"] == "read")?["value"].as_u64()
    });
    assert!(read > 1 << 20, "{read}");

    assert_eq!(ask(&daemon, &web, "/cgi-bin/keep?first"), "kept");
    assert_eq!(ask(&daemon, &web, "/cgi-bin/state"), "web:first");
    let listed = vm(&engine, &["ls"]);
    assert!(
        listed.contains("web") && listed.contains(&disk) && listed.contains("->80/tcp"),
        "{listed}"
    );

    // The power button, not SIGKILL.
    vm(&engine, &["stop", "web"]);
    assert_eq!((web.status().as_str(), exit_code(&web)), ("exited", 0));
    assert!(log(&engine, &web).contains("the power button"), "{}", log(&engine, &web));
    assert!(std::fs::read(&disk).unwrap() == before, "the disk that it began as is as it was");
    // Its disk is not swept away with containers that do not run.
    let kept = engine.act("/containers/prune");
    assert_eq!((kept.status, kept.json()["ContainersDeleted"].is_null()), (200, true));
    vm(&engine, &["start", "web"]);
    assert_eq!(ask(&daemon, &web, "/cgi-bin/state"), "web:first");
    let update = engine.isopod_cli(&["update", "-m", "256m", "web"]);
    assert!(update.code == 0 && update.stderr.contains("next start"), "{update:?}");

    // It does not need the daemon.
    let pid = web.inspect()["State"]["Pid"].clone();
    daemon.restart();
    assert_eq!(web.inspect()["State"]["Pid"], pid);
    assert_eq!(ask(&daemon, &web, "/cgi-bin/state"), "web:first");
    assert_eq!(engine.act(&web.path("/pause")).status, 204);
    assert_eq!(web.status(), "paused");
    assert_eq!(engine.act(&web.path("/unpause")).status, 204);
    assert_eq!(ask(&daemon, &web, "/cgi-bin/state"), "web:first");
    vm(&engine, &["kill", "web"]);
    assert_eq!((web.wait(), exit_code(&web)), (137, 137));

    let own = daemon.folder().join("data/containers").join(&web.id);
    assert!(own.join("disk.1.qcow2").exists());
    let filter = ["container", "prune", "-f", "--filter", "machine=true"];
    let pruned = engine.isopod_cli(&filter).success();
    assert!(pruned.contains(&web.id) && !pruned.contains("space: 0B"), "{pruned}");
    assert!(!own.exists(), "its directory is there");
    assert!(!engine.knows(&web.id));
    peer.remove();
    assert_eq!(engine.delete("/networks/n").status, 204);
    assert!(std::fs::read(&disk).unwrap() == before, "the disk that it began as is as it was");
    daemon.stop().unwrap();
}

/// Files of the snapshots, whatever their names.
fn snapshot_files(daemon: &Daemon) -> Vec<PathBuf> {
    let folder = daemon.folder().join("data/machines/snapshots");
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Reads a stream until it has said something.
fn read_until(stream: &mut impl std::io::Read, wanted: &str) -> String {
    let (mut said, mut buffer) = (String::new(), [0; 1024]);
    while !said.contains(wanted) {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "it ended with {said:?}");
        said.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    said
}

#[test]
fn privileged_clones_differ_and_a_snapshot_is_where_others_begin() {
    let Scene { daemon, folder, disk, .. } = scene();
    let engine = daemon.engine();
    // As clouds publish theirs.
    let published = folder.path().join("published.qcow2").display().to_string();
    let words = ["convert", "-c", "-f", "raw", "-O", "qcow2", &disk, &published];
    let converted = std::process::Command::new("qemu-img").args(words).status();
    assert!(converted.expect("qemu-img, of Debian's qemu-utils").success());
    let disk = published;
    // Two at once, of one disk.
    let one = run(&engine, "one", &PUBLISHED, &disk);
    let two = run(&engine, "two", &PUBLISHED, &disk);
    assert_eq!(ask(&daemon, &one, "/cgi-bin/keep?of-one"), "kept");
    assert_eq!(ask(&daemon, &two, "/cgi-bin/state"), "two:");
    assert_eq!(ask(&daemon, &two, "/cgi-bin/keep?of-two"), "kept");
    assert_eq!(ask(&daemon, &one, "/cgi-bin/state"), "one:of-one");

    // Its console goes both ways, and stays when a client goes.
    for word in ["hello", "again"] {
        let path = one.path("/attach?stream=1&stdin=1&stdout=1");
        let mut stream = engine.hijack(&path, true, &testkit::Value::Null);
        stream.write_all(format!("{word}\n").as_bytes()).unwrap();
        read_until(&mut stream, &format!("got {word}"));
    }

    let early = engine.isopod_cli(&["vm", "snapshot", "one", "kept"]);
    assert!(early.code == 1 && early.stderr.contains("stop it first"), "{early:?}");
    vm(&engine, &["stop", "one"]);
    vm(&engine, &["rm", "-f", "two"]);
    assert_eq!(vm(&engine, &["snapshot", "one", "kept"]).trim(), "kept");
    let listed = vm(&engine, &["snapshot", "ls"]);
    assert!(listed.contains("kept") && listed.contains(&disk), "{listed}");

    // A clone has what was there, and neither changes the other. This one is attached to.
    let words = ["vm", "run", "--name", "three", "-m", "192m", "-p", "127.0.0.1::80", "kept"];
    let output = std::thread::scope(|scope| {
        let attached = scope.spawn(|| engine.isopod_cli(&words));
        let id = eventually("the clone", LIMIT, || {
            let found = engine.get("/containers/three/json");
            (found.status == 200).then(|| found.json()["Id"].as_str().unwrap().to_owned())
        });
        let three = Container::new(&engine, id, "three");
        eventually("its start", LIMIT, || (three.status() == "running").then_some(()));
        assert_eq!(ask(&daemon, &three, "/cgi-bin/state"), "three:of-one");
        assert_eq!(ask(&daemon, &three, "/cgi-bin/keep?of-three"), "kept");
        vm(&engine, &["snapshot", "rm", "kept"]);
        // It serves pages a moment before it says so.
        eventually("its words", LIMIT, || {
            log(&engine, &three).contains("three is up").then_some(())
        });
        vm(&engine, &["stop", "three"]);
        attached.join().unwrap()
    });
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.stdout.contains("three is up"), "{output:?}");
    assert_eq!(snapshot_files(&daemon), [] as [PathBuf; 0]);
    // The machine goes on in a layer of its own, and needs no snapshot.
    vm(&engine, &["start", "one"]);
    assert_eq!(ask(&daemon, &one, "/cgi-bin/state"), "one:of-one");
    vm(&engine, &["rm", "-f", "one", "three"]);
    daemon.stop().unwrap();
}

#[test]
fn privileged_what_cannot_be_a_machine_or_be_done_to_one_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let daemon = Daemon::isopod_with(&["--vm-accelerator", "emulation"]);
    let engine = daemon.engine();
    let refused = |disk: &str, word: &str| {
        let output = engine.isopod_cli(&["vm", "run", "-d", "--name", "none", disk]);
        assert!(output.code != 0 && output.stderr.contains(word), "{disk}: {output:?}");
        assert!(!engine.knows("none"), "nothing is left of it");
    };
    refused("/nowhere/disk.img", "no such file or directory");
    refused("nothing", "no such disk: nothing");
    refused(folder.path().to_str().unwrap(), "not a regular file");
    refused(&file("empty", b""), "shorter than a sector");
    // An image of somebody else's must not lead to the host's files.
    let mut qcow2 = vec![0; 1024];
    qcow2[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
    qcow2[15] = 0x70;
    qcow2[19] = 11;
    qcow2[23] = 16;
    qcow2[27] = 1;
    qcow2[0x70..0x7b].copy_from_slice(b"/etc/shadow");
    refused(&file("backed", &qcow2), "backing file");
    (qcow2[15], qcow2[19], qcow2[79]) = (0, 0, 4);
    refused(&file("apart", &qcow2), "data file");

    // A disk without a system: it runs, says that it does not boot, and is switched off at once.
    let blank = file("blank", &vec![0; 1 << 20]);
    let machine = run(&engine, "blank", &["--network", "none"], &blank);
    eventually("the firmware's words", LIMIT, || {
        log(&engine, &machine).contains("No bootable").then_some(())
    });
    let exec = engine.post(&machine.path("/exec"), &json!({"Cmd": ["true"]}));
    assert!(exec.status == 409 && exec.text().contains("disk of its own"), "{}", exec.text());
    for path in ["/top", "/changes", "/export", "/archive?path=/etc"] {
        let answer = engine.get(&machine.path(path));
        assert_eq!(answer.status, 409, "{path}: {}", answer.text());
    }
    let commit = engine.post("/commit?container=blank&repo=x", &json!({}));
    assert!(commit.text().contains("vm snapshot"), "{}", commit.text());
    let signal = engine.act(&machine.path("/kill?signal=USR1"));
    assert!(signal.text().contains("power button"), "{}", signal.text());
    // Nobody hears the button.
    vm(&engine, &["stop", "-t", "1", "blank"]);
    assert_eq!(exit_code(&machine), 137);

    // What it wrote belongs to the image as it was.
    let mut grown = std::fs::File::options().append(true).open(Path::new(&blank)).unwrap();
    grown.write_all(&[0; 512]).unwrap();
    let start = engine.act(&machine.path("/start"));
    assert!(start.status == 409 && start.text().contains("has changed"), "{}", start.text());
    machine.remove();
    daemon.stop().unwrap();
}

#[test]
fn privileged_a_full_disk_of_the_host_stops_no_machine_and_no_file_is_in_two() {
    let Scene { daemon, folder, disk, size } = scene();
    let engine = daemon.engine();
    let host = json!({
        "Machine": {"Disk": disk, "DiskSize": size + (64 << 20)}, "Memory": 192 << 20,
        "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1"}]},
    });
    let answer = engine.post("/containers/create?name=full", &json!({"HostConfig": host}));
    let id = answer.expect(201).json()["Id"].as_str().unwrap().to_owned();
    let full = Container::new(&engine, id, "full");

    // What it writes is on a file system with room for next to nothing.
    let layer = daemon.folder().join("data/containers").join(&full.id).join("disk.1.qcow2");
    let small = folder.path().join("small");
    std::fs::create_dir(&small).unwrap();
    let mounted = Mounted::tmpfs(&small, "2m");
    std::fs::copy(&layer, small.join("layer")).unwrap();
    std::fs::remove_file(&layer).unwrap();
    std::os::unix::fs::symlink(small.join("layer"), &layer).unwrap();

    let held = std::fs::File::open(&layer).unwrap();
    held.try_lock().unwrap();
    let start = engine.act(&full.path("/start"));
    assert!(start.text().contains("another process"), "{}", start.text());
    drop(held);
    assert_eq!(engine.act(&full.path("/start")).status, 204);
    let held = std::fs::File::open(&layer).unwrap();
    assert!(held.try_lock().is_err(), "its file is not locked");

    assert_eq!(ask(&daemon, &full, "/cgi-bin/state"), "full:");
    let said = ask(&daemon, &full, "/cgi-bin/fill");
    assert!(said.contains("error") && !said.contains("all of it"), "{said}");
    assert_eq!(ask(&daemon, &full, "/cgi-bin/state"), "full:", "it goes on");
    vm(&engine, &["kill", "full"]);
    full.wait();
    held.try_lock().unwrap();
    drop(held);
    vm(&engine, &["rm", "full"]);
    drop(mounted);
    daemon.stop().unwrap();
}

/// A file system in memory, until this is dropped.
pub(crate) struct Mounted(PathBuf);

impl Mounted {
    pub(crate) fn tmpfs(at: &Path, size: &str) -> Self {
        let options = format!("size={size}");
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(at)
            .status();
        assert!(mount.unwrap().success());
        Self(at.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").args(["-l"]).arg(&self.0).status();
    }
}
