//! What a monitor costs: starts containers of busybox in a directory, one after the other and
//! many at once, and prints latencies and the private memory of every monitor.
//!
//! `cargo run --release -p isopod-monitor --example footprint [CONTAINERS]`, as root.

use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use proto::control::{Attach, Envelope, Exec, FromMonitor, Notice, Reply, Request};
use proto::frame::{self, Decoder};
use proto::launch::{Asked, Launch, Log, LogFile, Order, RootSource, Stdin, VERSION};
use serde_json::json;
use types::capability::CapabilitySet;

type Failure = Box<dyn std::error::Error>;

struct Container {
    stream: UnixStream,
    decoder: Decoder,
    number: u64,
    dir: std::path::PathBuf,
}

impl Container {
    fn message(&mut self) -> Result<FromMonitor, Failure> {
        loop {
            if let Some(message) = self.decoder.message()? {
                return Ok(message);
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk)? {
                0 => return Err("the monitor has gone".into()),
                count => self.decoder.push(&chunk[..count]),
            }
        }
    }

    fn until(&mut self, wanted: impl Fn(&Notice) -> bool) -> Result<(), Failure> {
        loop {
            match self.message()? {
                FromMonitor::Notice(Notice::Failed(error)) => return Err(error.into()),
                FromMonitor::Notice(notice) if wanted(&notice) => return Ok(()),
                _ => {}
            }
        }
    }

    fn ask(&mut self, request: Request, stream: Option<OwnedFd>) -> Result<Reply, Failure> {
        self.number += 1;
        let bytes = frame::encode(&Envelope { number: self.number, request })?;
        let fds: Vec<_> = stream.iter().map(AsFd::as_fd).collect();
        let sent = sys::socket::send(&self.stream, &bytes, &fds)?;
        self.stream.write_all(&bytes[sent..])?;
        loop {
            if let FromMonitor::Reply { result, .. } = self.message()? {
                return Ok(result?);
            }
        }
    }
}

fn launch(
    orders: &OwnedFd,
    base: &Path,
    number: usize,
    args: &[&str],
) -> Result<Container, Failure> {
    let id = format!("{number:064x}");
    let dir = base.join(&id);
    std::fs::create_dir_all(&dir)?;
    let caps = CapabilitySet::default_set().names();
    let mount = |destination: &str, kind: &str| json!({"destination": destination, "type": kind, "source": kind});
    let variables = (0..20).map(|n| format!("VARIABLE_{n}=some value {n}"));
    let env: Vec<_> = std::iter::once("PATH=/bin".to_owned()).chain(variables).collect();
    let spec = json!({
        "ociVersion": "1.2.0", "root": {"path": "rootfs"}, "hostname": "test",
        "process": {
            "user": {"uid": 0, "gid": 0}, "args": args, "cwd": "/",
            "env": env,
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
        },
        "mounts": [mount("/proc", "proc"), mount("/dev", "tmpfs"), mount("/dev/pts", "devpts"),
            mount("/sys", "sysfs"), mount("/dev/mqueue", "mqueue"), mount("/dev/shm", "tmpfs")],
        "linux": {
            "cgroupsPath": format!("isopod-footprint/{id}"),
            "resources": {"memory": {"limit": 64 << 20}, "pids": {"limit": 100}},
            "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"},
                {"type": "network"}],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"],
        },
    });
    let log = LogFile {
        path: base.join(format!("{id}.log")),
        max_size: Some(10 << 20),
        max_file: 3,
        compress: false,
        attributes: std::collections::BTreeMap::new(),
    };
    let order = Order::Launch(Box::new(Launch {
        version: VERSION,
        guard: false,
        id,
        dir: dir.clone(),
        spec: serde_json::from_value(spec)?,
        default_seccomp: true,
        root: RootSource::Directory(base.join("root")),
        netns: false,
        mounts: 0,
        held: 0,
        terminal: None,
        stdin: Stdin::Null,
        log: Log::JsonFile(log),
        init: false,
        asked: Asked::default(),
        systemd_cgroup: false,
        machine: None,
        whole: None,
    }));
    let (ours, theirs) = UnixStream::pair()?;
    let bytes = frame::encode(&order)?;
    let mut sent = sys::socket::send(orders, &bytes, &[theirs.as_fd()])?;
    while sent < bytes.len() {
        sent += sys::socket::send(orders, &bytes[sent..], &[])?;
    }
    Ok(Container { stream: ours, decoder: Decoder::default(), number: 0, dir })
}

/// Kilobytes by their names in `/proc/PID/smaps_rollup`.
fn memory(pid: &str) -> Result<(u64, u64, u64), Failure> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let of = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    Ok((of("Rss:"), of("Private_Dirty:"), of("Private_Clean:")))
}

fn show(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |part: usize| times[(times.len() - 1) * part / 100].as_secs_f64() * 1000.0;
    println!("{what:40} median {:7.2} ms   95% {:7.2} ms", at(50), at(95));
}

fn main() -> Result<(), Failure> {
    let orders = monitor::launcher::spawn(|_, _| 1)?;
    let count: usize = std::env::args().nth(1).map_or(Ok(50), |text| text.parse())?;
    let base = std::env::temp_dir().join(format!("isopod-footprint-{}", std::process::id()));
    for dir in ["bin", "dev", "proc", "sys", "tmp"] {
        std::fs::create_dir_all(base.join("root").join(dir))?;
    }
    std::fs::copy("/bin/busybox", base.join("root/bin/busybox"))?;
    for applet in ["sleep", "true", "yes"] {
        std::os::unix::fs::symlink("busybox", base.join("root/bin").join(applet))?;
    }
    let result = measure(&orders, &base, count);
    drop(orders);
    let layout = runtime::cgroup::Layout::probe()?;
    runtime::cgroup::Cgroup::prune_parent(&layout, "isopod-footprint")?;
    std::fs::remove_dir_all(&base)?;
    result
}

fn measure(orders: &OwnedFd, base: &Path, count: usize) -> Result<(), Failure> {
    let (mut created, mut started, mut ended) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..count {
        let begin = Instant::now();
        let mut container = launch(orders, base, number, &["true"])?;
        container.until(|notice| matches!(notice, Notice::Created { .. }))?;
        created.push(begin.elapsed());
        container.ask(Request::Start, None)?;
        started.push(begin.elapsed());
        container.until(|notice| matches!(notice, Notice::Exited(_)))?;
        ended.push(begin.elapsed());
    }
    show("order to Created", created);
    show("order to Started", started);
    show("order to Exited (true)", ended);

    let begin = Instant::now();
    let mut running = Vec::new();
    for number in 0..count {
        running.push(launch(orders, base, count + number, &["sleep", "1000"])?);
    }
    for container in &mut running {
        container.until(|notice| matches!(notice, Notice::Created { .. }))?;
        container.ask(Request::Start, None)?;
    }
    println!("{count} at once, all started{:32.2} ms", begin.elapsed().as_secs_f64() * 1000.0);

    let mut execs = Vec::new();
    for number in 0..count {
        let process = json!({"user": {"uid": 0, "gid": 0}, "args": ["true"], "cwd": "/",
            "env": ["PATH=/bin"]});
        let exec = Exec {
            id: format!("{number}"),
            process: serde_json::from_value(process)?,
            attach: Attach { stdin: false, stdout: true, stderr: true },
            privileged: false,
            asked: Asked::default(),
            user: proto::guest::User::default(),
        };
        let (mut ours, theirs) = UnixStream::pair()?;
        let container = &mut running[number % 5];
        let begin = Instant::now();
        container.ask(Request::Exec(Box::new(exec)), Some(theirs.into()))?;
        ours.read_to_end(&mut Vec::new())?;
        container.until(|notice| matches!(notice, Notice::ExecExited { .. }))?;
        execs.push(begin.elapsed());
    }
    show("exec of true, to its end", execs);
    std::thread::sleep(Duration::from_secs(3));

    let mut private = Vec::new();
    for (number, container) in running.iter().enumerate() {
        let pid = std::fs::read_to_string(container.dir.join("pid"))?;
        let (rss, dirty, clean) = memory(&pid)?;
        if number == 0 || number + 1 == count {
            println!("monitor {number}: rss {rss} KiB, private {dirty} dirty + {clean} clean");
        }
        private.push(dirty + clean);
    }
    private.sort_unstable();
    let median = private[private.len() / 2];
    println!("private memory of a monitor{median:29} KiB (most: {} KiB)", private[count - 1]);
    for container in &mut running {
        container.ask(Request::Signal(9), None)?;
        container.until(|notice| matches!(notice, Notice::Exited(_)))?;
    }
    let mut noisy = launch(orders, base, 2 * count, &["yes", "0123456789abcdef0123456789abcdef"])?;
    noisy.until(|notice| matches!(notice, Notice::Created { .. }))?;
    noisy.ask(Request::Start, None)?;
    std::thread::sleep(Duration::from_secs(2));
    let pid = std::fs::read_to_string(noisy.dir.join("pid"))?;
    let (_, dirty, clean) = memory(&pid)?;
    println!("private memory while output floods{:22} KiB", dirty + clean);
    noisy.ask(Request::Signal(9), None)?;
    noisy.until(|notice| matches!(notice, Notice::Exited(_)))
}
