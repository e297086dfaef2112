//! Registries under test: Debian's `docker-registry`, which shows what the protocol is, and ours.
//! Requests are made by hand, so that they may be wrong in any way.

pub mod content;
mod wire;

use crate::engine::isopod_binary;
use crate::http::Response;
use crate::registry::{Options, Registry};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Whose registry it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maker {
    /// Debian's `docker-registry`.
    Docker,
    /// `isopod registry serve`.
    Isopod,
}

/// A registry that a test owns. It ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    maker: Maker,
    running: Running,
    port: u16,
    folder: TempDir,
    root: PathBuf,
    arguments: Vec<String>,
    netns: Option<PathBuf>,
    program: PathBuf,
}

#[derive(Debug)]
enum Running {
    Theirs { _registry: Registry },
    Ours(Child),
    Nothing,
}

/// Defines tests that run on `docker-registry` first, so that they are known to test the protocol,
/// and then on ours.
#[macro_export]
macro_rules! on_both_registries {
    ($( $(#[$meta:meta])* fn $name:ident($server:ident) $body:block )*) => {
        mod shared {
            #[allow(unused_imports)]
            use super::*;
            $( $(#[$meta])* pub(super) fn $name($server: &$crate::distribution::Server) $body )*
        }
        mod docker_registry {
            $( #[test] fn $name() {
                super::shared::$name(&$crate::distribution::Server::docker());
            } )*
        }
        mod isopod {
            $( #[test] fn $name() {
                super::shared::$name(&$crate::distribution::Server::isopod(&[]));
            } )*
        }
    };
}

impl Server {
    /// Debian's `docker-registry`, which lets everybody do everything.
    #[must_use]
    pub fn docker() -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let root = folder.path().join("root");
        let registry =
            Registry::start(&Options { storage: Some(root.clone()), ..Options::default() });
        let port = registry.host().rsplit(':').next().and_then(|port| port.parse().ok());
        let running = Running::Theirs { _registry: registry };
        Self {
            maker: Maker::Docker,
            running,
            port: port.expect("a port"),
            folder,
            root,
            arguments: Vec::new(),
            netns: None,
            program: PathBuf::from("docker-registry"),
        }
    }

    /// Ours, with more arguments.
    #[must_use]
    pub fn isopod(arguments: &[&str]) -> Self {
        Self::start(None, arguments, None)
    }

    /// Ours by another program than the one under test.
    #[must_use]
    pub fn isopod_by(program: &Path, arguments: &[&str]) -> Self {
        let mut server = Self::prepared(None, arguments, None);
        program.clone_into(&mut server.program);
        server.launch();
        server
    }

    /// Ours over a directory that others use as well.
    #[must_use]
    pub fn isopod_over(root: &Path, arguments: &[&str]) -> Self {
        Self::start(Some(root), arguments, None)
    }

    /// Ours, on the loopback interface of a network namespace (a path).
    #[must_use]
    pub fn isopod_within(netns: &Path, arguments: &[&str]) -> Self {
        Self::start(None, arguments, Some(netns))
    }

    /// Both.
    #[must_use]
    pub fn isopod_over_within(root: &Path, netns: &Path, arguments: &[&str]) -> Self {
        Self::start(Some(root), arguments, Some(netns))
    }

    fn start(root: Option<&Path>, arguments: &[&str], netns: Option<&Path>) -> Self {
        let mut server = Self::prepared(root, arguments, netns);
        server.launch();
        server
    }

    fn prepared(root: Option<&Path>, arguments: &[&str], netns: Option<&Path>) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let root = root.map_or_else(|| folder.path().join("root"), Path::to_owned);
        Self {
            maker: Maker::Isopod,
            running: Running::Nothing,
            port: 0,
            folder,
            root,
            arguments: arguments.iter().map(ToString::to_string).collect(),
            netns: netns.map(Path::to_owned),
            program: isopod_binary(),
        }
    }

    /// Starts it again over what the last one left, at another port.
    pub fn restart(&mut self) {
        self.kill();
        self.launch();
    }

    fn launch(&mut self) {
        let log = self.folder.path().join("log");
        let file = File::create(&log).expect("the registry's log");
        let program = self.program.clone();
        let mut command = match &self.netns {
            Some(netns) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net={}", netns.display())).arg("--").arg(&program);
                command
            }
            None => Command::new(&program),
        };
        let child = command
            .args(["registry", "serve", "--addr", "127.0.0.1:0", "--root"])
            .arg(&self.root)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        self.running = Running::Ours(child);
        self.port = crate::eventually("the registry listens", Duration::from_secs(30), || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            if let Running::Ours(child) = &mut self.running {
                let ended = child.try_wait().ok().flatten();
                assert!(ended.is_none(), "the registry ended: {text}");
            }
            port_after(&text, "listening on ")
        });
    }

    /// Whose it is.
    #[must_use]
    pub fn maker(&self) -> Maker {
        self.maker
    }

    /// `127.0.0.1:port`.
    #[must_use]
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where it keeps everything.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A directory for what belongs to it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What ours has logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The port of the listener that the log mentions after these words.
    #[must_use]
    pub fn port_in_log(&self, words: &str) -> u16 {
        port_after(&self.log(), words).unwrap_or_else(|| panic!("{words} in {}", self.log()))
    }

    /// Ends ours without a warning.
    pub fn kill(&mut self) {
        if let Running::Ours(child) = &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.running = Running::Nothing;
    }

    /// Sends a signal to ours.
    pub fn signal(&self, signal: Signal) {
        let Running::Ours(child) = &self.running else { panic!("not ours, or not running") };
        let pid = Pid::from_raw(child.id() as i32).expect("a process id");
        kill_process(pid, signal).expect("kill(2)");
    }

    /// Waits until ours has ended by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let Running::Ours(child) = &mut self.running else { panic!("not ours, or not running") };
        crate::eventually("the registry ends", Duration::from_secs(30), || {
            child.try_wait().expect("waitpid(2)")
        })
    }

    /// A bare connection.
    #[must_use]
    pub fn connect(&self) -> TcpStream {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let connect = || TcpStream::connect(address);
        let stream = match &self.netns {
            Some(netns) => crate::netns::inside(netns, connect),
            None => connect(),
        };
        let stream = stream.unwrap_or_else(|error| panic!("connect {address}: {error}"));
        stream.set_read_timeout(Some(crate::http::PATIENCE)).expect("SO_RCVTIMEO");
        stream.set_write_timeout(Some(crate::http::PATIENCE)).expect("SO_SNDTIMEO");
        stream
    }

    /// One request; the connection closes after it.
    #[track_caller]
    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        let mut stream = self.connect();
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.host());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let sized = headers.iter().any(|(name, _)| {
            ["content-length", "transfer-encoding"].contains(&name.to_ascii_lowercase().as_str())
        });
        if !sized && (!body.is_empty() || !["GET", "HEAD"].contains(&method)) {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("Connection: close\r\n\r\n");
        // A registry may answer before it has read a body that it refuses.
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        let asked = format!("{method} {path}");
        wire::answer(stream, method == "HEAD", asked.clone())
            .unwrap_or_else(|error| panic!("{asked}: {error}"))
    }

    /// `GET` without anything else.
    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        self.request("GET", path, &[], &[])
    }

    /// `HEAD` without anything else.
    #[track_caller]
    pub fn head(&self, path: &str) -> Response {
        self.request("HEAD", path, &[], &[])
    }

    /// Sends bytes as they are; the answer, or `None` if the registry just closed.
    #[must_use]
    pub fn raw(&self, bytes: &[u8]) -> Option<Response> {
        let mut stream = self.connect();
        let _ = stream.write_all(bytes);
        wire::answer(stream, false, String::from_utf8_lossy(bytes).chars().take(100).collect()).ok()
    }

    /// Reads the answer from a connection on which a request was written by hand.
    #[must_use]
    #[track_caller]
    pub fn answer(&self, stream: TcpStream) -> Response {
        wire::answer(stream, false, String::from("a request by hand"))
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Runs `isopod registry garbage-collect` over its directory; gives what it printed.
    #[track_caller]
    pub fn collect(&self, arguments: &[&str]) -> String {
        let output =
            command(&["garbage-collect", "--root"]).arg(&self.root).args(arguments).output();
        text(output.expect("garbage-collect"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// `isopod registry` with arguments.
#[must_use]
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(isopod_binary());
    command.arg("registry").args(arguments);
    command
}

/// Insists on success; gives standard output.
#[track_caller]
#[must_use]
pub fn text(output: Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {error}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn port_after(text: &str, words: &str) -> Option<u16> {
    let line = text.lines().find(|line| line.contains(words))?;
    line.trim().rsplit(':').next()?.parse().ok()
}
