//! Starting a machine's process where it can do least: a user of its own without capabilities, in
//! mount, pid, ipc, uts and user namespaces of its own and the network namespace that it is given,
//! with a root that holds `/usr` read-only and two devices, behind a filter of system calls.
//!
//! The steps, in the child: cgroup → network namespace → root → descriptors → user → no new
//! privileges → filter → execute. A step that fails is reported by its name and errno.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use sys::fs::{Mode, Node, Root, makedev};
use sys::mount::{self, FsContext, SetAttr};
use sys::namespace;
use sys::process::{self, CloneOptions, Forked, IdMap};
use sys::seccomp::Instruction;

use crate::error::{Error, Step};

/// The user of a machine's process: this and the pid of its parent, which no other living parent
/// has. Beyond what distributions and `useradd` give out, below the sign bit.
const FIRST_UID: u32 = 0x7a00_0000;

/// The descriptors of the process from this number on.
pub(crate) const FIRST_FD: i32 = 3;

/// Directories that a dynamically linked program needs besides `/usr`, where they are not links
/// into it.
const LIBRARIES: [&str; 4] = ["lib", "lib64", "lib32", "bin"];

/// What is to be executed, and how.
pub(crate) struct Job<'a> {
    /// The program, below `/usr`.
    pub(crate) program: &'a Path,
    pub(crate) arguments: Vec<CString>,
    /// Become descriptors [`FIRST_FD`] and following.
    pub(crate) descriptors: &'a [BorrowedFd<'a>],
    pub(crate) stderr: BorrowedFd<'a>,
    pub(crate) netns: Option<BorrowedFd<'a>>,
    /// Files of the host that it can read, by their names in its root.
    pub(crate) files: &'a [(&'a str, &'a Path)],
    /// It gets `/dev/kvm`.
    pub(crate) hardware: bool,
    pub(crate) filter: &'a [Instruction],
    /// The filter asks a listener, which is returned.
    pub(crate) listen: bool,
    pub(crate) cgroup: Option<BorrowedFd<'a>>,
    pub(crate) enter: &'a dyn Fn() -> io::Result<()>,
}

/// A process that is executing its program now.
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    pub(crate) listener: Option<OwnedFd>,
}

impl Process {
    /// Ends it and waits for that.
    pub(crate) fn end(&self) {
        end(&self.pidfd);
    }
}

/// Ends a process and waits for that.
pub(crate) fn end(pidfd: &OwnedFd) {
    let _ = process::pidfd_signal(pidfd, sys::signal::SIGKILL);
    let _ = process::wait_pidfd(pidfd);
}

/// The user that a machine of this process gets.
pub(crate) fn user() -> u32 {
    FIRST_UID + process::getpid().unsigned_abs()
}

type Outcome<T> = Result<T, (String, io::Error)>;

trait At<T> {
    fn at(self, step: impl Into<String>) -> Outcome<T>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, step: impl Into<String>) -> Outcome<T> {
        self.map_err(|error| (step.into(), error))
    }
}

/// Starts it.
///
/// # Errors
/// [`Error::Confine`] with the step that failed.
pub(crate) fn spawn(job: &Job<'_>) -> Result<Process, Error> {
    let user = user();
    let map = [IdMap { inside: user, outside: user, size: 1 }];
    let users = process::user_namespace(&map, &map).step("make a user namespace")?;
    let (ours, theirs) = sys::socket::pair().step("make a socket")?;
    let mut namespaces = namespace::MOUNT | namespace::PID | namespace::IPC | namespace::UTS;
    if job.netns.is_none() {
        namespaces |= namespace::NET;
    }
    let options = CloneOptions { namespaces, cgroup: job.cgroup, ..CloneOptions::default() };
    match process::clone3(&options).step("start a process")? {
        Forked::Child => {
            drop(ours);
            // Out of the way of the numbers that are given out later.
            let above = FIRST_FD + job.descriptors.len() as i32 + 8;
            let Ok(theirs) = process::duplicate_above(&theirs, above) else {
                process::exit_now(127)
            };
            let Err((step, error)) = become_it(job, &users, user, &theirs);
            let errno = error.raw_os_error().unwrap_or(sys::errno::EINVAL);
            let mut message = errno.to_le_bytes().to_vec();
            message.extend_from_slice(step.as_bytes());
            let _ = sys::socket::send(&theirs, &message, &[]);
            process::exit_now(127)
        }
        Forked::Parent { pid, pidfd } => {
            drop(theirs);
            let mut process = Process { pid, pidfd, listener: None };
            match follow(&ours, &mut process) {
                Ok(()) => Ok(process),
                Err(error) => {
                    process.end();
                    Err(error)
                }
            }
        }
    }
}

/// Reads what the child says until it has executed its program.
fn follow(channel: &OwnedFd, process: &mut Process) -> Result<(), Error> {
    let mut buffer = [0u8; 512];
    loop {
        let (length, mut fds) =
            sys::socket::recv(channel, &mut buffer).step("hear from the machine's process")?;
        if let Some(listener) = fds.pop() {
            process.listener = Some(listener);
        } else if let Some((errno, step)) = buffer[..length].split_first_chunk::<4>() {
            let step = String::from_utf8_lossy(step).into_owned();
            return Err(Error::Confine { step, errno: i32::from_le_bytes(*errno) });
        } else if length == 0 {
            return Ok(());
        }
    }
}

/// In the child: does every step.
fn become_it(
    job: &Job<'_>,
    users: &OwnedFd,
    user: u32,
    channel: &OwnedFd,
) -> Outcome<std::convert::Infallible> {
    process::reset_signals().at("reset signals")?;
    process::setsid().at("begin a session")?;
    (job.enter)().at("enter the cgroup")?;
    if let Some(netns) = job.netns {
        namespace::join(netns, namespace::NET).at("enter the network namespace")?;
    }
    // What is made in the root is for another user than the one that makes it.
    process::set_umask(0);
    make_root(job, user)?;
    process::set_umask(0o077);
    let null = sys::stream::null().at("open /dev/null")?;
    let above = FIRST_FD + job.descriptors.len() as i32;
    let users = process::duplicate_above(users, above + 8).at("keep a namespace")?;
    let mut descriptors = vec![null.as_fd(), null.as_fd(), job.stderr];
    descriptors.extend_from_slice(job.descriptors);
    process::place_fds(&descriptors, 0).at("place descriptors")?;
    process::close_range_cloexec(above as u32).at("close descriptors")?;
    // Forgotten, not closed: their numbers belong to others now.
    std::mem::forget(null);
    if !job.hardware {
        // A guest that boots touches memory here and there: clearing two megabytes for each place takes
        // longer than translating what it does, and no processor's tables gain by it.
        process::refuse_huge_pages().at("refuse huge pages")?;
    }
    drop_privileges(&users, user)?;
    process::die_with_parent().at("tie the process to its parent")?;
    // A parent that ended before that is not heard of; then nobody takes this.
    sys::socket::send(channel, &[0], &[]).at("find the parent")?;
    confine_calls(job, channel)?;
    let path = CString::new(job.program.as_os_str().as_encoded_bytes())
        .map_err(io::Error::from)
        .at("name the program")?;
    let environment = [c"PATH=/usr/bin:/bin".to_owned(), c"LANG=C".to_owned()];
    Err(process::execve(&path, &job.arguments, &environment))
        .at(format!("execute {}", job.program.display()))
}

fn confine_calls(job: &Job<'_>, channel: &OwnedFd) -> Outcome<()> {
    if !job.listen {
        return sys::seccomp::install(job.filter, 0).at("filter system calls");
    }
    let listener = sys::seccomp::notify::install_listening(job.filter).at("filter system calls")?;
    sys::socket::send(channel, &[0], &[listener.as_fd()]).at("hand over the listener")?;
    Ok(())
}

/// A user namespace of one user, no capability in it, none to be had.
fn drop_privileges(users: &OwnedFd, user: u32) -> Outcome<()> {
    namespace::join(users, namespace::USER).at("enter the user namespace")?;
    process::set_groups(&[]).at("leave all groups")?;
    for cap in 0..=process::last_cap() {
        process::bounding_drop(cap).at("limit capabilities")?;
    }
    process::set_gid(user).at("change the group")?;
    process::set_uid(user).at("change the user")?;
    process::set_caps(process::Caps::default()).at("drop capabilities")?;
    process::no_new_privs().at("forbid new privileges")?;
    for (limit, value) in [(RLIMIT_CORE, 0), (RLIMIT_NOFILE, 1024)] {
        process::set_rlimit(limit, value, value).at("limit resources")?;
    }
    Ok(())
}

const RLIMIT_CORE: u32 = 4;
const RLIMIT_NOFILE: u32 = 7;

/// An almost empty root, and no way back to the old one.
fn make_root(job: &Job<'_>, user: u32) -> Outcome<()> {
    use sys::mount::{MountPropagationFlags, NOSUID, RDONLY, UnmountFlags};
    mount::propagation("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .at("make mounts private")?;
    let tmpfs = FsContext::open("tmpfs").at("make a root")?;
    tmpfs.string("mode", "0755").at("make a root")?;
    tmpfs.string("size", "64k").at("make a root")?;
    // Mounted somewhere for a moment: only what is attached can become the root.
    let root = tmpfs.mount(NOSUID).at("make a root")?;
    mount::attach_at(&root, root_fd()?, "proc").at("attach a root")?;
    let new = Root::from(root);
    let mode = Mode::from_raw_mode(0o755);
    let read_only = SetAttr { set: RDONLY | NOSUID, ..SetAttr::default() };
    let bind = |from: &Path, to: &str| -> Outcome<()> {
        let what = || format!("show {}", from.display());
        let source = sys::fs::open_host(from, sys::fs::OFlags::PATH).at(what())?;
        let tree = mount::clone_tree(&source, false).at(what())?;
        mount::set_attr(&tree, false, read_only).at(what())?;
        mount::attach_at(&tree, &new, to).at(what())
    };
    new.mkdir("usr", mode).at("make a root")?;
    bind(Path::new("/usr"), "usr")?;
    for name in LIBRARIES {
        let path = Path::new("/").join(name);
        match std::fs::read_link(&path) {
            Ok(target) => new.symlink(target, name).at("make a root")?,
            Err(_) if path.is_dir() => {
                new.mkdir(name, mode).at("make a root")?;
                bind(&path, name)?;
            }
            Err(_) => {}
        }
    }
    new.mkdir("etc", mode).at("make a root")?;
    if Path::new("/etc/ld.so.cache").exists() {
        new.create_file("etc/ld.so.cache", Mode::from_raw_mode(0o444)).at("make a root")?;
        bind(Path::new("/etc/ld.so.cache"), "etc/ld.so.cache")?;
    }
    for (name, path) in job.files {
        new.create_file(name, Mode::from_raw_mode(0o444)).at("make a root")?;
        bind(path, name)?;
    }
    make_devices(&new, job.hardware, user)?;
    sys::fs::chdir_fd(&new).at("enter the root")?;
    mount::pivot_root(".", ".").at("change the root")?;
    mount::unmount(".", UnmountFlags::DETACH).at("leave the old root")?;
    sys::fs::chdir_root().at("enter the root")?;
    let root = root_fd()?;
    mount::set_attr(&root, false, read_only).at("protect the root")
}

fn root_fd() -> Outcome<OwnedFd> {
    let flags = sys::fs::OFlags::PATH | sys::fs::OFlags::DIRECTORY;
    sys::fs::open_host("/", flags).at("open the root")
}

fn make_devices(root: &Root, hardware: bool, user: u32) -> Outcome<()> {
    let mode = Mode::from_raw_mode(0o755);
    root.mkdir("dev", mode).at("make devices")?;
    let mut devices = vec![("dev/null", 1, 3), ("dev/urandom", 1, 9)];
    if hardware {
        devices.push(("dev/kvm", 10, 232));
    }
    for (path, major, minor) in devices {
        let node = Node::Char(makedev(major, minor));
        root.mknod(path, node, Mode::from_raw_mode(0o600)).at("make devices")?;
        root.chown(path, user, user).at("make devices")?;
    }
    Ok(())
}

/// A program in the usual places, which are all below `/usr` for a process that is confined.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    ["/usr/bin", "/usr/local/bin", "/usr/libexec", "/usr/lib/qemu"]
        .iter()
        .map(|directory| Path::new(directory).join(program))
        .find(|path| path.is_file())
}
