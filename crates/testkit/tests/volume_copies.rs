//! What Docker has no words for: volumes cloned, kept as they are, exported and imported, also while
//! they are in use, from hostile archives, and cut by the daemon's death.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::mount::{UnmountFlags, unmount};
use testkit::engine::VERSION;
use testkit::image::{Layer, busybox};
use testkit::{Daemon, Engine, Value, eventually, json, unique};

fn data(engine: &Engine, name: &str) -> PathBuf {
    let volume = engine.get(&format!("/volumes/{name}")).expect(200).json();
    volume["Mountpoint"].as_str().unwrap().into()
}

fn remove(engine: &Engine, names: &[&str]) {
    for name in names {
        let _ = engine.delete(&format!("/volumes/{name}")).expect(204);
    }
}

/// A volume with a bit of everything.
fn filled(engine: &Engine) -> String {
    let name = unique("full");
    let _ = engine.post("/volumes/create", &json!({"Name": name})).expect(201);
    let script = "cd /v; mkdir -p a/b; echo deep > a/b/f; ln a/b/f again; ln -s /etc/passwd link; \
                  chmod 2750 a; chown 7:8 a/b/f; mkfifo pipe; chown 999:998 .; chmod 700 .";
    let _ = engine.sh(script, json!({"HostConfig": {"Binds": [format!("{name}:/v")]}}));
    name
}

fn is_whole(at: &Path) {
    assert_eq!(std::fs::read_to_string(at.join("a/b/f")).unwrap(), "deep\n");
    let file = std::fs::metadata(at.join("again")).unwrap();
    assert_eq!((file.uid(), file.gid(), file.nlink()), (7, 8, 2));
    assert_eq!(std::fs::read_link(at.join("link")).unwrap(), Path::new("/etc/passwd"));
    assert_eq!(std::fs::metadata(at.join("a")).unwrap().permissions().mode() & 0o7777, 0o2750);
    let top = std::fs::metadata(at).unwrap();
    assert_eq!((top.uid(), top.gid(), top.mode() & 0o7777), (999, 998, 0o700));
    assert!(std::fs::symlink_metadata(at.join("pipe")).is_ok());
}

#[test]
fn privileged_volumes_are_cloned_and_kept_while_they_are_in_use() {
    let engine = Engine::isopod();
    let volume = filled(&engine);
    let binds = json!({"HostConfig": {"Binds": [format!("{volume}:/v")]}});
    let user = engine.sleeper(binds);
    let (copy, kept) = (unique("copy"), unique("kept"));
    assert_eq!(engine.isopod_cli(&["volume", "clone", &volume, &copy]).success(), copy);
    is_whole(&data(&engine, &copy));
    let cli = engine.isopod_cli(&["volume", "snapshot", "--label", "a=b", &volume, &kept]);
    assert_eq!(cli.success(), kept);
    // It was frozen, and goes on.
    assert_eq!(user.status(), "running");
    assert_eq!(user.sh("echo more > /v/more; cat /v/more"), "more");
    let snapshot = engine.get(&format!("/volumes/{kept}")).expect(200).json();
    assert_eq!(
        (&snapshot["Status"]["SnapshotOf"], &snapshot["Labels"]["a"]),
        (&json!(volume), &json!("b"))
    );
    is_whole(&data(&engine, &kept));
    let script = "cat /v/a/b/f; touch /v/x 2> /dev/null || echo refused; ls /v/more 2> /dev/null";
    let output = engine
        .run(json!({"Cmd": ["sh", "-c", script], "HostConfig": {"Binds": [format!("{kept}:/v")]}}));
    assert_eq!(output.stdout, "deep\nrefused\n");

    // A name that is taken, and a volume that is in use, are not replaced.
    let clone = |to: &str, replace: bool| {
        engine.post(&format!("/volumes/{kept}/clone"), &json!({"Name": to, "Replace": replace}))
    };
    assert!(clone(&copy, false).expect(409).message().contains("already in use"));
    assert!(clone(&volume, true).expect(409).message().contains("volume is in use"));
    user.remove();
    let _ = clone(&volume, true).expect(201);
    assert!(!data(&engine, &volume).join("more").exists());
    is_whole(&data(&engine, &volume));
    assert_eq!(engine.post("/volumes/nope-none/clone", &json!({"Name": "x1"})).status, 404);
    assert_eq!(
        engine.post(&format!("/volumes/{kept}/clone"), &json!({"Name": "../x"})).status,
        400
    );
    assert_eq!(engine.post(&format!("/volumes/{kept}/clone"), &json!({})).status, 400);
    let unnamed = engine.isopod_cli(&["volume", "snapshot", &volume]).success();
    assert!(unnamed.starts_with(&format!("{volume}-20")), "{unnamed}");
    remove(&engine, &[&volume, &copy, &kept, &unnamed]);
}

#[test]
fn privileged_volumes_travel_as_archives() {
    let engine = Engine::isopod();
    let volume = filled(&engine);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("v.tar").display().to_string();
    let _ = engine.isopod_cli(&["volume", "export", "-o", &file, &volume]).success();
    let listed = Command::new("tar").args(["-tf", &file]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.lines().any(|line| line == "./a/b/f"), "{listed}");
    let gzipped = Command::new("gzip").arg("-k").arg(&file).status().unwrap();
    assert!(gzipped.success());
    for archive in [file.clone(), format!("{file}.gz")] {
        let back = unique("back");
        let done = engine.isopod_cli(&["volume", "import", "--label", "x=y", &back, &archive]);
        assert_eq!(done.success(), back);
        is_whole(&data(&engine, &back));
        assert_eq!(engine.get(&format!("/volumes/{back}")).json()["Labels"]["x"], "y");
        let again = engine.isopod_cli(&["volume", "import", &back, &archive]);
        assert!(again.code != 0 && again.stderr.contains("already in use"), "{again:?}");
        std::fs::write(data(&engine, &back).join("old"), "").unwrap();
        let _ = engine.isopod_cli(&["volume", "import", "--replace", &back, &archive]).success();
        assert!(!data(&engine, &back).join("old").exists());
        remove(&engine, &[&back]);
    }
    remove(&engine, &[&volume]);
}

#[test]
fn privileged_holes_stay_holes() {
    use std::os::unix::fs::FileExt;
    let engine = Engine::isopod();
    let (volume, copy, back) = (unique("holes"), unique("copy"), unique("back"));
    let _ = engine.post("/volumes/create", &json!({"Name": volume})).expect(201);
    let file = std::fs::File::create(data(&engine, &volume).join("file")).unwrap();
    file.write_all_at(b"begin", 0).unwrap();
    file.write_all_at(b"middle", 200 << 20).unwrap();
    file.set_len(1 << 30).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let tar = folder.path().join("v.tar").display().to_string();
    let _ = engine.isopod_cli(&["volume", "clone", &volume, &copy]).success();
    let _ = engine.isopod_cli(&["volume", "export", "-o", &tar, &volume]).success();
    assert!(std::fs::metadata(&tar).unwrap().len() < 1 << 20);
    let _ = engine.isopod_cli(&["volume", "import", &back, &tar]).success();
    let unpacked =
        Command::new("tar").args(["-xf", &tar, "-C"]).arg(folder.path()).status().unwrap();
    assert!(unpacked.success(), "GNU tar does not understand it");
    for found in [data(&engine, &copy), data(&engine, &back), folder.path().to_owned()] {
        let file = std::fs::File::open(found.join("file")).unwrap();
        let stat = file.metadata().unwrap();
        assert_eq!(stat.len(), 1 << 30);
        assert!(stat.blocks() * 512 < 1 << 20, "{} blocks", stat.blocks());
        let mut middle = [0; 8];
        file.read_exact_at(&mut middle, (200 << 20) - 1).unwrap();
        assert_eq!(&middle, b"\0middle\0");
    }
    remove(&engine, &[&volume, &copy, &back]);
}

#[test]
fn privileged_hostile_archives_stay_in_their_volume() {
    let engine = Engine::isopod();
    let outside = tempfile::tempdir().unwrap();
    let place = outside.path().display().to_string();
    let below = place.trim_start_matches('/');
    let import = |name: &str, tar: &[u8]| engine.upload(&format!("/volumes/{name}/import"), tar);
    let traps = [
        Layer::new().symlink("out", &place).file("out/file", 0o644, b"x").bytes(),
        Layer::new()
            .symlink("up", "../../../../..")
            .file(&format!("up/{below}/file"), 0o644, b"x")
            .bytes(),
        Layer::new().hardlink("passwd", "../../../../../../etc/passwd").bytes(),
        Layer::new()
            .symlink("link", "/etc/passwd")
            .hardlink("hard", "link")
            .file("hard", 0o600, b"")
            .bytes(),
    ];
    for tar in traps {
        let name = unique("trap");
        let answer = import(&name, &tar);
        assert!(matches!(answer.status, 201 | 400), "{}: {}", answer.status, answer.text());
        if answer.status == 201 {
            remove(&engine, &[&name]);
        } else {
            assert_eq!(engine.get(&format!("/volumes/{name}")).status, 404);
        }
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0, "something got out");
        assert!(std::fs::read_to_string("/etc/passwd").unwrap().contains("root:"));
    }
    // What is none, or was cut, makes no volume.
    let whole = Layer::new().file("big", 0o644, &[7; 100_000]).bytes();
    for broken in [&b"nonsense, and not a tar at all"[..], &whole[..50_000]] {
        let name = unique("broken");
        let answer = import(&name, broken).expect(400);
        assert!(!answer.message().is_empty());
        assert_eq!(engine.get(&format!("/volumes/{name}")).status, 404);
    }
    for entry in std::fs::read_dir(engine.data_root.join("volumes")).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with(".new-") {
            // Others of this run may be making theirs.
            let path = entry.path();
            let what = format!("{} is gone", path.display());
            eventually(&what, Duration::from_secs(60), || (!path.exists()).then_some(()));
        }
    }
}

/// A btrfs in a file, mounted below a directory; gone when dropped.
struct Btrfs(tempfile::TempDir);

impl Btrfs {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        std::fs::File::create(&image).unwrap().set_len(512 << 20).unwrap();
        std::fs::create_dir(folder.path().join("disk")).unwrap();
        let run = |program: &str, arguments: &[&str]| {
            let done =
                Command::new(program).args(arguments).current_dir(folder.path()).output().unwrap();
            assert!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr));
        };
        run("mkfs.btrfs", &["-q", "image"]);
        run("mount", &["-o", "loop", "image", "disk"]);
        Self(folder)
    }

    fn disk(&self) -> PathBuf {
        self.0.path().join("disk")
    }

    fn free(&self) -> u64 {
        rustix::fs::sync();
        let found = rustix::fs::statvfs(self.disk()).unwrap();
        found.f_bfree * found.f_frsize
    }
}

impl Drop for Btrfs {
    fn drop(&mut self) {
        let _ = unmount(self.disk(), UnmountFlags::DETACH);
    }
}

#[test]
fn privileged_clones_share_their_blocks_where_the_file_system_can() {
    let disk = Btrfs::new();
    let root = disk.disk().join("data").display().to_string();
    let daemon = Daemon::isopod_with(&["--data-root", &root]);
    let engine = daemon.engine();
    let _ = engine.post("/volumes/create", &json!({"Name": "large"})).expect(201);
    std::fs::write(data(&engine, "large").join("file"), vec![7; 64 << 20]).unwrap();
    let before = disk.free();
    let _ = engine.post("/volumes/large/clone", &json!({"Name": "copy"})).expect(201);
    let taken = before.saturating_sub(disk.free());
    assert!(taken < 8 << 20, "a clone of 64 MiB took {taken} bytes");
    let copy = data(&engine, "copy").join("file");
    assert!(std::fs::read(&copy).unwrap() == vec![7; 64 << 20]);
    std::fs::write(&copy, "changed").unwrap();
    assert_eq!(std::fs::metadata(data(&engine, "large").join("file")).unwrap().len(), 64 << 20);
    daemon.stop().unwrap();
}

/// Everything or nothing: what is there has all its files.
fn count(engine: &Engine, name: &str) -> Option<usize> {
    let answer = engine.get(&format!("/volumes/{name}"));
    assert!(matches!(answer.status, 200 | 404), "{}", answer.text());
    (answer.status == 200).then(|| std::fs::read_dir(data(engine, name)).unwrap().count())
}

#[test]
fn privileged_alone_a_killed_daemon_leaves_whole_volumes_and_secrets_or_none() {
    const FILES: usize = 400;
    let mut daemon = Daemon::isopod();
    let engine = daemon.engine();
    let _ = engine.post("/volumes/create", &json!({"Name": "source"})).expect(201);
    let source = data(&engine, "source");
    let mut tar = Layer::new();
    for number in 0..FILES {
        std::fs::write(source.join(format!("f{number}")), vec![1; 3000]).unwrap();
        tar = tar.file(&format!("f{number}"), 0o644, &[1; 3000]);
    }
    let tar = tar.bytes();
    let ask = |path: String, body: Value| {
        let socket = engine.client();
        std::thread::spawn(move || {
            let answer =
                socket.attempt("POST", &format!("{VERSION}{path}"), body.to_string().as_bytes());
            answer.is_ok_and(|answer| answer.status < 300)
        })
    };
    for round in 0..12_u64 {
        let (clone, back, secret) =
            (format!("clone{round}"), format!("back{round}"), format!("secret{round}"));
        let cloning = ask("/volumes/source/clone".to_owned(), json!({"Name": clone}));
        let keeping = ask(
            "/isopod/secrets/create".to_owned(),
            json!({"Name": secret, "Data": "aHVudGVyMg=="}),
        );
        let importing = {
            let (client, tar, path) =
                (engine.client(), tar.clone(), format!("{VERSION}/volumes/{back}/import"));
            std::thread::spawn(move || {
                let headers = [("Content-Type", "application/x-tar")];
                client
                    .attempt_with("POST", &path, &headers, &tar)
                    .is_ok_and(|answer| answer.status < 300)
            })
        };
        std::thread::sleep(Duration::from_millis(round * 7));
        daemon.kill();
        let (cloned, kept, imported) =
            (cloning.join().unwrap(), keeping.join().unwrap(), importing.join().unwrap());
        daemon.restart();
        for (name, answered) in [(&clone, cloned), (&back, imported)] {
            match count(&engine, name) {
                Some(found) => assert_eq!(found, FILES, "round {round}: half of {name} shows"),
                None => assert!(!answered, "round {round}: {name} is lost"),
            }
        }
        let found = engine.get(&format!("/isopod/secrets/{secret}")).status;
        assert!(found == 200 || !kept && found == 404, "round {round}: {found}");
        let entries = std::fs::read_dir(daemon.folder().join("data/volumes")).unwrap().flatten();
        for entry in entries {
            let name = entry.file_name().to_string_lossy().into_owned();
            assert!(!name.starts_with('.'), "round {round}: {name} is left");
        }
    }
    daemon.stop().unwrap();
}

#[test]
fn privileged_what_a_container_writes_belongs_to_the_owner_of_the_source() {
    let engine = Engine::isopod();
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(folder.path(), Some(4321), Some(4322)).unwrap();
    std::fs::write(folder.path().join("roots"), "").unwrap();
    let source = folder.path().display().to_string();
    let cli = engine.isopod_cli(&[
        "run",
        "--rm",
        "--network=none",
        "--mount",
        &format!("type=bind,src={source},dst=/b,idmap"),
        "busybox",
        "sh",
        "-c",
        "stat -c %u:%g /b; touch /b/made; mkdir /b/dir; echo x >> /b/roots || echo refused",
    ]);
    assert_eq!(cli.success(), "0:0\nrefused");
    for name in ["made", "dir"] {
        let made = std::fs::metadata(folder.path().join(name)).unwrap();
        assert_eq!((made.uid(), made.gid()), (4321, 4322), "{name}");
    }
    let short = json!({"HostConfig": {"Binds": [format!("{source}:/b:idmap")]}});
    let _ = engine.sh("touch /b/short", short);
    assert_eq!(std::fs::metadata(folder.path().join("short")).unwrap().uid(), 4321);
    let plain = json!({"HostConfig": {"Binds": [format!("{source}:/b")]}});
    let _ = engine.sh("touch /b/plain", plain);
    assert_eq!(std::fs::metadata(folder.path().join("plain")).unwrap().uid(), 0);
}

#[test]
fn privileged_a_volume_that_changes_is_copied_all_the_same() {
    let daemon = Daemon::isopod();
    let engine = daemon.engine();
    let _ = engine.upload("/images/load?quiet=1", &busybox(&["busybox:latest"]).tar).expect(200);
    let churn = "cd /v; while :; do mkdir -p d; echo x > d/f; ln -sf /etc d/l; rm -rf d; mkdir e; \
                 rmdir e; ln -s /etc e; rm e; done";
    let binds = json!({"Cmd": ["sh", "-c", churn], "HostConfig": {"Binds": ["busy:/v"]}});
    let writer = engine.sleeper(binds);
    for round in 0..20 {
        let name = format!("copy{round}");
        let _ = engine.post("/volumes/busy/clone", &json!({"Name": name})).expect(201);
        let there = data(&engine, &name);
        let names = std::fs::read_dir(&there).unwrap().flatten();
        assert!(names.map(|entry| entry.file_name()).all(|name| name == "d" || name == "e"));
        assert!(!there.join("e/passwd").exists() || there.join("e").is_symlink());
    }
    writer.remove();
    eventually("the volume can be removed", Duration::from_secs(30), || {
        (engine.delete("/volumes/busy").status == 204).then_some(())
    });
    daemon.stop().unwrap();
}
