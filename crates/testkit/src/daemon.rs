//! Daemons that a test owns: ours and the rival's, each with directories and a network namespace
//! of its own, killed and started again at will, and looked over for leftovers at the end.

mod leftovers;

use crate::engine::{Engine, Kind, isopod_binary};
use crate::netns::Netns;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running daemon and everything that belongs to it.
#[derive(Debug)]
pub struct Daemon {
    kind: Kind,
    program: PathBuf,
    arguments: Vec<String>,
    folder: PathBuf,
    netns: Option<Netns>,
    child: Option<Child>,
}

/// How a daemon is to be started.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whose.
    pub kind: Kind,
    /// The program; by default the one on the path, or the one cargo built.
    pub program: Option<PathBuf>,
    /// More arguments.
    pub arguments: Vec<String>,
    /// Share the host's network instead of having an own one.
    pub host_network: bool,
}

impl Daemon {
    /// `isopod daemon` with directories and a network of its own.
    #[must_use]
    pub fn isopod() -> Self {
        Self::isopod_with(&[])
    }

    /// The same with more arguments.
    #[must_use]
    pub fn isopod_with(arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(ToString::to_string).collect();
        Self::start(Options { kind: Kind::Isopod, program: None, arguments, host_network: false })
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Debian's dockerd with directories, a containerd and a network of its own.
    #[must_use]
    pub fn dockerd() -> Self {
        let options = Options {
            kind: Kind::Dockerd,
            program: None,
            arguments: Vec::new(),
            host_network: false,
        };
        Self::start(options).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Starts a daemon and waits until it answers.
    ///
    /// # Errors
    ///
    /// The daemon ended or did not answer within 60 s; the message has the end of its log.
    pub fn start(options: Options) -> Result<Self, String> {
        let program = options.program.unwrap_or_else(|| match options.kind {
            Kind::Dockerd => PathBuf::from("dockerd"),
            Kind::Isopod => isopod_binary(),
        });
        let folder = tempfile::Builder::new()
            .prefix("isopod-t")
            .tempdir_in("/tmp")
            .map_err(|error| format!("a directory in /tmp: {error}"))?
            .keep();
        let netns = (!options.host_network).then(Netns::create);
        let mut daemon = Self {
            kind: options.kind,
            program,
            arguments: options.arguments,
            folder,
            netns,
            child: None,
        };
        daemon.launch()?;
        Ok(daemon)
    }

    /// Starts the daemon again over what the last one left.
    pub fn restart(&mut self) {
        self.kill();
        self.launch().unwrap_or_else(|error| panic!("{error}"));
    }

    fn launch(&mut self) -> Result<(), String> {
        let log = self.folder.join("daemon.log");
        let open = || {
            File::options()
                .append(true)
                .create(true)
                .open(&log)
                .map_err(|error| format!("{}: {error}", log.display()))
        };
        let mut command = match &self.netns {
            Some(netns) => {
                let mut command = Command::new("nsenter");
                command
                    .arg(format!("--net={}", netns.path().display()))
                    .arg("--")
                    .arg(&self.program);
                command
            }
            None => Command::new(&self.program),
        };
        if self.kind == Kind::Isopod {
            command.arg("daemon").arg("--cgroup-parent").arg(self.cgroup_parent());
        } else {
            command.arg("-p").arg(self.folder.join("pid"));
        }
        if !self.arguments.iter().any(|argument| argument == "--data-root") {
            command.arg("--data-root").arg(self.folder.join("data"));
        }
        command
            .arg("--exec-root")
            .arg(self.folder.join("run"))
            .arg("-H")
            .arg(format!("unix://{}", self.socket().display()))
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(open()?)
            .stderr(open()?);
        let child =
            command.spawn().map_err(|error| format!("{}: {error}", self.program.display()))?;
        self.child = Some(child);
        let began = Instant::now();
        let client = self.engine().client();
        while !client.answers() {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if ended.is_some() || began.elapsed() > Duration::from_secs(60) {
                let how =
                    ended.map_or(String::from("does not answer"), |status| status.to_string());
                return Err(format!("{}: {how}\n{}", self.program.display(), self.log_end()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("sock")
    }

    /// The directory everything of this daemon is in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The running engine.
    #[must_use]
    pub fn engine(&self) -> Engine {
        Engine {
            kind: self.kind,
            socket: self.socket(),
            netns: self.netns.as_ref().map(Netns::path),
            data_root: self.folder.join("data"),
            exec_root: self.folder.join("run"),
        }
    }

    /// The cgroup that its containers are below, which no other daemon uses.
    fn cgroup_parent(&self) -> String {
        let name = self.folder.file_name().map(|name| name.to_string_lossy().into_owned());
        format!("/{}", name.unwrap_or_default())
    }

    /// The cgroups that exist for its containers at this moment, in every hierarchy.
    #[must_use]
    pub fn cgroups(&self) -> Vec<PathBuf> {
        let parent = self.cgroup_parent();
        let below = |root: PathBuf| {
            let folder = PathBuf::from(format!("{}{parent}", root.display()));
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect::<Vec<_>>()
        };
        hierarchies().into_iter().flat_map(below).collect()
    }

    /// The daemon's process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.child.as_ref().map_or(0, |child| child.id() as i32)
    }

    /// Its network namespace.
    #[must_use]
    pub fn netns(&self) -> Option<&Netns> {
        self.netns.as_ref()
    }

    /// Its process of that name (`comm`), in its network namespace.
    #[must_use]
    pub fn process(&self, name: &str) -> Option<i32> {
        self.processes(name).next()
    }

    /// All processes of that name in the daemon's own network namespace.
    pub fn processes(&self, name: &str) -> impl Iterator<Item = i32> {
        let processes = self.netns.as_ref().map(Netns::processes).unwrap_or_default();
        processes.into_iter().filter(move |pid| {
            let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            comm.trim_end() == name
        })
    }

    /// The last lines of the daemon's log.
    #[must_use]
    pub fn log_end(&self) -> String {
        let text = std::fs::read(self.folder.join("daemon.log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }

    /// Kills the daemon, and only it, with SIGKILL; its containers are none of its business.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Removes every container, stops the daemon, and looks for leftovers.
    ///
    /// # Errors
    ///
    /// Everything that was left behind, one a line.
    pub fn stop(mut self) -> Result<(), String> {
        let left = self.tear_down();
        if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
    }

    fn tear_down(&mut self) -> Vec<String> {
        let mut left = Vec::new();
        let engine = self.engine();
        if self.child.is_some() && engine.client().answers() {
            left.extend(remove_all(&engine));
            left.extend(self.half_made());
        }
        if let Some(mut child) = self.child.take() {
            left.extend(terminate(&mut child, Duration::from_secs(30)));
        }
        left.extend(self.leftovers());
        if self.kind == Kind::Dockerd {
            // Its containerd and shims are its own affair; what it leaves is not our finding.
            left.clear();
        }
        self.clean();
        left
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.folder.exists() {
            let left = self.tear_down();
            if !left.is_empty() && !std::thread::panicking() {
                panic!("left behind by {}:\n{}", self.program.display(), left.join("\n"));
            }
        }
    }
}

/// Where cgroups are: the v2 tree, and each v1 tree beside it.
fn hierarchies() -> Vec<PathBuf> {
    let top = PathBuf::from("/sys/fs/cgroup");
    let entries = std::fs::read_dir(&top).into_iter().flatten().flatten();
    let mut all: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir() && !path.is_symlink())
        .collect();
    all.push(top);
    all
}

/// Removes every container of an engine by force.
#[must_use]
pub fn remove_all(engine: &Engine) -> Vec<String> {
    let answer = engine.get("/containers/json?all=1");
    let containers = answer.json().as_array().cloned().unwrap_or_default();
    let mut failed = Vec::new();
    for container in containers {
        let id = container["Id"].as_str().unwrap_or_default();
        let answer = engine.delete(&format!("/containers/{id}?force=1&v=1"));
        if answer.status != 204 {
            failed.push(format!("container {id}: {} {}", answer.status, answer.text()));
        }
    }
    failed
}

fn terminate(child: &mut Child, patience: Duration) -> Vec<String> {
    kill(child.id() as i32, Signal::TERM);
    let began = Instant::now();
    while began.elapsed() < patience {
        if child.try_wait().ok().flatten().is_some() {
            return Vec::new();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    let _ = child.wait();
    vec![format!("the daemon ignored SIGTERM for {patience:?}")]
}

fn kill(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}
