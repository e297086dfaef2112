//! Starts the engines that the black-box suite compares, once for a whole nextest run.
//!
//! `engines start` is nextest's setup script: it leaves a watcher behind, which holds the daemons
//! and stops them when the process that ran the script is gone. `engines run dockerd|isopod [ARGS]`
//! holds one until it gets a line on standard input or its end; other people's suites use that.

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use testkit::daemon::{Daemon, Options};
use testkit::{Engine, Kind, image};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["start"] => start(),
        ["watch", pid, ready] => watch(pid.parse()?, Path::new(ready)),
        ["run", kind, ref rest @ ..] => hold(kind, rest),
        _ => bail!("usage: engines start | engines run dockerd|isopod [ARGUMENTS]"),
    }
}

fn start() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("the black-box suite needs root");
    }
    let parent = rustix::process::getppid().context("no parent")?.as_raw_nonzero();
    let ready = PathBuf::from(format!("/tmp/isopod-engines-{}", std::process::id()));
    let log_dir = testkit::engine::target_dir().join("../test-logs");
    std::fs::create_dir_all(&log_dir)?;
    let log = std::fs::File::create(log_dir.join("engines.log"))?;
    Command::new(std::env::current_exe()?)
        .arg("watch")
        .arg(parent.to_string())
        .arg(&ready)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("the watcher")?;
    let began = Instant::now();
    let lines = loop {
        if let Ok(text) = std::fs::read_to_string(&ready) {
            break text;
        }
        if began.elapsed() > Duration::from_secs(90) {
            bail!("the engines did not start; see target/test-logs/engines.log");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    std::fs::remove_file(&ready)?;
    match std::env::var_os("NEXTEST_ENV") {
        Some(path) => {
            let mut file = std::fs::File::options().append(true).create(true).open(path)?;
            file.write_all(lines.as_bytes())?;
        }
        None => print!("{lines}"),
    }
    Ok(())
}

fn watch(parent: i32, ready: &Path) -> Result<()> {
    let _ = rustix::process::setsid();
    let parent = Pid::from_raw(parent).context("a process id")?;
    let parent = pidfd_open(parent, PidfdFlags::empty()).context("pidfd_open")?;
    let mut daemons = Vec::new();
    let mut lines = String::new();
    for (variable, kind) in
        [("ISOPOD_TEST_DOCKERD", Kind::Dockerd), ("ISOPOD_TEST_ISOPOD", Kind::Isopod)]
    {
        if !wanted(kind) {
            lines.push_str(&format!("{variable}=ISOPOD_TEST_ENGINES leaves this engine out\n"));
            continue;
        }
        let arguments = if kind == Kind::Isopod { wall() } else { Vec::new() };
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let value = match prepared(kind, &arguments) {
            Ok(daemon) => {
                let value = serde_json::to_string(&daemon.engine())?;
                daemons.push(daemon);
                value
            }
            Err(error) => error.replace('\n', " | "),
        };
        lines.push_str(&format!("{variable}={value}\n"));
    }
    let unfinished = ready.with_extension("new");
    std::fs::write(&unfinished, lines)?;
    std::fs::rename(&unfinished, ready)?;

    let mut fds = [rustix::event::PollFd::new(&parent, rustix::event::PollFlags::IN)];
    while rustix::event::poll(&mut fds, None) == Err(rustix::io::Errno::INTR) {}
    let mut left = Vec::new();
    for daemon in daemons {
        if let Err(error) = daemon.stop() {
            left.push(error);
        }
    }
    if left.is_empty() {
        println!("stopped, nothing left behind");
        return Ok(());
    }
    bail!("left behind:\n{}", left.join("\n"))
}

/// Whether tests of this run need an engine: both are started, or the one that `ISOPOD_TEST_ENGINES`
/// names.
fn wanted(kind: Kind) -> bool {
    match std::env::var("ISOPOD_TEST_ENGINES").as_deref() {
        Ok("isopod") => kind == Kind::Isopod,
        Ok("dockerd") => kind == Kind::Dockerd,
        _ => true,
    }
}

/// Which wall our containers are to be behind in this run: `ISOPOD_TEST_ISOLATION=vm` runs every
/// suite behind the second one, with the kernel that `ISOPOD_TEST_VM_KERNEL` names.
fn wall() -> Vec<String> {
    let mut arguments = Vec::new();
    for (variable, option) in
        [("ISOPOD_TEST_ISOLATION", "--isolation"), ("ISOPOD_TEST_VM_KERNEL", "--vm-kernel")]
    {
        if let Ok(value) = std::env::var(variable) {
            arguments.extend([option.to_owned(), value]);
        }
    }
    arguments
}

/// A daemon with the busybox image in it.
fn prepared(kind: Kind, arguments: &[&str]) -> Result<Daemon, String> {
    let arguments = arguments.iter().map(ToString::to_string).collect();
    let daemon = Daemon::start(Options { kind, program: None, arguments, host_network: false })?;
    load(&daemon.engine(), &["busybox:latest"])?;
    Ok(daemon)
}

fn load(engine: &Engine, tags: &[&str]) -> Result<(), String> {
    let saved = image::busybox(tags);
    let answer = engine.upload("/images/load?quiet=1", &saved.tar);
    let image = engine.get(&format!("/images/{}/json", tags[0]));
    if image.status == 200 {
        return Ok(());
    }
    Err(format!("loading busybox: {} {} {}", answer.status, answer.text(), image.text()))
}

fn hold(kind: &str, arguments: &[&str]) -> Result<()> {
    let kind = match kind {
        "dockerd" => Kind::Dockerd,
        "isopod" => Kind::Isopod,
        other => bail!("no engine is called {other}"),
    };
    let daemon = prepared(kind, arguments).map_err(anyhow::Error::msg)?;
    println!("{}", serde_json::to_string(&daemon.engine())?);
    std::io::stdout().flush()?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    daemon.stop().map_err(anyhow::Error::msg)
}
