//! `create` and `run`.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxResources, Spec};

use super::args::Args;
use super::state::{Container, NewDir, Record, driver, read_spec, start_time};
use super::{Error, FileContext, Global, Result, lifecycle, time, wait};
use crate::cgroup::{Cgroup, Layout, OnMissing};
use crate::{Asked, CreateOptions, Created, Root, Stdio};

/// What the command line of both says.
#[derive(Debug, Default)]
struct Options {
    id: String,
    bundle: PathBuf,
    console_socket: Option<PathBuf>,
    pidfd_socket: Option<PathBuf>,
    pid_file: Option<PathBuf>,
    preserved: Vec<OwnedFd>,
    detach: bool,
    keep: bool,
}

impl Options {
    fn parse(args: &mut Args) -> Result<Options> {
        let mut options = Options { bundle: ".".into(), ..Options::default() };
        let mut preserve_fds = 0;
        while let Some(option) = args.option()? {
            match option.as_str() {
                "--bundle" | "-b" => options.bundle = args.value()?.into(),
                "--console-socket" => options.console_socket = Some(args.value()?.into()),
                "--pidfd-socket" => options.pidfd_socket = Some(args.value()?.into()),
                "--pid-file" => options.pid_file = Some(args.value()?.into()),
                "--preserve-fds" => preserve_fds = args.number()?,
                "--detach" | "-d" => options.detach = args.flag()?,
                "--keep" => options.keep = args.flag()?,
                // Nothing to decide: pivot_root falls back by itself, the keyring is harmless,
                // and no subreaper is needed.
                "--no-pivot" | "--no-new-keyring" | "--no-subreaper" => drop(args.flag()?),
                other => return Err(args.unknown(other)),
            }
        }
        // Now, while the numbers from 3 on are not taken by our own.
        options.preserved = preserved(preserve_fds)?;
        options.id = args.id()?;
        args.end()?;
        options.bundle = std::fs::canonicalize(&options.bundle)
            .file(|| format!("cannot find the bundle {}", options.bundle.display()))?;
        Ok(options)
    }
}

/// Phrase of runc's messages.
const DURING: &str = "create failed";

/// `create`.
pub(super) fn create(args: &mut Args, global: &mut Global) -> Result<i32> {
    let mut options = Options::parse(args)?;
    make(&mut options, global, true)?;
    Ok(0)
}

/// `run`.
pub(super) fn run(args: &mut Args, global: &mut Global) -> Result<i32> {
    let mut options = Options::parse(args)?;
    // Before anything is forked: no signal may be lost, and none may end us alone.
    let foreground = (!options.detach).then(wait::Foreground::new).transpose();
    let foreground = foreground.file(|| "cannot watch for signals".into())?;
    let (container, created, console) = make(&mut options, global, false)?;
    let Some(created) = created else { return Ok(1) };
    let running = match created.start() {
        Ok(running) => running,
        Err(source) => {
            lifecycle::remove(&container)?;
            return Err(Error::Start { during: DURING, source });
        }
    };
    let Some(foreground) = foreground else { return Ok(0) };
    let status = foreground.follow(&running.pidfd, console);
    if !options.keep {
        lifecycle::remove(&container)?;
    }
    Ok(status)
}

/// Makes the container. With `gate` its init waits on the start socket and needs us no more.
fn make(
    options: &mut Options,
    global: &mut Global,
    gate: bool,
) -> Result<(Container, Option<Created>, Option<OwnedFd>)> {
    let spec = read_spec(&options.bundle.join("config.json"))?;
    let root = spec.root().as_ref().map_or(Path::new("rootfs"), |root| root.path().as_path());
    let rootfs = options.bundle.join(root);
    let terminal = terminal(&spec);
    let attended = !gate && !options.detach;
    match (terminal.is_some(), &options.console_socket) {
        (true, None) if !attended => {
            return Err(Error::Usage(
                "cannot allocate tty if the process is detached without setting console socket"
                    .into(),
            ));
        }
        (false, Some(_)) => {
            return Err(Error::Usage(
                "cannot use console socket if the process will not allocate a tty".into(),
            ));
        }
        _ => {}
    }
    let dir = NewDir::claim(global, &options.id)?;
    let mut cgroup = make_cgroup(&spec, &options.id, global)?;
    let made = (|| {
        let resources = spec.linux().as_ref().and_then(|l| l.resources().clone());
        let resources = resources.unwrap_or_else(LinuxResources::default);
        for warning in cgroup.apply(&resources, OnMissing::Fail)? {
            global.log.warning(&warning.to_string());
        }
        let mut create = CreateOptions::new(
            &options.id,
            &spec,
            Root::Path(rootfs.clone()),
            stdio(terminal)?,
            &cgroup,
        );
        create.bundle = Some(&options.bundle);
        create.extra_fds = std::mem::take(&mut options.preserved);
        create.asked = Asked::default();
        create.gate = if gate { Some(dir.gate()?) } else { None };
        crate::create(create).map_err(|source| Error::Start { during: DURING, source })
    })();
    let mut created = match made {
        Ok(created) => created,
        Err(error) => {
            let _ = cgroup.kill();
            let _ = cgroup.remove();
            return Err(error);
        }
    };
    cgroup.settled();
    for warning in &created.warnings {
        global.log.warning(warning);
    }
    let finished = (|| {
        let console = hand_over(created.console.take(), &created, options)?;
        if let Some(path) = &options.pid_file {
            write_pid(path, created.pid)?;
        }
        Ok(console)
    })();
    let record = Record {
        id: options.id.clone(),
        oci_version: spec.version().clone(),
        init_process_pid: created.pid,
        init_process_start: start_time(created.pid).unwrap_or(0),
        created: time::now(),
        bundle: options.bundle.clone(),
        rootfs,
        cgroup_path: cgroup_path(&spec, &options.id, global),
        systemd_cgroup: global.systemd_cgroup,
        annotations: spec.annotations().clone().unwrap_or_default(),
    };
    match finished.and_then(|console| Ok((dir.keep(record, &spec)?, console))) {
        Ok((container, console)) => Ok((container, (!gate).then_some(created), console)),
        Err(error) => {
            let _ = sys::process::pidfd_signal(&created.pidfd, 9);
            let _ = sys::process::wait_pidfd(&created.pidfd);
            let _ = cgroup.remove();
            Err(error)
        }
    }
}

/// Passes the terminal and the pidfd to whoever asked for them by a socket.
fn hand_over(
    console: Option<OwnedFd>,
    created: &Created,
    options: &Options,
) -> Result<Option<OwnedFd>> {
    if let Some(path) = &options.pidfd_socket {
        send_fd(path, &created.pidfd)?;
    }
    match (console, &options.console_socket) {
        (Some(console), Some(path)) => {
            send_fd(path, &console)?;
            Ok(None)
        }
        (console, _) => Ok(console),
    }
}

fn make_cgroup(spec: &Spec, id: &str, global: &mut Global) -> Result<Cgroup> {
    let path = cgroup_path(spec, id, global);
    let (cgroup, warnings) =
        Cgroup::create(&Layout::probe()?, &path, driver(global.systemd_cgroup))?;
    for warning in warnings {
        global.log.warning(&warning.to_string());
    }
    Ok(cgroup)
}

/// The specification's `cgroupsPath`, or runc's default.
fn cgroup_path(spec: &Spec, id: &str, global: &Global) -> String {
    let given = spec.linux().as_ref().and_then(|l| l.cgroups_path().as_ref());
    match given.and_then(|path| path.to_str()).filter(|path| !path.is_empty()) {
        Some(path) => path.to_owned(),
        None if global.systemd_cgroup => format!("system.slice:isopod:{id}"),
        None => id.to_owned(),
    }
}

/// The size of the terminal that the process asks for.
fn terminal(spec: &Spec) -> Option<(u16, u16)> {
    let process = spec.process().as_ref().filter(|p| p.terminal().unwrap_or(false))?;
    Some(process.console_size().map_or((0, 0), |s| (s.height() as u16, s.width() as u16)))
}

/// A terminal, or our own streams.
pub(super) fn stdio(terminal: Option<(u16, u16)>) -> Result<Stdio> {
    if let Some((rows, cols)) = terminal {
        return Ok(Stdio::Terminal { rows, cols });
    }
    let own = || -> std::io::Result<Stdio> {
        Ok(Stdio::Fds([
            std::io::stdin().as_fd().try_clone_to_owned()?,
            std::io::stdout().as_fd().try_clone_to_owned()?,
            std::io::stderr().as_fd().try_clone_to_owned()?,
        ]))
    };
    own().file(|| "cannot pass the standard streams on".into())
}

/// Our descriptors 3, 4, …: those of socket activation, and `--preserve-fds`.
pub(super) fn preserved(count: usize) -> Result<Vec<OwnedFd>> {
    let listen: usize =
        std::env::var("LISTEN_FDS").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let end = 3 + listen.saturating_add(count).min(1024) as i32;
    (3..end)
        .map(|number| {
            sys::process::inherited(number, end)
                .file(|| format!("please check that preserved-fd {number} is open"))
        })
        .collect()
}

/// Sends a descriptor to a listening stream socket, as runc does a console.
pub(super) fn send_fd(path: &Path, fd: &OwnedFd) -> Result<()> {
    let send = || {
        let dir = std::fs::File::open(path.parent().unwrap_or(Path::new("/")))?;
        let name = path.file_name().unwrap_or_default();
        let short = sys::fs::proc_fd_path(&dir).join(name);
        let socket = sys::socket::connect_stream(short)?;
        sys::socket::send(&socket, b"/dev/ptmx", &[fd.as_fd()]).map(drop)
    };
    send().file(|| format!("cannot send a descriptor to {}", path.display()))
}

/// Writes a pid, all or nothing.
pub(super) fn write_pid(path: &Path, pid: i32) -> Result<()> {
    let write = || {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = path.with_file_name(format!(".{name}"));
        std::fs::File::create(&temporary)?.write_all(pid.to_string().as_bytes())?;
        std::fs::rename(&temporary, path)
    };
    write().file(|| format!("cannot write {}", path.display()))
}
