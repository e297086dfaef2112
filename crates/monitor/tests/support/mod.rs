//! A small engine: it launches monitors for busybox in a directory, and asks them.
#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::{BTreeMap, VecDeque};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use proto::control::{
    Attach, Envelope, Exec, ExitRecord, FromMonitor, Hello, Notice, Reply, Request,
};
use proto::frame::{self, Decoder};
use proto::launch::{
    Asked, Launch, Log, LogFile, Order, Reap, Reaped, RootSource, Stdin, VERSION, WindowSize,
};
use proto::log::{Entry, Format};
use serde_json::{Value, json};

/// How long anything may take here.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) const OUTPUT: Attach = Attach { stdin: false, stdout: true, stderr: true };
pub(crate) const ALL: Attach = Attach { stdin: true, stdout: true, stderr: true };

/// Waits until something is so.
pub(crate) fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !so() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A launcher and a place for containers.
pub(crate) struct World {
    orders: Option<OwnedFd>,
    dir: tempfile::TempDir,
    number: AtomicU32,
}

impl World {
    pub(crate) fn new() -> Self {
        assert!(rustix_is_root(), "this test needs root");
        // Before anything else that could have a thread.
        let orders = monitor::launcher::spawn(|_, _| 1).expect("a launcher");
        let dir = tempfile::Builder::new().prefix("isopod-monitor-").tempdir().expect("directory");
        let world = Self { orders: Some(orders), dir, number: AtomicU32::new(0) };
        world.make_root();
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A directory with busybox in it.
    fn make_root(&self) {
        let root = self.path("root");
        for dir in ["bin", "dev", "etc", "proc", "sys", "tmp", "root"] {
            std::fs::create_dir_all(root.join(dir)).expect("directory");
        }
        let busybox = ["/bin/busybox", "/usr/bin/busybox"]
            .into_iter()
            .find(|path| Path::new(path).exists())
            .expect("busybox is installed");
        std::fs::copy(busybox, root.join("bin/busybox")).expect("copies");
        let applets = [
            "cat", "dd", "echo", "env", "false", "head", "id", "kill", "ls", "mkdir", "ps", "seq",
            "sh", "sleep", "stty", "tail", "test", "touch", "true", "tty", "wc", "yes",
        ];
        for applet in applets {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).expect("links");
        }
        std::fs::write(root.join("bin/noexec"), "#!/bin/sh\n").expect("writes");
    }

    /// A container that is to run this.
    pub(crate) fn container(&self, args: &[&str]) -> Plan<'_> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let id = format!("{:032x}{:016x}{number:016x}", 0, std::process::id());
        let dir = self.path(&format!("monitor-{number}"));
        std::fs::create_dir_all(&dir).expect("directory");
        Plan {
            world: self,
            spec: spec(&id, args),
            launch: Launch {
                version: VERSION,
                guard: false,
                id: id.clone(),
                dir,
                spec: oci_spec::runtime::Spec::default(),
                default_seccomp: false,
                root: RootSource::Directory(self.path("root")),
                netns: false,
                mounts: 0,
                held: 0,
                terminal: None,
                stdin: Stdin::Null,
                log: Log::None,
                init: false,
                asked: Asked::default(),
                systemd_cgroup: false,
                machine: None,
                whole: None,
            },
            trees: Vec::new(),
            held: Vec::new(),
        }
    }

    /// Runs a script.
    pub(crate) fn sh(&self, script: &str) -> Plan<'_> {
        self.container(&["sh", "-c", script])
    }

    /// Ends the launcher.
    pub(crate) fn drop_launcher(&mut self) {
        self.orders = None;
    }

    fn order(&self, order: &Order, fds: &[std::os::fd::BorrowedFd<'_>]) {
        let bytes = frame::encode(order).expect("encodes");
        let orders = self.orders.as_ref().expect("the launcher lives");
        let mut sent = sys::socket::send(orders, &bytes, fds).expect("sends");
        while sent < bytes.len() {
            sent += sys::socket::send(orders, &bytes[sent..], &[]).expect("sends");
        }
    }

    /// Has a dead monitor's container cleaned up.
    pub(crate) fn reap(&self, id: &str) -> Reaped {
        let (mut ours, theirs) = UnixStream::pair().expect("pair");
        let reap = Reap { id: id.into(), cgroups_path: cgroups_path(id), systemd_cgroup: false };
        self.order(&Order::Reap(reap), &[theirs.as_fd()]);
        drop(theirs);
        let mut bytes = Vec::new();
        ours.read_to_end(&mut bytes).expect("reads");
        let mut decoder = Decoder::default();
        decoder.push(&bytes);
        decoder.message().expect("readable").expect("an answer")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.orders = None;
        if let Ok(layout) = runtime::cgroup::Layout::probe() {
            let _ = runtime::cgroup::Cgroup::prune_parent(&layout, &parent());
        }
    }
}

fn rustix_is_root() -> bool {
    std::fs::read_to_string("/proc/self/status")
        .is_ok_and(|status| status.lines().any(|line| line.starts_with("Uid:\t0\t0")))
}

/// The cgroup that is above those of this test's containers.
fn parent() -> String {
    format!("isopod-test-{}", std::process::id())
}

pub(crate) fn cgroups_path(id: &str) -> String {
    format!("{}/{id}", parent())
}

fn spec(id: &str, args: &[&str]) -> Value {
    let mount = |destination: &str, kind: &str, options: &[&str]| json!({"destination": destination, "type": kind, "source": kind, "options": options});
    let caps = json!(["CAP_KILL", "CAP_SETUID", "CAP_SETGID", "CAP_CHOWN", "CAP_DAC_OVERRIDE"]);
    json!({
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs", "readonly": false},
        "hostname": "test",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": args,
            "env": ["PATH=/bin", "HOME=/root"],
            "cwd": "/",
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
        },
        "mounts": [
            mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts",
                &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        ],
        "linux": {
            "cgroupsPath": cgroups_path(id),
            "resources": {},
            "namespaces": [
                {"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"},
                {"type": "network"},
            ],
        },
    })
}

/// A container that has not been launched.
pub(crate) struct Plan<'w> {
    world: &'w World,
    pub(crate) spec: Value,
    pub(crate) launch: Launch,
    pub(crate) trees: Vec<OwnedFd>,
    pub(crate) held: Vec<OwnedFd>,
}

impl Plan<'_> {
    pub(crate) fn stdin(mut self, stdin: Stdin) -> Self {
        self.launch.stdin = stdin;
        self
    }

    pub(crate) fn terminal(mut self, rows: u16, cols: u16) -> Self {
        self.launch.terminal = Some(WindowSize { rows, cols });
        self.spec["process"]["terminal"] = true.into();
        self.launch.stdin = Stdin::Open;
        self
    }

    pub(crate) fn resources(mut self, resources: Value) -> Self {
        self.spec["linux"]["resources"] = resources;
        self
    }

    /// Shares the host's process namespace.
    pub(crate) fn host_pids(mut self) -> Self {
        let namespaces = self.spec["linux"]["namespaces"].as_array_mut().expect("an array");
        namespaces.retain(|namespace| namespace["type"] != "pid");
        self
    }

    pub(crate) fn log(self) -> Self {
        let path = self.log_path();
        self.log_at(LogFile {
            path,
            max_size: None,
            max_file: 1,
            compress: false,
            attributes: BTreeMap::new(),
        })
    }

    pub(crate) fn log_at(mut self, file: LogFile) -> Self {
        self.launch.log = Log::JsonFile(file);
        self
    }

    pub(crate) fn log_path(&self) -> PathBuf {
        self.launch.dir.with_extension("log")
    }

    /// Sends the order; does not wait.
    pub(crate) fn launch(mut self) -> Container {
        let spec = self.spec.take();
        self.launch.spec = serde_json::from_value(spec).expect("a specification");
        self.launch.mounts = self.trees.len();
        self.launch.held = self.held.len();
        let (ours, theirs) = UnixStream::pair().expect("pair");
        let (id, dir) = (self.launch.id.clone(), self.launch.dir.clone());
        let log = self.log_path();
        let mut fds = vec![theirs.as_fd()];
        fds.extend(self.trees.iter().map(AsFd::as_fd));
        fds.extend(self.held.iter().map(AsFd::as_fd));
        self.world.order(&Order::Launch(Box::new(self.launch)), &fds);
        Container { id, dir, log, control: Control::new(ours), pid: 0 }
    }

    /// Launches and waits until it stands.
    pub(crate) fn create(self) -> Container {
        let mut container = self.launch();
        match container.control.notice() {
            Notice::Created { pid, warnings } => {
                assert!(warnings.is_empty(), "{warnings:?}");
                container.pid = pid;
            }
            other => panic!("instead of Created: {other:?}"),
        }
        container
    }

    /// Launches and starts.
    pub(crate) fn start(self) -> Container {
        let mut container = self.create();
        container.start();
        container
    }
}

/// One control connection.
pub(crate) struct Control {
    stream: UnixStream,
    decoder: Decoder,
    number: u64,
    notices: VecDeque<Notice>,
}

impl Control {
    pub(crate) fn new(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(LIMIT)).expect("a limit");
        Self { stream, decoder: Decoder::default(), number: 0, notices: VecDeque::new() }
    }

    /// The next message; `None` at the end.
    fn message(&mut self) -> Option<FromMonitor> {
        loop {
            if let Some(message) = self.decoder.message().expect("readable") {
                return Some(message);
            }
            let mut chunk = [0; 8192];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(count) => self.decoder.push(&chunk[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no message: {error}"),
            }
        }
    }

    pub(crate) fn notice(&mut self) -> Notice {
        if let Some(notice) = self.notices.pop_front() {
            return notice;
        }
        match self.message() {
            Some(FromMonitor::Notice(notice)) => notice,
            other => panic!("instead of a notice: {other:?}"),
        }
    }

    pub(crate) fn try_ask(
        &mut self,
        request: Request,
        stream: Option<OwnedFd>,
    ) -> Result<Reply, types::Error> {
        self.number += 1;
        let envelope = Envelope { number: self.number, request };
        let bytes = frame::encode(&envelope).expect("encodes");
        let fds: Vec<_> = stream.iter().map(AsFd::as_fd).collect();
        let sent = sys::socket::send(&self.stream, &bytes, &fds).expect("sends");
        self.stream.write_all(&bytes[sent..]).expect("sends the rest");
        drop(stream);
        loop {
            match self.message().expect("the monitor lives") {
                FromMonitor::Notice(notice) => self.notices.push_back(notice),
                FromMonitor::Reply { number, result } => {
                    assert_eq!(number, self.number);
                    return result;
                }
            }
        }
    }

    pub(crate) fn ask(&mut self, request: Request) -> Reply {
        self.try_ask(request, None).expect("done")
    }

    pub(crate) fn hello(&mut self) -> Hello {
        match self.ask(Request::Hello) {
            Reply::Hello(hello) => *hello,
            other => panic!("instead of Hello: {other:?}"),
        }
    }

    /// Attaches; returns our end.
    pub(crate) fn attach(&mut self, wants: Attach) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().expect("pair");
        ours.set_read_timeout(Some(LIMIT)).expect("a limit");
        let reply = self.try_ask(Request::Attach(wants), Some(theirs.into()));
        assert!(matches!(reply, Ok(Reply::Done)), "{reply:?}");
        ours
    }

    /// Runs one more process; returns our end of its stream.
    pub(crate) fn exec(
        &mut self,
        id: &str,
        args: &[&str],
        wants: Attach,
        terminal: bool,
    ) -> UnixStream {
        let (stream, reply) = self.try_exec(id, args, wants, terminal);
        assert!(matches!(reply, Ok(Reply::ExecStarted { .. })), "{reply:?}");
        stream
    }

    pub(crate) fn try_exec(
        &mut self,
        id: &str,
        args: &[&str],
        wants: Attach,
        terminal: bool,
    ) -> (UnixStream, Result<Reply, types::Error>) {
        let process = json!({
            "terminal": terminal, "user": {"uid": 0, "gid": 0}, "args": args,
            "env": ["PATH=/bin"], "cwd": "/", "consoleSize": {"height": 5, "width": 55},
        });
        let exec = Exec {
            id: id.into(),
            process: serde_json::from_value(process).expect("a process"),
            attach: wants,
            privileged: false,
            asked: Asked::default(),
            user: proto::guest::User::default(),
        };
        let (ours, theirs) = UnixStream::pair().expect("pair");
        ours.set_read_timeout(Some(LIMIT)).expect("a limit");
        let reply = self.try_ask(Request::Exec(Box::new(exec)), Some(theirs.into()));
        (ours, reply)
    }

    /// The end of an exec.
    pub(crate) fn exec_exited(&mut self, id: &str) -> i32 {
        match self.notice() {
            Notice::ExecExited { exec, exit_code } if exec == id => exit_code,
            other => panic!("instead of the end of {id}: {other:?}"),
        }
    }

    /// The end of the container, and of the connection.
    pub(crate) fn exited(&mut self) -> ExitRecord {
        let record = loop {
            match self.notice() {
                Notice::Exited(record) => break record,
                Notice::OutOfMemory | Notice::ExecExited { .. } | Notice::Dropped { .. } => {}
                other => panic!("instead of Exited: {other:?}"),
            }
        };
        assert!(self.message().is_none(), "the monitor has ended");
        record
    }

    /// Waits for the end of the connection.
    pub(crate) fn gone(&mut self) {
        while self.message().is_some() {}
    }
}

/// A launched container.
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) dir: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) control: Control,
    /// Its first process.
    pub(crate) pid: i32,
}

impl Container {
    pub(crate) fn start(&mut self) {
        let reply = self.control.ask(Request::Start);
        assert!(matches!(reply, Reply::Started { .. }), "{reply:?}");
    }

    /// One more connection, through the socket.
    pub(crate) fn connect(&self) -> Control {
        let socket = sys::stream::connect_in(&self.dir, "sock").expect("connects");
        Control::new(socket.into())
    }

    pub(crate) fn monitor_pid(&self) -> i32 {
        let text = std::fs::read_to_string(self.dir.join("pid")).expect("a pid");
        text.trim().parse().expect("a number")
    }

    /// What is on disk.
    pub(crate) fn record(&self) -> Option<ExitRecord> {
        let bytes = std::fs::read(self.dir.join("exit.json")).ok()?;
        Some(serde_json::from_slice(&bytes).expect("a whole record"))
    }

    pub(crate) fn log(&self) -> Vec<Entry> {
        entries(&std::fs::read(&self.log).expect("a log"))
    }

    /// The log's text of both streams.
    pub(crate) fn log_text(&self) -> String {
        let bytes = self.log().into_iter().flat_map(|entry| entry.text).collect();
        String::from_utf8(bytes).expect("text")
    }

    /// Directories that this container has in the cgroup hierarchies.
    pub(crate) fn cgroups(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").expect("cgroups").flatten() {
            let path = hierarchy.path().join(cgroups_path(&self.id));
            found.extend(path.is_dir().then_some(path));
        }
        found
    }

    /// Waits for the end, and asserts that nothing is left.
    pub(crate) fn exited(&mut self) -> ExitRecord {
        let record = self.control.exited();
        assert_eq!(record.failures, Vec::<String>::new());
        assert_eq!(self.record().as_ref(), Some(&record), "told and written");
        self.assert_clean();
        record
    }

    pub(crate) fn assert_clean(&self) {
        assert_eq!(self.cgroups(), Vec::<PathBuf>::new());
        assert!(!self.dir.join("sock").exists());
        assert!(!self.dir.join("pid").exists());
        assert!(!is_alive(self.pid));
    }

    pub(crate) fn kill(&mut self) {
        assert!(matches!(self.control.ask(Request::Signal(9)), Reply::Done));
        assert_eq!(self.exited().exit_code, 137);
    }
}

/// A test that fails leaves no container.
impl Drop for Container {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        if let Ok(socket) = sys::stream::connect_in(&self.dir, "sock") {
            let request = Envelope { number: 1, request: Request::Signal(9) };
            let abandon = Envelope { number: 2, request: Request::Abandon };
            for request in [request, abandon] {
                let _ = sys::socket::send(&socket, &frame::encode(&request).expect("encodes"), &[]);
            }
            let mut rest = Vec::new();
            let _ = UnixStream::from(socket).read_to_end(&mut rest);
        }
    }
}

/// Whether a process is there and no zombie.
pub(crate) fn is_alive(pid: i32) -> bool {
    sys::process::Stat::of(pid).is_ok_and(|stat| !stat.has_ended())
}

pub(crate) fn entries(bytes: &[u8]) -> Vec<Entry> {
    let mut decoder = proto::log::Decoder::new(Format::Json);
    decoder.push(bytes);
    let mut entries = Vec::new();
    while let Some(entry) = decoder.entry().expect("an undamaged log") {
        entries.push(entry);
    }
    assert_eq!(decoder.pending(), 0, "whole records only");
    entries
}

/// Reads a stream to its end.
pub(crate) fn rest(mut stream: UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("reads");
    bytes
}

/// Takes multiplexed frames apart: standard output and standard error.
pub(crate) fn demultiplex(mut bytes: &[u8]) -> (String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while !bytes.is_empty() {
        let length = u32::from_be_bytes(bytes[4..8].try_into().expect("a head")) as usize;
        let stream = match bytes[0] {
            1 => &mut out,
            2 => &mut err,
            other => panic!("stream {other}"),
        };
        stream.extend_from_slice(&bytes[8..8 + length]);
        bytes = &bytes[8 + length..];
    }
    (String::from_utf8(out).expect("text"), String::from_utf8(err).expect("text"))
}

/// Reads until the stream has said this.
pub(crate) fn read_until(stream: &mut UnixStream, text: &str) -> String {
    let mut bytes = Vec::new();
    let mut chunk = [0; 1024];
    while !String::from_utf8_lossy(&bytes).contains(text) {
        let count = stream.read(&mut chunk).expect("reads");
        assert!(count > 0, "the stream ended with {:?}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&chunk[..count]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
