//! What a container sees of itself and of its host: namespaces, mounts, devices, capabilities,
//! system calls, users.

use testkit::{Value, eventually, json, on_both};

/// Runs the host's Python inside, for system calls that busybox has no command for.
fn python() -> Value {
    json!(["/usr:/usr:ro", "/lib:/lib:ro", "/lib64:/lib64:ro"])
}

/// System calls: name, number on x86-64, arguments, wanted errno by default, and unconfined errno.
/// Each call is harmless whatever the answer: its arguments are wrong in another way as well.
const PROBES: &str = r"
import ctypes, errno, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def call(name, number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(number, *[ctypes.c_long(one) for one in arguments])
    print(name, errno.errorcode.get(ctypes.get_errno(), '0') if result < 0 else 'ok')
call('add_key', 248, 0, 0, 0, 0, 0)
call('keyctl', 250, 0, 0, 0, 0, 0)
call('bpf', 321, 0, 0, 0)
call('mount', 165, 0, 0, 0, 0, 0)
call('umount2', 166, 0, 0)
call('pivot_root', 155, 0, 0)
call('swapon', 167, 0, 0)
call('reboot', 169, 0, 0, 0, 0)
call('kexec_load', 246, 0, 0, 0, 0)
call('init_module', 175, 0, 0, 0)
call('delete_module', 176, 0, 0)
call('open_by_handle_at', 304, 0, 0, 0)
call('userfaultfd', 323, 0xffff)
call('perf_event_open', 298, 0, 0, 0, 0, 0)
call('settimeofday', 164, 0, 0)
call('clock_settime', 227, 0, 0)
call('acct', 163, 0)
call('quotactl', 179, 0, 0, 0, 0)
call('unshare_user', 272, 0x10000000)
call('unshare_net', 272, 0x40000000)
call('setns', 308, -1, 0)
call('iopl', 172, 3)
call('ioperm', 173, 0, 1, 1)
call('move_pages', 279, 0, 0, 0, 0, 0, 0)
call('mbind', 237, 0, 0, 0, 0, 0, 0)
call('personality_linux32', 135, 0x0008)
call('personality_query', 135, 0xffffffff)
call('personality_odd', 135, 0x0040000)
call('process_vm_readv', 310, 0, 0, 0, 0, 0, 0)
call('nfsservctl', 180, 0, 0, 0)
call('uselib', 134, 0)
call('ustat', 136, 0, 0)
call('sysfs', 139, 9, 0, 0)
call('lookup_dcookie', 212, 0, 0, 0)
call('vhangup', 153)
call('socket_vsock', 41, 40, 1, 0)
call('chroot', 161, 0)
call('getpid', 39)
call('unknown', 9999)
";

on_both! {
    fn privileged_namespaces_are_own(engine) {
        let container = engine.sleeper(json!({}));
        let pid = container.inspect()["State"]["Pid"].as_i64().unwrap();
        for name in ["mnt", "pid", "net", "ipc", "uts"] {
            let theirs = std::fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap();
            let ours = std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
            assert_ne!(theirs, ours, "{name}");
        }
        assert!(container.sh("ls /proc | grep -c '^[0-9]'").parse::<u32>().unwrap() < 9);
        assert_eq!(container.sh("readlink /proc/1/exe | grep -c busybox"), "1");
    }

    fn privileged_host_namespaces(engine) {
        let own = |name: &str| std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap().display().to_string();
        let config = json!({"HostConfig": {"PidMode": "host", "IpcMode": "host", "UTSMode": "host", "CgroupnsMode": "host"}});
        let seen = engine.sh("for n in pid ipc uts cgroup; do readlink /proc/self/ns/$n; done", config);
        assert_eq!(seen, format!("{}\n{}\n{}\n{}\n", own("pid"), own("ipc"), own("uts"), own("cgroup")));
        let seen = engine.sh("readlink /proc/self/ns/net", json!({"HostConfig": {"NetworkMode": "host"}}));
        let theirs = engine.on_its_network(|| std::fs::read_link("/proc/thread-self/ns/net").unwrap().display().to_string());
        assert_eq!(seen.trim(), theirs);
    }

    fn privileged_a_private_cgroup_namespace(engine) {
        let seen = engine.sh("cat /proc/self/cgroup", json!({"HostConfig": {"CgroupnsMode": "private"}}));
        assert!(seen.lines().all(|line| line.ends_with(":/")), "{seen}");
    }

    fn privileged_namespaces_of_another_container(engine) {
        let other = engine.sleeper(json!({"HostConfig": {"IpcMode": "shareable", "NetworkMode": "none"}}));
        let there = other.sh("for n in pid ipc net; do readlink /proc/self/ns/$n; done; echo there > /dev/shm/file");
        let of = format!("container:{}", other.id);
        let config = json!({"HostConfig": {"PidMode": of, "IpcMode": of, "NetworkMode": format!("container:{}", other.name)}});
        let seen = engine.sh("for n in pid ipc net; do readlink /proc/self/ns/$n; done; cat /dev/shm/file; ps | grep -c trap", config);
        assert!(seen.starts_with(&there), "{seen} {there}");
        assert!(seen.contains("\nthere\n"), "{seen}");
        let private = engine.sleeper(json!({"HostConfig": {"IpcMode": "private"}}));
        let refused = engine.create(json!({"Cmd": ["true"], "HostConfig": {"IpcMode": format!("container:{}", private.id)}}));
        let answer = engine.act(&refused.path("/start"));
        assert!(answer.status >= 400 && answer.message().contains("non-shareable IPC"), "{} {}", answer.status, answer.text());
        let missing = engine.post("/containers/create", &json!({"Image": "busybox", "HostConfig": {"PidMode": "container:nobody"}}));
        if missing.status == 201 {
            let id = missing.json()["Id"].as_str().unwrap().to_owned();
            assert!(engine.act(&format!("/containers/{id}/start")).status >= 400);
            let _ = engine.delete(&format!("/containers/{id}")).ok();
        } else {
            assert!(matches!(missing.status, 400 | 404 | 409), "{}", missing.status);
        }
    }

    fn privileged_host_and_domain_names(engine) {
        let container = engine.sleeper(json!({}));
        assert_eq!(container.sh("hostname"), container.id[..12]);
        assert_eq!(container.sh("cat /etc/hostname"), container.id[..12]);
        let seen = engine.sh("hostname; cat /proc/sys/kernel/domainname; cat /etc/hostname; tail -1 /etc/hosts", json!({"Hostname": "hosty", "Domainname": "example.org", "HostConfig": {"NetworkMode": "bridge"}}));
        let lines: Vec<&str> = seen.lines().collect();
        assert_eq!(&lines[..2], ["hosty", "example.org"], "{seen}");
        assert!(lines[2].starts_with("hosty"), "{seen}");
        assert!(lines[3].contains("hosty.example.org"), "{seen}");
    }

    fn privileged_hosts_and_resolv_conf(engine) {
        let seen = engine.sh("cat /etc/hosts /etc/resolv.conf", json!({"HostConfig": {"NetworkMode": "bridge", "ExtraHosts": ["some:1.2.3.4", "gate:host-gateway"], "Dns": ["9.8.7.6"], "DnsSearch": ["example.org"], "DnsOptions": ["ndots:3"]}}));
        for line in ["127.0.0.1\tlocalhost", "1.2.3.4\tsome", "nameserver 9.8.7.6", "search example.org", "options ndots:3"] {
            assert!(seen.contains(line), "{line:?} not in {seen}");
        }
        assert!(seen.lines().any(|line| line.ends_with("\tgate") && line.starts_with("172.")), "{seen}");
    }

    fn privileged_proc_is_masked(engine) {
        let container = engine.sleeper(json!({}));
        let seen = container.sh("for f in kcore keys latency_stats timer_list sched_debug; do test ! -e /proc/$f || head -c 9 /proc/$f; done; for d in /proc/acpi /proc/scsi /sys/firmware; do test ! -d $d || ls $d; done");
        assert_eq!(seen, "");
        let mounts = container.sh("cat /proc/mounts");
        for path in ["/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs"] {
            let there = container.exec(&["test", "-e", path]).code == 0;
            assert!(!there || mounts.contains(&format!("proc {path} proc ro,")), "{path}: {mounts}");
        }
        let output = container.exec(&["sh", "-c", "echo x > /proc/sys/kernel/hostname"]);
        assert!(output.stderr.contains("Read-only file system"), "{output:?}");
        let output = container.exec(&["sh", "-c", "mkdir /sys/x; mkdir /sys/fs/cgroup/memory/x /sys/fs/cgroup/x"]);
        assert!(output.code != 0 && output.stderr.matches("Read-only file system").count() >= 2, "{output:?}");
        let paths = container.inspect()["HostConfig"]["MaskedPaths"].clone();
        assert!(paths.as_array().unwrap().contains(&json!("/proc/kcore")), "{paths}");
    }

    fn privileged_masked_paths_can_be_lifted(engine) {
        let seen = engine.sh("wc -c < /proc/timer_list; grep -c ' /proc/' /proc/self/mountinfo || true", json!({"HostConfig": {"MaskedPaths": [], "ReadonlyPaths": []}}));
        assert!(seen.lines().last() == Some("0"), "{seen}");
    }

    fn privileged_the_usual_mounts(engine) {
        let seen = engine.sh("awk '{print $2, $3}' /proc/mounts", json!({}));
        for mount in ["/proc proc", "/dev tmpfs", "/dev/pts devpts", "/sys sysfs", "/dev/mqueue mqueue", "/dev/shm tmpfs"] {
            assert!(seen.lines().any(|line| line == mount), "{mount} not in\n{seen}");
        }
        assert!(seen.starts_with("/ overlay"), "{seen}");
    }

    fn privileged_the_usual_devices(engine) {
        let container = engine.sleeper(json!({}));
        let seen = container.sh("cd /dev; for d in null zero full random urandom tty; do stat -c '%n %t:%T %a' $d; done; for l in fd stdin stdout stderr ptmx; do readlink $l; done; ls | sort | tr '\\n' ' '");
        for line in ["null 1:3 666", "zero 1:5 666", "full 1:7 666", "random 1:8 666", "urandom 1:9 666", "tty 5:0 666", "/proc/self/fd", "/proc/self/fd/0", "pts/ptmx"] {
            assert!(seen.contains(line), "{line} not in\n{seen}");
        }
        assert!(seen.replace("core ", "").ends_with("fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero "), "{seen}");
        // Whoever makes a device that was not given cannot open it.
        let output = container.exec(&["sh", "-c", "mknod /tmp/mem c 1 1 && cat /tmp/mem | head -c 1"]);
        assert!(output.stderr.contains("Operation not permitted"), "{output:?}");
        let _ = container.sh("mknod /tmp/null2 c 1 3 && echo x > /tmp/null2");
    }

    fn privileged_devices_are_given(engine) {
        let container = engine.sleeper(json!({"HostConfig": {"Devices": [{"PathOnHost": "/dev/loop-control", "PathInContainer": "/dev/given", "CgroupPermissions": "r"}]}}));
        assert_eq!(container.sh("stat -c %t:%T /dev/given"), "a:ed");
        let output = container.exec(&["sh", "-c", "exec 3< /dev/given && echo opened"]);
        assert!(output.stdout == "opened\n", "{output:?}");
        let output = container.exec(&["sh", "-c", "echo x > /dev/given"]);
        assert!(output.stderr.contains("Operation not permitted"), "{output:?}");
        let container = engine.sleeper(json!({"HostConfig": {"DeviceCgroupRules": ["c 10:237 rwm"]}}));
        let _ = container.sh("mknod /tmp/k c 10 237 && exec 3< /tmp/k");
        let answer = engine.post("/containers/create", &json!({"Image": "busybox", "HostConfig": {"DeviceCgroupRules": ["nonsense"]}}));
        if answer.status == 201 {
            let id = answer.json()["Id"].as_str().unwrap().to_owned();
            assert!(engine.act(&format!("/containers/{id}/start")).status >= 400);
            let _ = engine.delete(&format!("/containers/{id}")).ok();
        }
        let missing = engine.create(json!({"HostConfig": {"Devices": [{"PathOnHost": "/dev/nothing-here", "PathInContainer": "/dev/x", "CgroupPermissions": "r"}]}}));
        let answer = engine.act(&missing.path("/start"));
        assert!(answer.status >= 400 && answer.message().contains("/dev/nothing-here"), "{} {}", answer.status, answer.text());
    }

    fn privileged_shm_has_its_size(engine) {
        let size = "df -k /dev/shm | tail -1 | awk '{print $2}'";
        assert_eq!(engine.sh(size, json!({})).trim(), "65536");
        assert_eq!(engine.sh(size, json!({"HostConfig": {"ShmSize": 1 << 20}})).trim(), "1024");
    }

    fn privileged_capabilities(engine) {
        let of = |host: Value| engine.sh("grep -E 'Cap(Inh|Prm|Eff|Bnd|Amb)' /proc/self/status | cut -f2 | tr '\\n' ' '", json!({"HostConfig": host}));
        let none = "0000000000000000";
        let standard = "00000000a80425fb";
        assert_eq!(of(json!({})), format!("{none} {standard} {standard} {standard} {none} "));
        let added = of(json!({"CapAdd": ["NET_ADMIN", "CAP_SYS_PTRACE"]}));
        assert_eq!(added.split(' ').nth(2).unwrap(), "00000000a80c35fb");
        let dropped = of(json!({"CapDrop": ["NET_RAW", "chown"]}));
        assert_eq!(dropped.split(' ').nth(2).unwrap(), "00000000a80405fa");
        assert_eq!(of(json!({"CapDrop": ["ALL"]})), format!("{none} {none} {none} {none} {none} "));
        let few = of(json!({"CapDrop": ["ALL"], "CapAdd": ["KILL"]}));
        assert_eq!(few.split(' ').nth(3).unwrap(), "0000000000000020");
        let answer = engine.post("/containers/create", &json!({"Image": "busybox", "HostConfig": {"CapAdd": ["NONSENSE"]}}));
        assert_eq!(answer.status, 400);
        assert!(answer.message().to_lowercase().contains("unknown capability"), "{}", answer.text());
    }

    fn privileged_users_lose_capabilities(engine) {
        let seen = engine.sh("id; grep -E 'Cap(Prm|Eff|Bnd)' /proc/self/status | cut -f2", json!({"User": "app"}));
        assert!(seen.starts_with("uid=1000(app) gid=1001(app) groups=29(audio),44(video),1001(app)") || seen.contains("groups=1001(app),29(audio),44(video)"), "{seen}");
        assert!(seen.ends_with("0000000000000000\n0000000000000000\n00000000a80425fb\n"), "{seen}");
    }

    fn privileged_users_by_every_spelling(engine) {
        for (user, wanted) in [("app", "1000 1001"), ("1000", "1000 1001"), ("app:29", "1000 29"), ("app:audio", "1000 29"), ("12345", "12345 0"), ("12345:678", "12345 678"), ("0:0", "0 0")] {
            assert_eq!(engine.sh("echo $(id -u) $(id -g)", json!({"User": user})).trim(), wanted, "{user}");
        }
        let seen = engine.sh("id -G", json!({"User": "12345", "HostConfig": {"GroupAdd": ["audio", "777"]}}));
        let mut groups: Vec<&str> = seen.split_whitespace().collect();
        groups.sort_unstable();
        assert_eq!(groups, ["0", "29", "777"]);
        assert_eq!(engine.sh("echo $HOME", json!({"User": "app"})), "/home\n");
        for user in ["nobody-here", "app:nogroup-here"] {
            let container = engine.create(json!({"User": user, "Cmd": ["true"]}));
            let answer = engine.act(&container.path("/start"));
            assert!(answer.status >= 400, "{user}");
            assert!(answer.message().contains("unable to find"), "{}", answer.text());
        }
    }

    fn privileged_system_calls_are_filtered(engine) {
        let script = format!("/usr/bin/python3 -c \"{}\"", PROBES.replace('"', "\\\""));
        let seen = engine.sh(&script, json!({"HostConfig": {"Binds": python()}}));
        // Docker's default profile answers EPERM; what it does not know at all is ENOSYS.
        let refused = ["add_key", "keyctl", "bpf", "mount", "umount2", "pivot_root", "swapon", "reboot", "kexec_load", "init_module", "delete_module", "open_by_handle_at",
            "userfaultfd", "perf_event_open", "settimeofday", "clock_settime", "acct", "quotactl", "unshare_user", "unshare_net", "setns", "iopl", "ioperm", "move_pages", "mbind",
            "personality_odd", "nfsservctl", "uselib", "ustat", "sysfs", "lookup_dcookie", "vhangup"];
        for name in refused {
            let line = seen.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_else(|| panic!("{name} in {seen}"));
            assert!(line.ends_with(" EPERM") || line.ends_with(" ENOSYS"), "{line}");
        }
        for line in ["getpid ok", "personality_query ok", "personality_linux32 ok", "unknown ENOSYS", "chroot EFAULT"] {
            assert!(seen.lines().any(|one| one == line), "{line} not in\n{seen}");
        }
        if !engine.is_dockerd() {
            // Added to the profile after 20.10: vsock can reach past every namespace.
            assert!(seen.contains("socket_vsock EPERM"), "{seen}");
        }
        let open = engine.sh(&script, json!({"HostConfig": {"Binds": python(), "SecurityOpt": ["seccomp=unconfined"]}}));
        for line in ["keyctl EINVAL", "bpf EINVAL", "unshare_user ok"] {
            assert!(open.lines().any(|one| one == line), "{line} not in\n{open}");
        }
    }

    fn privileged_capabilities_open_system_calls(engine) {
        let script = format!("/usr/bin/python3 -c \"{}\"", PROBES.replace('"', "\\\""));
        let seen = engine.sh(&script, json!({"HostConfig": {"Binds": python(), "CapAdd": ["SYS_ADMIN", "SYS_TIME"]}}));
        for line in ["mount EFAULT", "setns EBADF"] {
            assert!(seen.lines().any(|one| one == line), "{line} not in\n{seen}");
        }
        assert!(seen.contains("unshare_net ok"), "{seen}");
    }

    fn privileged_thirty_two_bit_calls_are_filtered_too(engine) {
        if std::env::consts::ARCH != "x86_64" {
            return;
        }
        // int 0x80 with the numbers of the 32-bit table: 20 getpid, 21 mount, 88 reboot, 128 init_module, 286 add_key.
        let probe = r"
import ctypes, mmap
def call(number, a=0, b=0, c=0):
    code = b'\x53\xb8' + number.to_bytes(4, 'little') + b'\xbb' + a.to_bytes(4, 'little') + b'\xb9' + b.to_bytes(4, 'little') + b'\xba' + c.to_bytes(4, 'little') + b'\xcd\x80\x5b\xc3'
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    return ctypes.CFUNCTYPE(ctypes.c_int)(address)()
print('getpid', call(20) > 0, 'mount', call(21), 'reboot', call(88), 'init_module', call(128), 'add_key', call(286))
";
        let script = format!("/usr/bin/python3 -c \"{}\"", probe.replace('\\', "\\\\").replace('"', "\\\""));
        let seen = engine.sh(&script, json!({"HostConfig": {"Binds": python()}}));
        assert_eq!(seen, "getpid True mount -1 reboot -1 init_module -1 add_key -1\n");
    }

    fn privileged_a_profile_of_ones_own(engine) {
        let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5},
            {"names": ["sethostname"], "action": "SCMP_ACT_KILL_PROCESS"},
        ]});
        let container = engine.sleeper(json!({"HostConfig": {"SecurityOpt": [format!("seccomp={profile}")]}}));
        let output = container.exec(&["mkdir", "/tmp/x"]);
        assert!(output.stderr.contains("I/O error") || output.stderr.contains("Input/output error"), "{output:?}");
        let _ = container.sh("touch /tmp/y");
        let answer = engine.post("/containers/create", &json!({"Image": "busybox", "HostConfig": {"SecurityOpt": ["seccomp={not json"]}}));
        if answer.status == 201 {
            let id = answer.json()["Id"].as_str().unwrap().to_owned();
            assert!(engine.act(&format!("/containers/{id}/start")).status >= 400);
            let _ = engine.delete(&format!("/containers/{id}")).ok();
        }
    }

    fn privileged_no_new_privileges(engine) {
        let of = |host: Value| engine.sh("grep -E 'NoNewPrivs|Seccomp:' /proc/self/status | cut -f2 | tr '\\n' ' '", json!({"HostConfig": host}));
        assert_eq!(of(json!({})), "0 2 ");
        assert_eq!(of(json!({"SecurityOpt": ["no-new-privileges"]})), "1 2 ");
        assert_eq!(of(json!({"SecurityOpt": ["no-new-privileges=true", "seccomp=unconfined"]})), "1 0 ");
        let answer = engine.post("/containers/create", &json!({"Image": "busybox", "HostConfig": {"SecurityOpt": ["nonsense=1"]}}));
        let refused = answer.status;
        if refused == 201 {
            let id = answer.json()["Id"].as_str().unwrap().to_owned();
            assert!(engine.act(&format!("/containers/{id}/start")).status >= 400);
            let _ = engine.delete(&format!("/containers/{id}")).ok();
        } else {
            assert!(refused == 400 || engine.is_dockerd(), "{refused}");
        }
    }

    fn privileged_a_root_that_cannot_be_written(engine) {
        let seen = engine.sh("touch /x 2>&1; touch /tmp/ok && touch /dev/shm/ok && echo written; touch /etc/hosts 2>/dev/null; echo", json!({"HostConfig": {"ReadonlyRootfs": true, "Tmpfs": {"/tmp": "size=2m,mode=1770"}}}));
        assert!(seen.contains("Read-only file system") && seen.contains("written"), "{seen}");
        let seen = engine.sh("df -k /fresh | tail -1 | awk '{print $2}'; stat -c %a /fresh; grep ' /fresh ' /proc/mounts", json!({"HostConfig": {"Tmpfs": {"/fresh": "size=2m,mode=1770"}}}));
        assert!(seen.starts_with("2048\n1770\n"), "{seen}");
        assert!(seen.contains("nosuid") && seen.contains("nodev") && seen.contains("noexec"), "{seen}");
    }

    fn privileged_bind_mounts(engine) {
        let host = tempfile::tempdir().unwrap();
        std::fs::write(host.path().join("file"), "from the host\n").unwrap();
        let path = host.path().display().to_string();
        let seen = engine.sh("cat /b/file; echo back > /b/back; cat /one; touch /r/x 2>&1; true", json!({"HostConfig": {"Binds": [format!("{path}:/b"), format!("{path}/file:/one:ro"), format!("{path}:/r:ro")]}}));
        assert!(seen.starts_with("from the host\nfrom the host\n"), "{seen}");
        assert!(host.path().join("back").exists());
    }

    fn privileged_bind_mount_rules(engine) {
        let host = tempfile::tempdir().unwrap();
        let missing = host.path().join("made/up");
        let container = engine.create(json!({"Cmd": ["true"], "HostConfig": {"Binds": [format!("{}:/b", missing.display())]}}));
        container.start();
        container.wait();
        assert!(missing.is_dir(), "-v makes the directory");
        let answer = engine.post("/containers/create", &json!({"Image": "busybox", "HostConfig": {"Mounts": [{"Type": "bind", "Source": host.path().join("never"), "Target": "/b"}]}}));
        assert_eq!(answer.status, 400, "--mount does not: {}", answer.text());
        assert!(answer.message().contains("bind source path does not exist"), "{}", answer.text());
        for binds in [json!(["relative/path:/b"]), json!([":/b"]), json!(["/tmp:relative"]), json!(["/tmp:/b:nonsense"]), json!(["/tmp:/"]), json!(["/tmp:/b", "/tmp:/b"])] {
            let answer = engine.post("/containers/create", &json!({"Image": "busybox", "HostConfig": {"Binds": binds}}));
            // 20.10 calls an empty source its own error.
            let expected = if engine.is_dockerd() && answer.status == 500 { 500 } else { 400 };
            assert_eq!(answer.status, expected, "{binds}: {}", answer.text());
        }
    }

    fn privileged_propagation(engine) {
        let host = tempfile::tempdir().unwrap();
        let path = host.path().display().to_string();
        for (mode, wanted) in [("", ""), ("rprivate", ""), ("rslave", "master:"), ("rshared", "shared:")] {
            let bind = if mode.is_empty() { format!("{path}:/b") } else { format!("{path}:/b:{mode}") };
            let container = engine.create(json!({"Cmd": ["sh", "-c", "grep ' /b ' /proc/self/mountinfo"], "HostConfig": {"Binds": [bind]}}));
            let answer = engine.act(&container.path("/start"));
            if answer.status != 204 {
                // The host's own mount has to be shared for that.
                assert!(answer.message().contains("is not a shared") || answer.message().contains("shared or slave"), "{}", answer.text());
                continue;
            }
            container.wait();
            let seen = String::from_utf8(container.logs().stdout).unwrap();
            if wanted.is_empty() { assert!(!seen.contains("shared:") && !seen.contains("master:"), "{seen}"); } else { assert!(seen.contains(wanted), "{mode}: {seen}"); }
        }
    }

    fn privileged_the_root_does_not_leak_mounts(engine) {
        let seen = engine.sh("cat /proc/self/mountinfo", json!({}));
        assert!(!seen.contains(&engine.data_root.display().to_string()) || seen.lines().filter(|line| line.contains(" / ") && line.contains("overlay")).count() == 1, "{seen}");
        assert!(!seen.contains("/oldroot") && !seen.contains(".pivot"), "{seen}");
        for line in seen.lines() {
            assert!(!line.contains(" shared:"), "{line}");
        }
    }

    fn privileged_sysctls(engine) {
        let seen = engine.sh("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shm_rmid_forced", json!({"HostConfig": {"NetworkMode": "bridge", "Sysctls": {"net.ipv4.ip_forward": "0", "kernel.shm_rmid_forced": "1"}}}));
        assert_eq!(seen, "0\n1\n");
        for (key, host) in [("kernel.hostname", json!({})), ("vm.swappiness", json!({})), ("net.ipv4.ip_forward", json!({"NetworkMode": "host"}))] {
            let mut host = host;
            host["Sysctls"] = json!({key: "1"});
            let answer = engine.post("/containers/create", &json!({"Image": "busybox", "Cmd": ["true"], "HostConfig": host}));
            if answer.status == 201 {
                let id = answer.json()["Id"].as_str().unwrap().to_owned();
                let started = engine.act(&format!("/containers/{id}/start"));
                assert!(started.status >= 400, "{key} was allowed");
                let _ = engine.delete(&format!("/containers/{id}?force=1")).ok();
            } else {
                assert_eq!(answer.status, 400, "{key}: {}", answer.text());
            }
        }
    }

    fn privileged_an_init_reaps(engine) {
        let script = "echo init $(readlink /proc/1/exe); (sleep 0.2 &) ; sleep 0.6; ps -o stat | grep -c Z";
        let container = engine.create(json!({"Cmd": ["sh", "-c", script], "HostConfig": {"Init": true}}));
        container.start();
        container.wait();
        let out = String::from_utf8(container.logs().stdout).unwrap();
        assert!(out.ends_with("\n0\n"), "{out}");
        assert!(out.starts_with("init") && !out.contains("busybox"), "{out}");
        let signal = engine.create(json!({"Cmd": ["sleep", "1000"], "HostConfig": {"Init": true}}));
        signal.start();
        signal.stop(10);
        assert_eq!(signal.wait(), 143, "init passes signals on");
    }

    fn privileged_environment_and_directory(engine) {
        let seen = engine.sh("env | sort; pwd", json!({"Env": ["A=b=c", "EMPTY=", "PATH=/bin"], "WorkingDir": "/made/by/engine"}));
        assert!(seen.contains("A=b=c\nEMPTY=\nHOME=/root\nHOSTNAME="), "{seen}");
        assert!(seen.contains("PATH=/bin\n") && seen.ends_with("/made/by/engine\n"), "{seen}");
        assert!(engine.sh("echo $TERM", json!({"Tty": false})).trim().is_empty());
    }

    fn privileged_entrypoints(engine) {
        assert_eq!(engine.run(json!({"Entrypoint": ["echo", "e"], "Cmd": ["c"]})).stdout, "e c\n");
        assert_eq!(engine.run(json!({"Entrypoint": ["echo", "alone"]})).stdout, "alone\n");
        assert_eq!(engine.run(json!({"Entrypoint": "echo", "Cmd": "text"})).stdout, "text\n", "strings for lists");
        let answer = engine.post("/containers/create", &json!({"Image": "busybox", "Cmd": [], "Entrypoint": [""]}));
        assert_eq!(answer.status, 400, "{}", answer.text());
    }

    fn privileged_descriptors_do_not_leak(engine) {
        let seen = engine.sh("ls /proc/self/fd", json!({}));
        assert_eq!(seen, "0\n1\n2\n3\n", "3 is ls reading the directory");
        let container = engine.sleeper(json!({}));
        assert_eq!(container.sh("ls /proc/self/fd"), "0\n1\n2\n3");
    }

    fn privileged_ulimits(engine) {
        let seen = engine.sh("ulimit -n; ulimit -Hn; ulimit -c", json!({"HostConfig": {"Ulimits": [{"Name": "nofile", "Soft": 100, "Hard": 200}, {"Name": "core", "Soft": 0, "Hard": 0}]}}));
        assert_eq!(seen, "100\n200\n0\n");
        let container = engine.sleeper(json!({"HostConfig": {"Ulimits": [{"Name": "nofile", "Soft": 100, "Hard": 200}]}}));
        let inside = container.sh("ulimit -Hn; ulimit -n");
        // runc 1.1 raises the soft limit of an exec to the hard one.
        assert!(inside == "200\n100" || engine.is_dockerd() && inside == "200\n200", "exec has them too: {inside}");
        for limits in [json!([{"Name": "nonsense", "Soft": 1, "Hard": 1}]), json!([{"Name": "nofile", "Soft": 300, "Hard": 200}])] {
            let answer = engine.post("/containers/create", &json!({"Image": "busybox", "HostConfig": {"Ulimits": limits}}));
            if answer.status == 201 {
                let id = answer.json()["Id"].as_str().unwrap().to_owned();
                assert!(engine.act(&format!("/containers/{id}/start")).status >= 400, "{limits}");
                let _ = engine.delete(&format!("/containers/{id}?force=1")).ok();
            }
        }
    }

    fn privileged_everything_privileged(engine) {
        // runc gives up on this host, which lacks a capability; we go on without it and say so.
        if engine.is_dockerd() {
            return;
        }
        let container = engine.sleeper(json!({"HostConfig": {"Privileged": true}}));
        let own = std::fs::read_to_string("/proc/self/status").unwrap();
        let own = own.lines().find(|line| line.starts_with("CapEff")).unwrap().to_owned();
        assert_eq!(container.sh("grep CapEff /proc/self/status"), own);
        assert_eq!(container.sh("grep Seccomp: /proc/self/status | cut -f2"), "0");
        let _ = container.sh("test -e /dev/kmsg && mkdir -p /tmp/m && mount -t tmpfs none /tmp/m && umount /tmp/m");
        assert_eq!(container.sh("grep -c ' /proc/sys proc ro' /proc/mounts || true"), "0");
        assert_eq!(container.sh("grep -c ' /proc/timer_list ' /proc/mounts || true"), "0");
    }
}

/// Only ours: dockerd maps users for the whole daemon, not for one container.
#[test]
fn privileged_users_can_be_mapped() {
    let engine = testkit::Engine::isopod();
    if !std::fs::read_to_string("/etc/subuid").unwrap_or_default().contains("root:") {
        std::fs::write(
            "/etc/subuid",
            std::fs::read_to_string("/etc/subuid").unwrap_or_default() + "root:100000:65536\n",
        )
        .unwrap();
        std::fs::write(
            "/etc/subgid",
            std::fs::read_to_string("/etc/subgid").unwrap_or_default() + "root:100000:65536\n",
        )
        .unwrap();
    }
    let mut daemon = testkit::Daemon::isopod_with(&["--userns-remap", "root"]);
    let engine2 = daemon.engine();
    let saved = testkit::image::busybox(&["busybox:latest"]);
    let _ = engine2.upload("/images/load?quiet=1", &saved.tar).expect(200);
    let container = engine2.sleeper(json!({}));
    let pid = container.inspect()["State"]["Pid"].as_i64().unwrap();
    let map = std::fs::read_to_string(format!("/proc/{pid}/uid_map")).unwrap();
    assert_eq!(map.split_whitespace().next(), Some("0"));
    assert_ne!(map.split_whitespace().nth(1), Some("0"), "{map}");
    assert_eq!(
        container.sh("id -u; stat -c %u /etc/passwd; touch /mine; stat -c %u /mine"),
        "0\n0\n0"
    );
    eventually("runs", std::time::Duration::from_secs(5), || {
        (container.status() == "running").then_some(())
    });
    drop(container);
    drop(engine);
    daemon.kill();
}
