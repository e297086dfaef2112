//! What the launcher is told: fork a monitor for a container or for one that is yet to come, or clean
//! up after one that died.
//!
//! A launcher connection carries [`Order`] frames one way only. A launched monitor answers on
//! the control connection that came with its order.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use oci_spec::runtime::{LinuxResources, Spec};
use serde::{Deserialize, Serialize};

use crate::guest;

/// One order for the launcher.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Fork a monitor.
    ///
    /// The frame carries these descriptors in this order: the monitor's end of a control
    /// connection (a stream socket); a lock if [`Launch::guard`]; the detached root mount if [`Launch::root`] is
    /// [`RootSource::Descriptor`]; the network namespace if [`Launch::netns`]; the detached
    /// mounts that [`Launch::mounts`] counts; then [`Launch::held`] more that the monitor only keeps open as long as the container lives
    /// (sockets that reserve published ports).
    Launch(Box<Launch>),
    /// A monitor died without its exit record: kill what is left of the container and remove
    /// its cgroups. The frame carries a stream socket, on which one [`Reaped`] comes back, and
    /// perhaps a lock that is let go of then.
    Reap(Reap),
    /// Become the resolver. The frame carries its first connection, a stream socket, on which
    /// it says [`crate::names::Hello`].
    Resolve(Resolve),
    /// Make the template that a start of such a machine would make, if there is none. The frame
    /// carries a stream socket, on which one [`Built`] comes back.
    Template(Box<Machine>),
    /// Have a machine ready for a [`Launch`] that comes later: clone it, have it run this one, which
    /// means nothing to anybody, and forget it. The frame carries a stream socket, on which a [`Spare`]
    /// comes back, and to which one frame with a `Launch` and its descriptors may go then, and the
    /// network namespace that such a launch will have. The machine goes when the other end of the
    /// socket is closed.
    Spare(Box<Launch>),
}

/// What becomes of [`Order::Spare`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spare {
    /// The machine waits.
    Ready,
    /// There is none.
    Failed(types::Error),
}

/// The outcome of [`Order::Template`]: the template's name.
pub type Built = Result<String, types::Error>;

/// The name of the JSON field that tells old and new daemons and monitors apart.
pub const VERSION: u32 = 1;

/// Everything a monitor needs to know of its container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Launch {
    /// [`VERSION`] of the engine.
    pub version: u32,
    /// The container's full id.
    pub id: String,
    /// The monitor's directory in the exec root: it exists, and is empty. The monitor makes
    /// `sock`, `pid` and, at the end, `exit.json` in it.
    pub dir: PathBuf,
    /// A lock comes along, to be let go of when the monitor can be reached by `sock`.
    #[serde(default)]
    pub guard: bool,
    /// What to run.
    pub spec: Spec,
    /// Use the default seccomp profile for the capabilities in `spec` (which then has none).
    pub default_seccomp: bool,
    /// Where the root file system comes from.
    pub root: RootSource,
    /// A network namespace comes along; otherwise `spec` says what to do.
    pub netns: bool,
    /// How many detached mounts come along: the one with number N is mounted where a mount of
    /// `spec` has the source [`mount_source`]`(N)`.
    #[serde(default)]
    pub mounts: usize,
    /// How many further descriptors to hold.
    pub held: usize,
    /// The terminal's first size, if the process gets a terminal.
    pub terminal: Option<WindowSize>,
    /// What its standard input is.
    pub stdin: Stdin,
    /// Where its output is kept.
    pub log: Log,
    /// Run our init as PID 1.
    pub init: bool,
    /// Which settings the user asked for by name.
    pub asked: Asked,
    /// Use systemd's cgroup driver; `spec.linux.cgroups_path` is then `slice:prefix:name`.
    pub systemd_cgroup: bool,
    /// Put it behind the wall of a virtual machine. `root` is of no meaning then, there are no
    /// detached mounts, and sources of bind mounts in `spec` are paths of the machine.
    #[serde(default)]
    pub machine: Option<Box<Machine>>,
    /// It is a machine that boots a disk of its own, and nothing of `spec` but its cgroup means
    /// anything to it. There is no `machine` then.
    #[serde(default)]
    pub whole: Option<Box<Whole>>,
}

/// A machine that boots a disk of its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Whole {
    /// Where it is kept what the host's hardware can do.
    pub state: PathBuf,
    /// Kernels to find that out with; one is looked for if none is for the host's architecture.
    pub kernels: Vec<PathBuf>,
    /// Agents to find that out with, if there are any.
    pub agents: Vec<PathBuf>,
    /// How its processors are made.
    pub accelerator: Accelerator,
    /// Bytes of memory.
    pub memory: u64,
    /// Processors.
    pub cpus: u32,
    /// The images that make up its disk: what is not in one is in those after it. Only the first is
    /// written to.
    pub layers: Vec<DiskLayer>,
    /// A second disk, only read, that tells the machine who it is.
    pub seed: PathBuf,
    /// Names of its links, each of which stands in the network namespace that comes along.
    pub links: Vec<String>,
    /// Where it asks for names, if that is not answered by others.
    pub names: Option<NamesAt>,
    /// What the machine's own process may use of the host.
    pub limits: Option<Box<LinuxResources>>,
}

/// Two addresses on the first link of a machine, in a block of four that is theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamesAt {
    /// Where it is answered.
    pub server: Ipv4Addr,
    /// From where it asks.
    pub guest: Ipv4Addr,
}

impl NamesAt {
    /// Bits that the two have in common.
    pub const PREFIX: u8 = 30;
}

/// An image of a machine's disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskLayer {
    /// Where it is on the host.
    pub path: PathBuf,
    /// QEMU's copy-on-write format; otherwise byte for byte.
    pub qcow2: bool,
    /// The file that was looked at: no other is used in its place.
    pub seen: Seen,
}

/// By which a file is told from another that its path may lead to meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The device that it is on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
    /// Its bytes.
    pub length: u64,
    /// When it was changed last: seconds,
    pub seconds: i64,
    /// and nanoseconds.
    pub nanoseconds: i64,
}

/// The virtual machine that a container gets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// Where kernels, templates and the like are kept.
    pub state: PathBuf,
    /// What instructions it has, by Docker's name.
    pub architecture: String,
    /// The kernels to choose from; one is looked for if none is for its architecture.
    pub kernels: Vec<PathBuf>,
    /// The programs of agents to choose from.
    pub agents: Vec<PathBuf>,
    /// How its processors are made.
    #[serde(default)]
    pub accelerator: Accelerator,
    /// What to do about templates.
    #[serde(default)]
    pub templates: Templates,
    /// Bytes of memory.
    pub memory: u64,
    /// Processors.
    pub cpus: u32,
    /// Disks with the read-only layers, lowest first.
    pub layers: Vec<PathBuf>,
    /// The disk of the writable layer: made when it is not there.
    pub disk: PathBuf,
    /// Bytes of that when it is made.
    pub disk_size: u64,
    /// What is written need not survive the run.
    pub volatile: bool,
    /// Its network interfaces, each of which stands in the network namespace that comes along.
    pub interfaces: Vec<guest::Interface>,
    /// What it may see of the host's files.
    pub shares: Vec<Share>,
    /// Small files that the container gets.
    pub files: Vec<guest::File>,
    /// Questions for names are answered at 127.0.0.11 of the network namespace.
    pub names: bool,
    /// Who runs the container's process.
    pub user: guest::User,
    /// What the machine's own process may use of the host.
    pub limits: Option<Box<LinuxResources>>,
    /// Nothing is run in it: its files are to be read or written. It goes with the last connection.
    #[serde(default)]
    pub files_only: bool,
}

/// A directory or file of the host that a machine may see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Where it is on the host; `None`: the machine is there before that is known.
    pub source: Option<PathBuf>,
    /// By which the machine knows it.
    pub tag: String,
    /// The machine cannot write to it.
    pub read_only: bool,
}

/// Whether machines are cloned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Templates {
    /// From a template, which is made when there is none.
    #[default]
    Make,
    /// From a template if there is one.
    Use,
    /// Each is booted.
    Never,
}

/// How a machine's processors are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Accelerator {
    /// By the hardware where that works, else by emulation.
    #[default]
    Auto,
    /// By the hardware.
    Hardware,
    /// By emulation.
    Emulation,
}

/// How `spec` names the detached mount with this number.
pub fn mount_source(number: usize) -> PathBuf {
    PathBuf::from(format!("descriptor:{number}"))
}

/// Where a root file system comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RootSource {
    /// A detached mount whose descriptor comes along.
    Descriptor,
    /// A directory of the host.
    Directory(PathBuf),
}

/// A terminal's size in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub cols: u16,
}

/// What a container's standard input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stdin {
    /// /dev/null.
    Null,
    /// Open; whoever attaches may write.
    Open,
    /// Open until the first client that attached to it has gone or closed its side.
    Once,
}

/// Where output is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Log {
    /// Nowhere.
    None,
    /// Docker's JSON lines.
    JsonFile(LogFile),
    /// Isopod's compact records (`proto::log`).
    Local(LogFile),
}

/// A log that is a file, and its rotated predecessors `PATH.1`, `PATH.2`, ….
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFile {
    /// The file that is written now.
    pub path: PathBuf,
    /// Rotate when it has reached so many bytes; `None`: never.
    pub max_size: Option<u64>,
    /// How many files there are at most, the current one included.
    pub max_file: u32,
    /// Compress rotated files with gzip (`PATH.1.gz`).
    pub compress: bool,
    /// Attributes that every record carries (`--log-opt labels=… env=… tag=…`).
    pub attributes: std::collections::BTreeMap<String, String>,
}

/// Settings that the user asked for by name: when the host forbids one of these, the start
/// fails; when it forbids another, the start goes on with a warning.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Resource limits, as `RLIMIT_NOFILE`.
    pub rlimits: Vec<String>,
    /// `oom_score_adj`.
    pub oom_score_adj: bool,
    /// Capabilities, as `CAP_SYS_RESOURCE`.
    pub capabilities: Vec<String>,
}

/// The process that answers containers' questions for names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolve {
    /// The exec root, where it listens for later daemons.
    pub directory: PathBuf,
}

/// What is left of a container whose monitor died.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reap {
    /// The container's full id.
    pub id: String,
    /// Its cgroup, as `spec.linux.cgroups_path` had it.
    pub cgroups_path: String,
    /// systemd's cgroup driver was in use.
    pub systemd_cgroup: bool,
}

/// The outcome of [`Order::Reap`]: what could not be done, in words. Empty: all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reaped {
    /// One line a failure.
    pub failures: Vec<String>,
}
