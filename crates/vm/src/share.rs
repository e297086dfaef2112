//! Directories of the host that a guest can mount: each is served by a process of its own
//! (`virtiofsd`), which sees nothing but that directory.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use proto::guest::{SHARED_DIRECTORY, SHARED_FILE};
use sys::entry;
use sys::fs::{FileType, Mode, Root};
use sys::mount::{self, FsContext, MountPropagationFlags, NODEV, NOSUID, RDONLY, SetAttr};
use sys::namespace;
use sys::process::{self, CloneOptions, Forked};

use crate::backend::Conditions;
use crate::confine::{self, Process};
use crate::error::{Error, Step};
use crate::machine::Share;

/// Where a serving process has what it serves, in a mount namespace of its own.
const SERVED: &str = "/mnt";

/// The processes of a machine's shares, and the connections to them.
#[derive(Default)]
pub(crate) struct Served {
    /// For the machine's process.
    pub(crate) sockets: Vec<OwnedFd>,
    processes: Vec<Process>,
}

impl Served {
    /// The processes: they end when their connection does.
    pub(crate) fn into_processes(mut self) -> Vec<(i32, OwnedFd)> {
        let processes = std::mem::take(&mut self.processes);
        processes.into_iter().map(|process| (process.pid, process.pidfd)).collect()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // What is still here belongs to a machine that did not start.
        self.processes.iter().for_each(Process::end);
    }
}

/// Starts a process for each.
pub(crate) fn serve(shares: &[Share], conditions: &Conditions<'_>) -> Result<Served, Error> {
    let mut served = Served::default();
    if shares.is_empty() {
        return Ok(served);
    }
    let program = confine::find("virtiofsd").ok_or(Error::NoProgram {
        program: "virtiofsd",
        package: "qemu-system-common or virtiofsd",
    })?;
    // Sockets that listen need a place. Nobody else can come to this one, and it goes by itself.
    let place = FsContext::open("tmpfs").and_then(|tmpfs| tmpfs.mount(NOSUID | NODEV));
    let place = place.step("make a place for sockets")?;
    let directory = sys::fs::proc_fd_path(&place);
    for (n, share) in shares.iter().enumerate() {
        let name = format!("share-{n}");
        let listener = sys::stream::listen_private(&directory, &name).step("listen")?;
        served.sockets.push(sys::stream::connect_in(&directory, &name).step("connect")?);
        served.processes.push(spawn(&program, share, &listener, conditions)?);
    }
    Ok(served)
}

fn spawn(
    program: &Path,
    share: &Share,
    listener: &OwnedFd,
    conditions: &Conditions<'_>,
) -> Result<Process, Error> {
    let (ours, theirs) = sys::socket::pair().step("make a socket")?;
    // The rest of its confinement is its own: pid and network namespaces, a root that is the
    // directory, a filter of system calls, few capabilities.
    let options = CloneOptions {
        namespaces: namespace::MOUNT,
        cgroup: conditions.cgroup,
        ..CloneOptions::default()
    };
    match process::clone3(&options).step("start a process")? {
        Forked::Child => {
            drop(ours);
            let failed = become_it(program, share, listener, conditions, &theirs);
            let errno = failed.raw_os_error().unwrap_or(sys::errno::EINVAL);
            let _ = sys::socket::send(&theirs, &errno.to_le_bytes(), &[]);
            process::exit_now(127)
        }
        Forked::Parent { pid, pidfd } => {
            drop(theirs);
            let process = Process { pid, pidfd, listener: None };
            let mut errno = [0; 4];
            match sys::socket::recv(&ours, &mut errno).step("hear from virtiofsd")? {
                (0, _) => Ok(process),
                _ => {
                    process.end();
                    let source = io::Error::from_raw_os_error(i32::from_le_bytes(errno));
                    let path = share.source.clone().unwrap_or_default();
                    Err(Error::File { step: "share", path, source })
                }
            }
        }
    }
}

/// In the child. Returns only what failed.
fn become_it(
    program: &Path,
    share: &Share,
    listener: &OwnedFd,
    conditions: &Conditions<'_>,
    channel: &OwnedFd,
) -> io::Error {
    let shown = || -> io::Result<Vec<CString>> {
        process::reset_signals()?;
        process::setsid()?;
        (conditions.enter)()?;
        show(share)?;
        process::die_with_parent()?;
        let null = sys::stream::null()?;
        let above = 4;
        // Kept until the program is executed: its end is the parent's good news.
        std::mem::forget(process::duplicate_above(channel, above + 8)?);
        process::place_fds(&[null.as_fd(), null.as_fd(), null.as_fd(), listener.as_fd()], 0)?;
        process::close_range_cloexec(above as u32)?;
        std::mem::forget(null);
        let words = [
            program.as_os_str().as_bytes(),
            b"--fd=3",
            b"-f",
            b"-o",
            format!("source={SERVED}").as_bytes(),
            b"-o",
            b"sandbox=namespace,xattr,no_posix_lock,no_flock",
        ]
        .map(CString::new);
        Ok(words.into_iter().collect::<Result<_, _>>()?)
    };
    match shown() {
        Ok(words) => {
            let environment = [c"PATH=/usr/bin:/bin:/usr/sbin:/sbin".to_owned()];
            process::execve(&words[0].clone(), &words, &environment)
        }
        Err(error) => error,
    }
}

/// Mounts what is served: a file system that holds the place of a directory and that of a file, and
/// cannot be written to.
fn show(share: &Share) -> io::Result<()> {
    mount::propagation("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let flags = sys::fs::OFlags::PATH | sys::fs::OFlags::DIRECTORY;
    let place = sys::fs::open_host(SERVED, flags)?;
    let tmpfs = FsContext::open("tmpfs")?;
    tmpfs.string("size", "16k")?;
    let holder = tmpfs.mount(NOSUID | NODEV)?;
    mount::attach(&holder, &place)?;
    let root = Root::from(holder.try_clone()?);
    let tree = tree(share)?;
    // A place that is not needed could be taken for what has none.
    let needed = |name| tree.as_ref().is_none_or(|(_, used)| *used == name);
    if needed(SHARED_FILE) {
        root.create_file(SHARED_FILE, Mode::from_raw_mode(0o600))?;
    }
    if needed(SHARED_DIRECTORY) {
        root.mkdir(SHARED_DIRECTORY, Mode::from_raw_mode(0o700))?;
    }
    mount::set_attr(&holder, false, SetAttr { set: RDONLY, ..SetAttr::default() })?;
    tree.map_or(Ok(()), |(tree, name)| mount::attach_at(&tree, &root, name))
}

/// What a share has of the host, attached nowhere yet, and the name of its place.
fn tree(share: &Share) -> io::Result<Option<(OwnedFd, &'static str)>> {
    let Some(path) = &share.source else { return Ok(None) };
    let source = sys::fs::open_host(path, sys::fs::OFlags::PATH)?;
    let is_directory = entry::kind(&entry::stat_fd(&source)?) == FileType::Directory;
    let tree = mount::clone_tree(&source, is_directory)?;
    let set = if share.read_only { RDONLY } else { 0 } | NOSUID | NODEV;
    // What is mounted on the host later is none of the guest's business.
    let propagation = Some(MountPropagationFlags::PRIVATE);
    mount::set_attr(&tree, true, SetAttr { set, propagation, ..SetAttr::default() })?;
    Ok(Some((tree, if is_directory { SHARED_DIRECTORY } else { SHARED_FILE })))
}

/// Puts what a share has of the host before a process that serves none yet.
pub(crate) fn lend(server: i32, share: &Share) -> Result<(), Error> {
    let path = share.source.as_deref().unwrap_or(Path::new(""));
    let Some((tree, name)) = tree(share).file("share", path)? else { return Ok(()) };
    let namespace = format!("/proc/{server}/ns/mnt");
    let namespace = std::fs::File::open(&namespace).file("open", Path::new(&namespace))?;
    // Only a process of one thread can enter a mount namespace. Its root is then what is served.
    match process::clone3(&CloneOptions::default()).step("start a process")? {
        Forked::Child => {
            let lent = namespace::join(&namespace, namespace::MOUNT)
                .and_then(|()| sys::fs::open_host("/", sys::fs::OFlags::PATH))
                .and_then(|root| mount::attach_at(&tree, &root, name));
            let errno = |error: io::Error| error.raw_os_error().unwrap_or(sys::errno::EINVAL);
            process::exit_now(lent.err().map_or(0, errno))
        }
        Forked::Parent { pidfd, .. } => {
            match process::wait_pidfd(&pidfd).step("wait for a process")? {
                process::Exit::Code(0) => Ok(()),
                process::Exit::Code(errno) => Err(io::Error::from_raw_os_error(errno)),
                process::Exit::Signal { .. } => Err(io::ErrorKind::Interrupted.into()),
            }
            .file("share", path)
        }
    }
}
