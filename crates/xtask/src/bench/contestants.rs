//! Who takes part: our engine through our and Docker's command line, dockerd, podman, and the bare
//! runtimes on a bundle, each with a store and a network of its own that go when it is dropped.

use super::Request;
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::Duration;
use tempfile::TempDir;
use testkit::daemon::{Daemon, Options};
use testkit::netns::Netns;
use testkit::{Kind, image};

/// One way to run a container.
pub(super) struct Contestant {
    pub(super) name: String,
    pub(super) network: &'static str,
    how: How,
    running: Option<String>,
    /// What it may take, if it is measured by something of its own.
    pub(super) budget: Option<Duration>,
    /// What has to be waited for after a run, so that the next one is measured alone.
    pub(super) after: Option<Box<dyn Fn() -> Result<()>>>,
}

enum How {
    /// A Docker-compatible command line against a daemon.
    Client {
        program: PathBuf,
        daemon: Rc<Daemon>,
        /// More flags of `run`.
        flags: Vec<String>,
    },
    Podman(Podman),
    /// An OCI runtime on a bundle.
    Runtime {
        program: &'static str,
        bundle: Rc<TempDir>,
        state: TempDir,
    },
    Unshare {
        bundle: Rc<TempDir>,
    },
}

struct Podman {
    folder: TempDir,
    netns: Netns,
}

/// What podman must not raise, and the runtime that knows every layout of cgroups.
const LIMITS: &[&str] = &["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"];

/// Everybody who is installed and wanted; we come first.
pub(super) fn all(request: &Request, binary: &Path) -> Result<Vec<Contestant>> {
    let mut all = Vec::new();
    let ours = Rc::new(daemon(Kind::Isopod, Some(binary))?);
    all.push(client("isopod", binary.into(), &ours));
    if installed("docker") && request.wants("docker CLI on isopod") {
        all.push(client("docker CLI on isopod", "docker".into(), &ours));
    }
    if installed("docker") && installed("dockerd") && request.wants("dockerd") {
        let theirs = Rc::new(daemon(Kind::Dockerd, None)?);
        all.push(client("docker CLI on dockerd", "docker".into(), &theirs));
    }
    if installed("podman") && request.wants("podman") {
        let podman = Podman::prepare()?;
        all.push(contestant("podman", "bridge", How::Podman(podman)));
    }
    let bundle = Rc::new(bundle()?);
    for program in ["crun", "runc"] {
        if installed(program) && request.wants(program) {
            let how = How::Runtime { program, bundle: Rc::clone(&bundle), state: TempDir::new()? };
            all.push(contestant(&format!("bare {program}"), "loopback only", how));
        }
    }
    if request.wants("unshare") {
        all.push(contestant("bare unshare", "loopback down", How::Unshare { bundle }));
    }
    Ok(all)
}

/// A daemon with the busybox image.
pub(super) fn daemon(kind: Kind, program: Option<&Path>) -> Result<Daemon> {
    daemon_with(kind, program, &[])
}

/// The same with more arguments.
pub(super) fn daemon_with(
    kind: Kind,
    program: Option<&Path>,
    arguments: &[String],
) -> Result<Daemon> {
    let options = Options {
        kind,
        program: program.map(Path::to_owned),
        arguments: arguments.to_vec(),
        host_network: false,
    };
    let daemon = Daemon::start(options).map_err(anyhow::Error::msg)?;
    let answer =
        daemon.engine().upload("/images/load?quiet=1", &image::busybox(&["busybox:latest"]).tar);
    ensure!(answer.status == 200, "loading busybox: {}", answer.text());
    Ok(daemon)
}

/// The v2 half of a hybrid layout.
const UNIFIED: &str = "/sys/fs/cgroup/unified";

fn contestant(name: &str, network: &'static str, how: How) -> Contestant {
    let name = name.to_owned();
    Contestant { name, network, how, running: None, budget: None, after: None }
}

fn client(name: &str, program: PathBuf, daemon: &Rc<Daemon>) -> Contestant {
    client_with(name, program, daemon, &[])
}

/// A command line that runs containers with these flags.
pub(super) fn client_with(
    name: &str,
    program: PathBuf,
    daemon: &Rc<Daemon>,
    flags: &[&str],
) -> Contestant {
    let flags = flags.iter().map(ToString::to_string).collect();
    contestant(name, "bridge", How::Client { program, daemon: Rc::clone(daemon), flags })
}

fn installed(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .is_ok_and(|output| output.status.success())
}

/// Does a command so many times at once, and fails if one does.
const SEVERAL: &str = r#"for n in $(seq $0); do "$@" & pids="$pids $!"; done; for pid in $pids; do wait $pid || exit 1; done"#;

/// busybox's root file system and a configuration that runs `true` or sleeps, as asked.
fn bundle() -> Result<TempDir> {
    let folder = TempDir::new()?;
    let root = folder.path().join("rootfs");
    tar::Archive::new(&image::busybox_layer().bytes()[..]).unpack(&root)?;
    let status = Command::new("runc").arg("spec").current_dir(folder.path()).status();
    let status = match status {
        Ok(status) => status,
        Err(_) => Command::new("crun").arg("spec").current_dir(folder.path()).status()?,
    };
    ensure!(status.success(), "no runtime writes a configuration");
    let path = folder.path().join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    config["process"]["terminal"] = json!(false);
    config["process"]["rlimits"] = json!([]);
    let sleeping = folder.path().join("sleeping");
    std::fs::create_dir(&sleeping)?;
    std::os::unix::fs::symlink(&root, sleeping.join("rootfs"))?;
    for (path, arguments) in
        [(path, json!(["/bin/true"])), (sleeping.join("config.json"), json!(["sleep", "1000"]))]
    {
        config["process"]["args"] = arguments;
        config["root"]["path"] = json!(root);
        std::fs::write(path, config.to_string())?;
    }
    Ok(folder)
}

impl Podman {
    fn prepare() -> Result<Self> {
        let podman = Self { folder: TempDir::new()?, netns: Netns::create() };
        let tar = podman.folder.path().join("busybox.tar");
        std::fs::write(&tar, image::busybox(&["localhost/busybox:latest"]).tar)?;
        let output =
            podman.command().arg("load").arg("-i").arg(&tar).output().context("podman load")?;
        ensure!(
            output.status.success(),
            "podman load: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(podman)
    }

    fn command(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.netns.path().display())).args(["--", "podman"]);
        command.arg("--root").arg(self.folder.path().join("root"));
        command.arg("--runroot").arg(self.folder.path().join("run"));
        command.args(["--cgroup-manager", "cgroupfs", "--runtime", "runc"]).stdin(Stdio::null());
        command
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let _ = self.command().args(["rm", "-f", "-a", "-t", "0"]).output();
        let _ = self.command().args(["rmi", "-f", "-a"]).output();
        let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        for mount in text.lines().filter_map(|line| line.split(' ').nth(4)) {
            if Path::new(mount).starts_with(self.folder.path()) {
                let _ = rustix::mount::unmount(mount, rustix::mount::UnmountFlags::DETACH);
            }
        }
    }
}

impl Contestant {
    /// Waits until nothing of its last run goes on.
    pub(super) fn settle(&self) -> Result<()> {
        self.after.as_ref().map_or(Ok(()), |after| after())
    }

    /// Whether it is a command line against a daemon.
    pub(super) fn is_client(&self) -> bool {
        matches!(self.how, How::Client { .. })
    }

    /// The command that runs `true` with a published port, for clients of a daemon.
    pub(super) fn start_published(&self) -> Command {
        let How::Client { program, daemon, .. } = &self.how else { return self.start() };
        let mut command = daemon.engine().prepared(program);
        command.args(["run", "--rm", "-p", "18080:80", "busybox", "/bin/true"]);
        command
    }

    /// The command that runs `true` in a fresh container and removes it.
    pub(super) fn start(&self) -> Command {
        match &self.how {
            How::Client { program, daemon, flags } => {
                let mut command = daemon.engine().prepared(program);
                command.args(["run", "--rm"]).args(flags).args(["busybox", "/bin/true"]);
                command
            }
            How::Podman(podman) => {
                let mut command = podman.command();
                // It would raise limits, which not every host allows.
                command.arg("run").args(LIMITS).args(["--rm", "localhost/busybox", "/bin/true"]);
                command
            }
            How::Runtime { program, bundle, state } => {
                let mut command = runtime(program, state);
                command.arg("run").arg("-b").arg(bundle.path()).arg(testkit::unique("bench"));
                command
            }
            How::Unshare { bundle } => {
                let mut command = Command::new("unshare");
                command.args(["--fork", "--pid", "--mount", "--uts", "--ipc", "--net", "--cgroup"]);
                command.arg("chroot").arg(bundle.path().join("rootfs")).arg("/bin/true");
                command.stdin(Stdio::null());
                command
            }
        }
    }

    /// Starts so many at once, and ends when all have.
    pub(super) fn start_several(&self, count: usize) -> Command {
        let one = self.start();
        let mut all = Command::new("sh");
        all.args(["-c", SEVERAL, &count.to_string()]).arg(one.get_program()).args(one.get_args());
        for (name, value) in one.get_envs() {
            match value {
                Some(value) => all.env(name, value),
                None => all.env_remove(name),
            };
        }
        all.stdin(Stdio::null());
        all
    }

    /// Whether there is such a thing as exec.
    pub(super) fn can_exec(&self) -> bool {
        !matches!(self.how, How::Unshare { .. })
    }

    /// Starts the container that `exec` goes into.
    pub(super) fn keep_one_running(&mut self) -> Result<()> {
        let name = testkit::unique("bench");
        let mut command = match &self.how {
            How::Client { program, daemon, .. } => {
                let mut command = daemon.engine().prepared(program);
                command.args(["run", "-d", "--name", &name, "busybox", "sleep", "1000"]);
                command
            }
            How::Podman(podman) => {
                let mut command = podman.command();
                command.arg("run").args(LIMITS).args(["-d", "--name", &name]);
                command.args(["localhost/busybox", "sleep", "1000"]);
                command
            }
            How::Runtime { program, bundle, state } => {
                let mut command = runtime(program, state);
                command.args(["run", "-d", "-b"]).arg(bundle.path().join("sleeping")).arg(&name);
                // A detached container inherits these; a pipe would never end.
                command.stdout(Stdio::null()).stderr(Stdio::null());
                command
            }
            How::Unshare { .. } => return Ok(()),
        };
        let status = if matches!(self.how, How::Runtime { .. }) {
            command.status()?
        } else {
            command.output()?.status
        };
        ensure!(status.success(), "{}: no container to exec in", self.name);
        self.running = Some(name);
        Ok(())
    }

    /// The command that runs `true` in the running container.
    pub(super) fn exec(&self) -> Command {
        let name = self.running.as_deref().unwrap_or_default();
        let mut command = match &self.how {
            How::Client { program, daemon, .. } => daemon.engine().prepared(program),
            How::Podman(podman) => podman.command(),
            How::Runtime { program, state, .. } => runtime(program, state),
            How::Unshare { .. } => Command::new("false"),
        };
        command.args(["exec", name, "/bin/true"]);
        command
    }
}

impl Drop for Contestant {
    fn drop(&mut self) {
        if let (How::Runtime { program, state, .. }, Some(name)) = (&self.how, &self.running) {
            let _ = runtime(program, state).args(["delete", "-f", name]).output();
        }
    }
}

fn runtime(program: &str, state: &TempDir) -> Command {
    let mut command = match program {
        "crun" if Path::new(UNIFIED).exists() => {
            // crun 1.8 refuses a hybrid layout whose v2 half has a controller; it takes plain v1.
            let mut command = Command::new("unshare");
            command.args(["--mount", "--propagation", "private", "sh", "-c"]);
            command.arg(format!("umount {UNIFIED}; exec crun \"$@\"")).arg("crun");
            command
        }
        program => Command::new(program),
    };
    command.arg("--root").arg(state.path()).stdin(Stdio::null());
    command
}
