//! The agent over a socket, with a directory for the root file system: everything that it does for
//! a container, without a machine around it.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use proto::guest::{
    Boot, Create, Exec, Failure, FileRequest, FromGuest, Notice, Reply, Request, Side, Streams,
    ToGuest, User, VERSION, frame,
};
use proto::launch::{Asked, WindowSize};
use relay::{Event, Link};
use serde_json::{Value, json};
use sys::poll::Poll;
use types::Timestamp;

/// How long anything may take here.
const LIMIT: Duration = Duration::from_secs(60);

/// An agent and the monitor's end of its connection.
struct Guest {
    agent: Child,
    link: Link,
    number: u32,
    channel: u32,
    messages: VecDeque<FromGuest>,
    dir: tempfile::TempDir,
}

impl Drop for Guest {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.agent.kill();
        let _ = self.agent.wait();
        // They would go with the machine. Busy until the last process is gone.
        let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        let roots = hierarchies.map(|entry| entry.path()).chain(["/sys/fs/cgroup".into()]);
        for group in roots.map(|root: PathBuf| root.join(self.id())) {
            let began = Instant::now();
            while group.exists() && std::fs::remove_dir(&group).is_err() && began.elapsed() < LIMIT
            {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

fn root(dir: &Path) -> PathBuf {
    let root = dir.join("root");
    for name in ["bin", "dev", "etc", "proc", "sys", "tmp", "root"] {
        std::fs::create_dir_all(root.join(name)).expect("directory");
    }
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|p| Path::new(p).exists());
    std::fs::copy(busybox.expect("busybox is installed"), root.join("bin/busybox")).expect("copy");
    for applet in ["cat", "echo", "id", "kill", "sh", "sleep", "stty", "test", "tty", "yes", "head"]
    {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).expect("link");
    }
    let users = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/srv:/bin/sh\n";
    std::fs::write(root.join("etc/passwd"), users).expect("writes");
    root
}

fn spec(args: &[&str], terminal: bool) -> Value {
    json!({
        "ociVersion": "1.2.0",
        "process": {
            "terminal": terminal, "cwd": "/", "args": args, "env": ["PATH=/bin"],
            "user": {"uid": 0, "gid": 0},
            "capabilities": {"bounding": ["CAP_KILL", "CAP_SETUID", "CAP_SETGID"],
                "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]},
        },
        "root": {"path": "/"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["newinstance", "ptmxmode=0666", "mode=0620"]},
        ],
        "linux": {"namespaces": [
            {"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}, {"type": "network"},
        ]},
    })
}

impl Guest {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("directory");
        let root = root(dir.path());
        let (ours, theirs) = UnixStream::pair().expect("pair");
        let mut command = Command::new(env!("CARGO_BIN_EXE_guest-agent"));
        command.arg("0").arg(&root).stdin(Stdio::from(OwnedFd::from(theirs))).process_group(0);
        let agent = command.spawn().expect("the agent starts");
        let link = Link::new(ours.into(), Side::Guest).expect("a link");
        let messages = VecDeque::new();
        let mut guest = Self { agent, link, number: 0, channel: 0, messages, dir };
        match guest.message() {
            FromGuest::Hello(hello) => assert_eq!(hello.version, VERSION),
            other => panic!("instead of a greeting: {other:?}"),
        }
        let boot = Boot {
            version: VERSION,
            entropy: String::new(),
            clock: Timestamp::now(),
            hostname: "guest".to_owned(),
            layers: 0,
            writable: false,
            interfaces: Vec::new(),
            shares: Vec::new(),
            names: false,
        };
        assert_eq!(guest.ask(Request::Boot(Box::new(boot))), Ok(Reply::Done));
        guest
    }

    /// One turn; messages go into their queue.
    fn turn(&mut self) {
        self.link.flush().expect("the link works");
        let mut poll = Poll::default();
        let mut ready = Vec::new();
        self.link.register(&mut poll, |part| part);
        poll.wait(Some(LIMIT), &mut ready).expect("polls");
        assert!(!ready.is_empty(), "the agent does not answer");
        for (part, what) in ready {
            self.link.ready(part, what).expect("the link works");
        }
        while let Some(event) = self.link.next().expect("the link works") {
            match event {
                Event::Message(json) => {
                    self.messages.push_back(frame::read(&json).expect("a message"));
                }
                Event::Name { .. } => panic!("a question that nobody asked"),
            }
        }
    }

    fn message(&mut self) -> FromGuest {
        while self.messages.is_empty() {
            self.turn();
        }
        self.messages.pop_front().expect("there")
    }

    fn send(&mut self, request: Request) -> u32 {
        self.number += 1;
        self.link.send(&ToGuest { number: self.number, request }).expect("sent");
        self.number
    }

    /// Asks and waits; notices stay in the queue.
    fn ask(&mut self, request: Request) -> Result<Reply, Failure> {
        let asked = self.send(request);
        loop {
            let found = self.messages.iter().position(
                |message| matches!(message, FromGuest::Reply { number, .. } if *number == asked),
            );
            if let Some(at) = found
                && let Some(FromGuest::Reply { result, .. }) = self.messages.remove(at)
            {
                return result;
            }
            self.turn();
        }
    }

    fn notice(&mut self) -> Notice {
        loop {
            let found =
                self.messages.iter().position(|message| matches!(message, FromGuest::Notice(_)));
            if let Some(at) = found
                && let Some(FromGuest::Notice(notice)) = self.messages.remove(at)
            {
                return notice;
            }
            self.turn();
        }
    }

    /// A channel to the guest, and where to write.
    fn input(&mut self) -> (u32, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("pair");
        self.channel += 1;
        self.link.draw(self.channel, theirs.into()).expect("drawn");
        (self.channel, ours)
    }

    /// A channel from the guest, and where to read.
    fn output(&mut self) -> (u32, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("pair");
        self.channel += 1;
        self.link.pour(self.channel, theirs.into()).expect("poured");
        ours.set_read_timeout(Some(LIMIT)).expect("a limit");
        (self.channel, ours)
    }

    /// Everything that comes out, to its end.
    fn drain(&mut self, channel: u32, mut from: UnixStream) -> String {
        let reader = std::thread::spawn(move || {
            let mut all = String::new();
            from.read_to_string(&mut all).expect("reads");
            all
        });
        while self.link.is_open(channel) {
            self.turn();
        }
        reader.join().expect("joins")
    }

    /// The container's id.
    fn id(&self) -> String {
        format!("agent-{}-{}", std::process::id(), self.agent.id())
    }

    /// The first bytes that come out.
    fn first(&mut self, count: usize, mut from: UnixStream) -> (Vec<u8>, UnixStream) {
        let reader = std::thread::spawn(move || {
            let mut first = vec![0; count];
            from.read_exact(&mut first).expect("reads");
            (first, from)
        });
        let began = Instant::now();
        while !reader.is_finished() {
            assert!(began.elapsed() < LIMIT, "nothing is said");
            // An empty question keeps the link turning until the reader has it all.
            let answered = self.ask(Request::Stats);
            assert!(answered.is_ok(), "{answered:?}");
        }
        reader.join().expect("joins")
    }

    fn create(&mut self, spec: Value, user: &str, streams: Streams) -> Result<Reply, Failure> {
        let create = Create {
            id: self.id(),
            spec: serde_json::from_value(spec).expect("a specification"),
            default_seccomp: true,
            user: User { user: user.to_owned(), ..User::default() },
            files: Vec::new(),
            streams,
            init: false,
            asked: Asked::default(),
        };
        self.ask(Request::Create(Box::new(create)))
    }

    /// Creates and starts a script; its output.
    fn run(&mut self, script: &str, user: &str) -> (u32, UnixStream) {
        let (stdout, from) = self.output();
        let streams = Streams { stdout: Some(stdout), stderr: None, stdin: None, terminal: None };
        let created = self.create(spec(&["sh", "-c", script], false), user, streams);
        assert!(matches!(created, Ok(Reply::Created { .. })), "{created:?}");
        assert_eq!(self.ask(Request::Start), Ok(Reply::Started));
        (stdout, from)
    }

    fn end(mut self) {
        assert_eq!(self.ask(Request::Shutdown), Ok(Reply::Done));
    }
}

#[test]
fn privileged_a_process_says_something_and_ends() {
    let mut guest = Guest::new();
    let (stdout, from) = guest.run("echo $HOME; id -u; exit 7", "web");
    assert_eq!(guest.drain(stdout, from), "/srv\n33\n");
    assert_eq!(guest.notice(), Notice::Exited { exit_code: 7 });
    guest.end();
}

#[test]
fn privileged_a_program_that_is_not_there_has_its_status() {
    let mut guest = Guest::new();
    let created = guest.create(spec(&["nothing"], false), "", Streams::default());
    let failure = match created {
        Ok(Reply::Created { .. }) => guest.ask(Request::Start).expect_err("no program"),
        other => other.expect_err("no program"),
    };
    assert!(failure.error.message.contains("not found"), "{failure:?}");
    guest.end();
}

#[test]
fn privileged_a_user_that_is_not_there_is_told() {
    let mut guest = Guest::new();
    let created = guest.create(spec(&["sh"], false), "nobody", Streams::default());
    let failure = created.expect_err("no user");
    let expected = "unable to find user nobody: no matching entries in passwd file";
    assert_eq!(failure.error.message, expected);
    guest.end();
}

#[test]
fn privileged_input_goes_in_and_ends_and_execs_run_beside_it() {
    let mut guest = Guest::new();
    let (stdin, mut to) = guest.input();
    let (stdout, from) = guest.output();
    let streams =
        Streams { stdin: Some(stdin), stdout: Some(stdout), stderr: None, terminal: None };
    guest.create(spec(&["cat"], false), "", streams).expect("created");
    assert_eq!(guest.ask(Request::Start), Ok(Reply::Started));
    let (out, exec_from) = guest.output();
    let process = spec(&["sh", "-c", "id -u; exit 3"], false)["process"].take();
    let exec = Exec {
        id: "e1".to_owned(),
        process: serde_json::from_value(process).expect("a process"),
        user: User { user: "web".to_owned(), ..User::default() },
        streams: Streams { stdout: Some(out), ..Streams::default() },
        privileged: false,
        asked: Asked::default(),
    };
    let started = guest.ask(Request::Exec(Box::new(exec)));
    assert!(matches!(started, Ok(Reply::ExecStarted { pid: 1.. })), "{started:?}");
    assert_eq!(guest.drain(out, exec_from), "33\n");
    assert_eq!(guest.notice(), Notice::ExecExited { exec: "e1".to_owned(), exit_code: 3 });
    let Ok(Reply::Processes(processes)) = guest.ask(Request::Processes) else {
        panic!("no processes")
    };
    assert_eq!(processes.iter().map(|p| p.command.as_str()).collect::<Vec<_>>(), ["cat"]);
    assert!(matches!(guest.ask(Request::Stats), Ok(Reply::Sample(_))));
    let text = "x".repeat(700_000);
    let sent = text.clone();
    let writer = std::thread::spawn(move || {
        to.write_all(sent.as_bytes()).expect("writes");
    });
    assert!(guest.drain(stdout, from) == text, "what came is not what went");
    writer.join().expect("joins");
    assert_eq!(guest.notice(), Notice::Exited { exit_code: 0 });
    guest.end();
}

#[test]
fn privileged_a_terminal_has_a_size_and_is_resized() {
    let mut guest = Guest::new();
    let (stdin, mut to) = guest.input();
    let (stdout, from) = guest.output();
    let streams = Streams {
        terminal: Some(WindowSize { rows: 20, cols: 50 }),
        stdin: Some(stdin),
        stdout: Some(stdout),
        stderr: None,
    };
    let script = "stty size; read line; stty size; echo got $line";
    guest.create(spec(&["sh", "-c", script], true), "", streams).expect("created");
    assert_eq!(guest.ask(Request::Start), Ok(Reply::Started));
    let (first, from) = guest.first(7, from);
    assert_eq!(first, b"20 50\r\n");
    let size = WindowSize { rows: 30, cols: 99 };
    assert_eq!(guest.ask(Request::Resize { exec: None, size }), Ok(Reply::Done));
    to.write_all(b"hello\n").expect("writes");
    let rest = guest.drain(stdout, from);
    assert_eq!(rest, "hello\r\n30 99\r\ngot hello\r\n");
    assert_eq!(guest.notice(), Notice::Exited { exit_code: 0 });
    guest.end();
}

#[test]
fn privileged_signals_freezing_and_the_end_of_all() {
    let mut guest = Guest::new();
    let (stdout, from) = guest.run("trap 'echo term' TERM; echo up; while :; do sleep 1; done", "");
    let (first, from) = guest.first(3, from);
    assert_eq!(first, b"up\n");
    assert_eq!(guest.ask(Request::Pause), Ok(Reply::Done));
    assert_eq!(guest.ask(Request::Resume), Ok(Reply::Done));
    let signal = |signal| Request::Signal { exec: None, signal };
    assert_eq!(guest.ask(signal(15)), Ok(Reply::Done));
    assert_eq!(guest.ask(Request::KillAll), Ok(Reply::Done));
    assert_eq!(guest.notice(), Notice::Exited { exit_code: 137 });
    let said = guest.drain(stdout, from);
    assert!(matches!(said.as_str(), "" | "term\n"), "{said:?}");
    let failure = guest.ask(signal(15)).expect_err("it has ended");
    assert_eq!(failure.error.message, "the container is not running");
    guest.end();
}

#[test]
fn privileged_files_go_out_and_in() {
    let mut guest = Guest::new();
    std::fs::write(guest.dir.path().join("root/etc/motd"), "hello").expect("writes");
    let stat = |path: &str| Request::Files(FileRequest::Stat { path: path.to_owned() });
    let Ok(Reply::Stat(Some(found))) = guest.ask(stat("/etc/motd")) else { panic!("not there") };
    assert_eq!((found.name.as_str(), found.size), ("motd", 5));
    assert_eq!(guest.ask(stat("/etc/none")), Ok(Reply::Stat(None)));

    let (channel, mut from) = guest.output();
    let got = guest.send(Request::Files(FileRequest::Get { path: "/etc/motd".into(), channel }));
    let mut tar = Vec::new();
    while guest.link.is_open(channel) {
        guest.turn();
    }
    from.read_to_end(&mut tar).expect("reads");
    assert!(tar.windows(5).any(|bytes| bytes == b"hello"));
    let answered = guest.messages.iter().any(
        |message| matches!(message, FromGuest::Reply { number, result: Ok(Reply::Done) } if *number == got),
    );
    if !answered {
        let FromGuest::Reply { number, result } = guest.message() else { panic!("no reply") };
        assert_eq!((number, result), (got, Ok(Reply::Done)));
    }
    guest.messages.clear();

    let (channel, mut to) = guest.input();
    to.write_all(&tar).expect("writes");
    drop(to);
    let put = FileRequest::Put { path: "/tmp".into(), channel, no_overwrite: false, owner: None };
    assert_eq!(guest.ask(Request::Files(put)), Ok(Reply::Done));
    let copied = std::fs::read_to_string(guest.dir.path().join("root/tmp/motd")).expect("there");
    assert_eq!(copied, "hello");

    let (channel, to) = guest.input();
    drop(to);
    let put = FileRequest::Put { path: "/none".into(), channel, no_overwrite: false, owner: None };
    let failure = guest.ask(Request::Files(put)).expect_err("no such directory");
    assert_eq!(failure.error.kind, types::ErrorKind::NotFound, "{failure:?}");
    guest.end();
}
