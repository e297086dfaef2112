//! Real machines: a kernel from Debian's packages, the agent that the workspace builds, QEMU by
//! emulation. What the agent says beyond its hello is tested elsewhere; here is the machine's own.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use vm::{Accelerator, Arch, Disk, KernelImage, Machine, Options, Origin, Running, Templates};

/// The workspace's build directory.
fn target() -> PathBuf {
    let program = std::env::current_exe().expect("this program");
    let profile = program.ancestors().find(|path| path.join("deps").is_dir()).expect("profile");
    profile.to_owned()
}

/// The kernel and the agent, fetched and put together once for all tests.
fn image() -> KernelImage {
    static IMAGE: OnceLock<KernelImage> = OnceLock::new();
    let make = || {
        let arch = Arch::host().expect("an architecture that guests can have");
        let state = target().join("vm-tests");
        std::fs::create_dir_all(&state).expect("directory");
        let lock = std::fs::File::create(state.join("lock")).expect("lock");
        sys::entry::lock(&lock).expect("lock");
        if !state.join("packages").join(arch.debian()).is_dir() {
            vm::kernel::install::from_debian(&state, arch).expect("Debian's kernel");
        }
        let agent = target().join("guest-agent");
        assert!(agent.is_file(), "cargo build --workspace --bins comes first");
        let wanted = vm::kernel::Wanted { state: &state, kernels: &[], agents: &[agent], arch };
        vm::kernel::prepare(&wanted).expect("an image")
    };
    IMAGE.get_or_init(make).clone()
}

/// A directory for templates and machines, which goes with it.
struct Stage {
    dir: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("directory") }
    }

    fn state(&self) -> &Path {
        self.dir.path()
    }

    fn machine(&self) -> Machine {
        let directory = tempfile::tempdir_in(self.dir.path()).expect("directory").keep();
        let upper = directory.join("upper");
        vm::disk::make_upper(self.state(), &upper, 1 << 30).expect("disk");
        let file = std::fs::File::options().read(true).write(true).open(upper).expect("open");
        Machine {
            arch: Arch::host().expect("architecture"),
            kernel: image(),
            memory: 256 << 20,
            cpus: 1,
            disks: vec![Disk { file: file.into(), read_only: false }],
            nics: Vec::new(),
            shares: Vec::new(),
            netns: None,
        }
    }

    fn start(&self, machine: Machine, templates: Templates) -> Result<Guard, vm::Error> {
        let options = Options {
            state: self.state(),
            templates,
            accelerator: Accelerator::Emulation,
            ready: &proto::guest::whole_hello,
            cgroup: None,
            enter: &|| Ok(()),
            limit: vm::BOOT_LIMIT,
        };
        vm::start(machine, &options).map(Guard)
    }
}

/// A machine that ends with the test.
struct Guard(Running);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = sys::process::wait_pidfd(&self.0.pidfd);
    }
}

/// A field of the status of a machine's process.
fn status(running: &Running, field: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{}/status", running.pid)).expect("status");
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {field}")).trim().to_owned()
}

fn namespace(pid: &str, kind: &str) -> PathBuf {
    std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("namespace")
}

#[test]
fn privileged_a_machine_boots_and_can_do_nothing_to_the_host() {
    let stage = Stage::new();
    let mut guard = stage.start(stage.machine(), Templates::Never).expect("started");
    let running = &mut guard.0;
    assert_eq!(running.origin, Origin::Cold { why: None });
    assert!(proto::guest::whole_hello(&running.greeting));
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status(running, set), "0000000000000000", "{set}");
    }
    assert_eq!(status(running, "NoNewPrivs"), "1");
    assert_eq!(status(running, "Seccomp"), "2");
    let user = status(running, "Uid");
    assert!(user.split_whitespace().all(|id| id.parse::<u32>().expect("id") > 1 << 30), "{user}");
    assert_eq!(status(running, "Groups"), "");
    let pid = running.pid.to_string();
    for kind in ["mnt", "pid", "ipc", "uts", "net", "user"] {
        assert_ne!(namespace(&pid, kind), namespace("self", kind), "{kind}");
    }
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    assert!(
        !root.join("proc").exists() && !root.join("tmp").exists() && !root.join("var").exists()
    );
    let devices = std::fs::read_dir(root.join("dev")).expect("devices");
    let mut devices: Vec<_> = devices.map(|entry| entry.expect("entry").file_name()).collect();
    devices.sort();
    assert_eq!(devices, ["null", "urandom"]);
    let write = std::fs::write(root.join("usr/x"), "").expect_err("read-only");
    assert_eq!(write.raw_os_error(), Some(sys::errno::EROFS));
    let write = std::fs::write(root.join("x"), "").expect_err("read-only");
    assert_eq!(write.raw_os_error(), Some(sys::errno::EROFS));
    running.pause().expect("paused");
    running.resume().expect("resumed");
    assert_eq!(running.complaints(), "");
}

#[test]
fn privileged_clones_go_on_where_their_template_stopped_and_cannot_change_it() {
    let stage = Stage::new();
    let one = stage.start(stage.machine(), Templates::Make).expect("started");
    assert_eq!(one.0.origin, Origin::Template);
    let two = stage.start(stage.machine(), Templates::Use).expect("started");
    assert_eq!(two.0.origin, Origin::Template);
    assert_eq!(one.0.greeting, two.0.greeting);
    let templates = vm::template::list(stage.state()).expect("listed");
    assert_eq!(templates.len(), 1);
    let ram = stage.state().join("templates").join(&templates[0].key).join("ram");
    for running in [&one.0, &two.0] {
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", running.pid)).expect("maps");
        let mapped: Vec<&str> =
            maps.lines().filter(|line| line.ends_with(ram.to_str().expect("path"))).collect();
        assert!(!mapped.is_empty(), "its memory is not the template's: {maps}");
        // Private, and from a descriptor that writes nothing.
        assert!(mapped.iter().all(|line| line.split(' ').nth(1) == Some("rw-p")), "{mapped:?}");
        for entry in std::fs::read_dir(format!("/proc/{}/fd", running.pid)).expect("fds") {
            let path = entry.expect("entry").path();
            if std::fs::read_link(&path).expect("link") == ram {
                let mode = std::fs::symlink_metadata(&path).expect("fd").permissions().mode();
                assert_eq!(mode & 0o200, 0, "the template can be written to");
            }
        }
    }
    // What one does to its memory is not the other's affair.
    drop(one);
    let three = stage.start(stage.machine(), Templates::Use).expect("started");
    assert_eq!(three.0.origin, Origin::Template);
    let removed = vm::template::remove(stage.state(), &templates[0].key).expect("removed");
    assert_eq!(removed.as_ref(), Some(&templates[0].key));
    assert_eq!(sys::process::wait_pidfd_nohang(&three.0.pidfd).expect("asks"), None);
}

#[test]
fn privileged_a_damaged_template_is_booted_around_and_said() {
    let stage = Stage::new();
    drop(stage.start(stage.machine(), Templates::Make).expect("started"));
    let key = vm::template::list(stage.state()).expect("listed")[0].key.clone();
    let state = stage.state().join("templates").join(&key).join("state");
    std::fs::write(&state, "nonsense").expect("damaged");
    let guard = stage.start(stage.machine(), Templates::Use).expect("started");
    let Origin::Cold { why: Some(why) } = &guard.0.origin else { panic!("{:?}", guard.0.origin) };
    assert!(why.contains("the virtual machine ended while it started"), "{why}");
    assert_eq!(vm::template::list(stage.state()).expect("listed").len(), 0);
}

#[test]
fn privileged_what_cannot_boot_says_why_and_leaves_nothing() {
    let stage = Stage::new();
    let mut machine = stage.machine();
    let broken = stage.state().join("initramfs");
    std::fs::write(&broken, "no archive").expect("write");
    machine.kernel.initramfs = broken;
    let error = stage.start(machine, Templates::Never).err().expect("it cannot boot");
    assert!(error.to_string().contains("Kernel panic"), "{error}");
    let mut machine = stage.machine();
    machine.kernel.vmlinux = stage.state().join("missing");
    let error = stage.start(machine, Templates::Never).err().expect("it cannot boot");
    assert!(error.to_string().contains("no such file or directory"), "{error}");
    let children = std::fs::read_to_string(format!(
        "/proc/self/task/{}/children",
        std::fs::read_link("/proc/thread-self").expect("thread").file_name().expect("id").display()
    ));
    assert_eq!(children.expect("children"), "");
}
