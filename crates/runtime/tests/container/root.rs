//! Root file systems, mounts, devices, masks.

use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::Path;

use runtime::{Root, Step};
use serde_json::json;
use sys::mount::FsContext;

use crate::fixture::{Fixture, kill};

fn bind(fixture: Fixture, source: &Path, dest: &str, options: &[&str]) -> Fixture {
    fixture.mount(json!({
        "destination": dest, "type": "bind", "source": source, "options": options
    }))
}

#[test]
fn privileged_nothing_of_the_host_is_left() {
    let out = Fixture::sh("cut -d' ' -f5 /proc/self/mountinfo; ls /; ls /..; ls /../..").run().ok();
    let mut expected =
        vec!["/", "/proc", "/dev", "/dev/pts", "/sys", "/sys/fs/cgroup", "/dev/mqueue", "/dev/shm"];
    for (path, alike) in [
        ("/proc/bus", "/proc/bus"),
        ("/proc/fs", "/proc/fs"),
        ("/proc/irq", "/proc/irq"),
        ("/proc/sys", "/proc/sys"),
        ("/proc/sysrq-trigger", "/proc/sysrq-trigger"),
        ("/proc/asound", "/proc/asound"),
        ("/proc/acpi", "/proc/acpi"),
        ("/proc/kcore", "/proc/kcore"),
        ("/proc/keys", "/proc/keys"),
        ("/proc/latency_stats", "/proc/latency_stats"),
        ("/proc/timer_list", "/proc/timer_list"),
        ("/proc/scsi", "/proc/scsi"),
        ("/sys/firmware", "/sys/firmware"),
        ("/proc/timer_stats", "/proc/timer_stats"),
        ("/proc/sched_debug", "/proc/sched_debug"),
    ] {
        if Path::new(path).exists() {
            expected.push(alike);
        }
    }
    let mounts: Vec<&str> = out
        .lines()
        .take_while(|l| l.starts_with('/'))
        .filter(|l| !l.starts_with("/sys/fs/cgroup/"))
        .collect();
    let mut sorted = (mounts.clone(), expected.clone());
    sorted.0.sort_unstable();
    sorted.1.sort_unstable();
    assert_eq!(sorted.0, sorted.1);
    let listing = "bin\ndev\netc\nproc\nroot\nsys\ntmp\n";
    assert!(out.ends_with(&listing.repeat(3)), "{out}");
}

#[test]
fn privileged_host_sees_no_mounts() {
    let before = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let fixture = Fixture::new(&["sleep", "100"]);
    let running = fixture.start();
    assert_eq!(std::fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
    kill(running);
    assert_eq!(std::fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
}

#[test]
fn privileged_detached_overlay_is_the_root() {
    let fixture = Fixture::sh("echo new > /etc/new; cat /etc/passwd | wc -l; mount | grep ' / '");
    for dir in ["upper", "work"] {
        std::fs::create_dir(fixture.dir.path().join(dir)).unwrap();
    }
    let overlay = FsContext::open("overlay").unwrap();
    overlay.string("source", "overlay").unwrap();
    overlay.string("lowerdir+", fixture.root()).unwrap();
    overlay.string("upperdir", fixture.dir.path().join("upper")).unwrap();
    overlay.string("workdir", fixture.dir.path().join("work")).unwrap();
    let mount = overlay.mount(0).unwrap();
    let out = fixture.try_run_on(Root::Detached(mount)).unwrap().ok();
    assert!(out.starts_with("2\noverlay on / type overlay (rw"), "{out}");
    assert!(fixture.dir.path().join("upper/etc/new").exists());
    assert!(!fixture.root().join("etc/new").exists());
}

#[test]
fn privileged_dev_is_complete() {
    let script = "cd /dev; for d in null zero full tty random urandom; do test -c $d || echo no $d; done; \
                  stat -c '%a %t:%T' null; for l in fd stdin stdout stderr ptmx; do readlink $l; done; test -d shm -a -d mqueue; \
                  echo x > /dev/null; head -c 3 /dev/zero | wc -c; echo through > /dev/stdout";
    let out = Fixture::sh(script).run().ok();
    assert_eq!(
        out,
        "666 1:3\n/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx\n3\nthrough\n"
    );
}

#[test]
fn privileged_devices_of_the_specification() {
    let out = Fixture::sh("stat -c '%a %u:%g %t:%T %F' /dev/sub/fuse /dev/pipe")
        .with(|s| {
            s["linux"]["devices"] = json!([
                {"path": "/dev/sub/fuse", "type": "c", "major": 10, "minor": 229,
                 "fileMode": 0o640, "uid": 7, "gid": 8},
                {"path": "/dev/pipe", "type": "p", "fileMode": 0o600}
            ]);
        })
        .run()
        .ok();
    assert_eq!(out, "640 7:8 a:e5 character special file\n600 0:0 0:0 fifo\n");
}

#[test]
fn privileged_masked_and_read_only_paths() {
    let script = "wc -c < /proc/keys; wc -c < /proc/timer_list; ls /sys/firmware | wc -l; \
                  echo 1 > /proc/sys/kernel/hostname; touch /sys/x";
    let out = Fixture::sh(script).run();
    assert_eq!(out.stdout, "0\n0\n0\n");
    assert_eq!(out.stderr.matches("Read-only file system").count(), 2, "{}", out.stderr);
}

#[test]
fn privileged_root_is_read_only() {
    let out = Fixture::sh("touch /x; touch /etc/x; touch /dev/shm/x && echo shm; pwd")
        .with(|s| {
            s["root"]["readonly"] = json!(true);
            s["process"]["cwd"] = json!("/tmp");
        })
        .run();
    assert_eq!(out.stdout, "shm\n/tmp\n");
    assert_eq!(out.stderr.matches("Read-only file system").count(), 2, "{}", out.stderr);
}

#[test]
fn privileged_bind_mounts() {
    let fixture = Fixture::sh(
        "cat /a/f; touch /a/new; touch /b/x; cat /deep/er/file; echo more >> /deep/er/file; mount | grep ' /c '",
    );
    let source = fixture.dir.path().join("source");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("f"), "file\n").unwrap();
    let fixture = bind(fixture, &source, "/a", &["rbind", "rprivate"]);
    let fixture = bind(fixture, &source, "/b", &["rbind", "ro", "rprivate"]);
    let fixture = bind(fixture, &source.join("f"), "/deep/er/file", &["bind", "rprivate"]);
    let fixture = bind(fixture, &source, "/c", &["bind", "nosuid", "nodev", "noexec", "noatime"]);
    let out = fixture.run();
    assert!(out.stdout.starts_with("file\nfile\n"), "{} {}", out.stdout, out.stderr);
    for option in ["nosuid", "nodev", "noexec", "noatime"] {
        assert!(out.stdout.contains(option), "{option}: {}", out.stdout);
    }
    assert_eq!(out.stderr.matches("Read-only file system").count(), 1, "{}", out.stderr);
    assert!(source.join("new").exists());
    assert_eq!(std::fs::read_to_string(source.join("f")).unwrap(), "file\nmore\n");
}

#[test]
fn privileged_recursive_read_only() {
    let fixture =
        Fixture::sh("touch /plain/sub/x && echo plain; touch /rro/sub/y && echo rro; true");
    let source = fixture.dir.path().join("source");
    std::fs::create_dir_all(source.join("sub")).unwrap();
    let tmpfs = FsContext::open("tmpfs").unwrap().mount(0).unwrap();
    sys::mount::attach_at(&tmpfs, sys::fs::CWD, source.join("sub")).unwrap();
    let fixture = bind(fixture, &source, "/plain", &["rbind", "ro"]);
    let fixture = bind(fixture, &source, "/rro", &["rbind", "rro"]);
    let out = fixture.run();
    sys::mount::unmount(source.join("sub"), sys::mount::UnmountFlags::DETACH).unwrap();
    assert_eq!(out.stdout, "plain\n", "{}", out.stderr);
}

#[test]
fn privileged_missing_bind_source() {
    let fixture = bind(Fixture::new(&["true"]), Path::new("/none/such"), "/x", &["rbind"]);
    let error = fixture.fails();
    assert_eq!(
        error.to_string(),
        "error mounting \"/none/such\" to rootfs at \"/x\": cannot open the source: no such file or directory"
    );
    assert_eq!(error.step(), Step::Mount);
}

#[test]
fn privileged_symlinks_at_mount_targets_stay_inside() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("f"), "").unwrap();
    let fixture = Fixture::sh("cat /etc/target/f; ls /made/by/link");
    let root = fixture.root();
    let source = fixture.dir.path().join("source");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("f"), "mounted\n").unwrap();
    // Links that lead out when they are followed on the host.
    symlink("../../../../../etc/target", root.join("up")).unwrap();
    symlink(outside.path(), root.join("absolute")).unwrap();
    symlink("/made/by", root.join("dir")).unwrap();
    let fixture = bind(fixture, &source, "/up", &["rbind"]);
    let fixture = bind(fixture, &source, "/absolute", &["rbind"]);
    let fixture = bind(fixture, &source.join("f"), "/absolute2/../absolute/f", &["bind"]);
    let fixture = bind(fixture, &source, "/dir/link", &["rbind"]);
    assert_eq!(fixture.run().ok(), "mounted\nf\n");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1, "nothing was made outside");
    assert!(root.join("etc/target").is_dir());
    assert!(root.join("made/by/link").is_dir());
    assert!(root.join(outside.path().strip_prefix("/").unwrap()).is_dir());
}

#[test]
fn privileged_proc_as_symlink_does_not_fool() {
    let fixture = Fixture::sh("cat /proc/self/status | grep -c Name");
    std::fs::remove_dir(fixture.root().join("proc")).unwrap();
    symlink("/tmp", fixture.root().join("proc")).unwrap();
    // It is mounted where the link leads, and the masks follow the same link.
    assert_eq!(fixture.run().ok(), "1\n");
}

#[test]
fn privileged_binds_into_proc_are_refused() {
    let fixture = Fixture::new(&["true"]);
    let source = fixture.root().join("etc");
    let error = bind(fixture, &source, "/proc/self/attr", &["rbind"]).fails();
    assert!(error.to_string().contains("inside /proc"), "{error}");
    let fixture = Fixture::sh("cat /proc/uptime");
    let source = fixture.root().join("etc/passwd");
    assert!(bind(fixture, &source, "/proc/uptime", &["bind"]).run().ok().starts_with("root:"));
}

#[test]
fn privileged_tmpfs_options_and_copy_up() {
    let fixture = Fixture::sh(
        "mount | grep ' /t '; stat -c %a /t; ls -l /etc | grep -c passwd; echo x > /etc/new; \
         stat -c '%a %u' /etc/sub /etc/sub/f; cat /etc/sub/f; readlink /etc/l",
    );
    let root = fixture.root();
    std::fs::create_dir(root.join("etc/sub")).unwrap();
    std::fs::write(root.join("etc/sub/f"), "deep\n").unwrap();
    std::os::unix::fs::chown(root.join("etc/sub/f"), Some(5), Some(5)).unwrap();
    symlink("sub/f", root.join("etc/l")).unwrap();
    let fixture = fixture
        .mount(json!({"destination": "/t", "type": "tmpfs", "source": "tmpfs",
            "options": ["noexec", "size=64k", "mode=1700", "nr_inodes=1k"]}))
        .mount(json!({"destination": "/etc", "type": "tmpfs", "source": "tmpfs",
            "options": ["tmpcopyup", "rw"]}));
    let out = fixture.run().ok();
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].contains("noexec") && lines[0].contains("size=64k"), "{out}");
    assert_eq!(lines[1..], ["1700", "1", "755 0", "644 5", "deep", "sub/f"]);
    assert!(!root.join("etc/new").exists());
}

#[test]
fn privileged_bad_mounts_say_why() {
    let error = Fixture::new(&["true"])
        .mount(json!({"destination": "/x", "type": "tmpfs", "options": ["size=abc"]}))
        .fails();
    assert!(error.to_string().contains("size"), "{error}");
    let error = Fixture::new(&["true"])
        .mount(json!({"destination": "/x", "type": "nonesuchfs", "source": "x"}))
        .fails();
    assert_eq!(error.errno(), Some(sys::errno::ENODEV), "{error}");
    let error = Fixture::new(&["true"])
        .mount(json!({"destination": "/etc/passwd", "type": "tmpfs", "source": "x"}))
        .fails();
    assert_eq!(error.errno(), Some(sys::errno::ENOTDIR), "{error}");
}

#[test]
fn privileged_cgroups_are_the_own_ones() {
    let fixture = Fixture::sh(
        "cat /proc/self/cgroup; ls /sys/fs/cgroup; cat /sys/fs/cgroup/pids/cgroup.procs /sys/fs/cgroup/cgroup.procs; mkdir /sys/fs/cgroup/pids/x /sys/fs/cgroup/x",
    );
    let out = fixture.run();
    for line in out.stdout.lines().filter(|l| l.contains("::") || l.contains(":pids:")) {
        assert!(line.ends_with(":/"), "{line}");
    }
    assert!(out.stdout.contains("\n1\n"), "its own process is in it: {}", out.stdout);
    assert!(out.stderr.contains("Read-only file system"), "{}", out.stderr);
}

#[test]
fn privileged_propagation() {
    let base = tempfile::tempdir().unwrap();
    let tmpfs = FsContext::open("tmpfs").unwrap().mount(0).unwrap();
    sys::mount::attach_at(&tmpfs, sys::fs::CWD, base.path()).unwrap();
    let shared = sys::mount::SetAttr {
        propagation: Some(sys::mount::MountPropagationFlags::SHARED),
        ..Default::default()
    };
    sys::mount::set_attr(&tmpfs, false, shared).unwrap();
    for sub in ["shared", "slave", "private"] {
        std::fs::create_dir(base.path().join(sub)).unwrap();
    }
    let mut fixture = Fixture::sh(
        "mkdir /shared/m /private/m; mount -t tmpfs in /shared/m && mount -t tmpfs in /private/m && sleep 100",
    );
    for sub in ["shared", "slave", "private"] {
        let option = format!("r{sub}");
        fixture = bind(fixture, &base.path().join(sub), &format!("/{sub}"), &["rbind", &option]);
    }
    let fixture = fixture.with(|s| {
        for set in ["bounding", "effective", "permitted"] {
            s["process"]["capabilities"][set].as_array_mut().unwrap().push(json!("CAP_SYS_ADMIN"));
        }
    });
    let running = fixture.start();
    for _ in 0..100 {
        if std::fs::read_to_string(format!("/proc/{}/comm", running.pid)).unwrap() == "sleep\n" {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    std::fs::create_dir(base.path().join("slave/host")).unwrap();
    std::fs::create_dir(base.path().join("private/host")).unwrap();
    let more = FsContext::open("tmpfs").unwrap().mount(0).unwrap();
    sys::mount::attach_at(&more, sys::fs::CWD, base.path().join("slave/host")).unwrap();
    let host = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let inside = std::fs::read_to_string(format!("/proc/{}/mountinfo", running.pid)).unwrap();
    kill(running);
    let base_text = base.path().to_str().unwrap();
    let at = |sub: &str| host.contains(&format!("{base_text}/{sub} "));
    let result = (at("shared/m"), at("private/m"), inside.contains(" /slave/host "));
    for sub in ["shared/m", "slave/host", ""] {
        let _ = sys::mount::unmount(base.path().join(sub), sys::mount::UnmountFlags::DETACH);
    }
    assert_eq!(result, (true, false, true));
    let _ = more.as_fd();
}

#[test]
fn privileged_sysctls() {
    let set = |name: &str, value: &str| {
        Fixture::sh("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shm_rmid_forced")
            .with(|s| s["linux"]["sysctl"] = json!({name: value, "kernel.shm_rmid_forced": "1"}))
    };
    assert_eq!(set("net.ipv4.ip_forward", "1").run().ok(), "1\n1\n");
    let error = set("net.ipv4.nonesuch", "1").fails();
    assert_eq!(
        error.to_string(),
        "failed to write sysctl net.ipv4.nonesuch=1: no such file or directory"
    );
    let error = set("vm.swappiness", "1").fails();
    assert!(error.to_string().contains("not in a separate kernel namespace"), "{error}");
}
