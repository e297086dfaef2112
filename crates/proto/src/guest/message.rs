//! The messages between a monitor and the agent in its virtual machine.

use std::net::IpAddr;

use oci_spec::runtime::{LinuxResources, Mount, Process, Spec};
use serde::{Deserialize, Serialize};
use types::Timestamp;

use crate::launch::{Asked, WindowSize};

/// A request with the number that its answer will bear.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ToGuest {
    /// Unique in the connection.
    pub number: u32,
    /// What is asked.
    pub request: Request,
}

/// What a monitor asks of its guest.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// The machine's own things: always the first. [`super::Reply::Done`] when the root file system
    /// stands.
    Boot(Box<Boot>),
    /// Make the container. [`super::Reply::Created`].
    Create(Box<Create>),
    /// Let the created process go. [`super::Reply::Started`], or [`super::Failure::status`] says how it ended.
    Start,
    /// Set the size of the container's terminal, or of an exec's.
    Resize {
        /// Which exec; `None` is the container itself.
        exec: Option<String>,
        /// The new size.
        size: WindowSize,
    },
    /// Send a signal to the container's first process, or to an exec's.
    Signal {
        /// Which exec; `None` is the container itself.
        exec: Option<String>,
        /// The signal's number.
        signal: i32,
    },
    /// Send SIGKILL to every process of the container.
    KillAll,
    /// Freeze every process of the container. The agent goes on, so that files can be read.
    Pause,
    /// Let them go on.
    Resume,
    /// Set new limits. [`super::Reply::Warnings`].
    Update(Box<LinuxResources>),
    /// How much does the container use? [`super::Reply::Sample`].
    Stats,
    /// Which processes are in it? [`super::Reply::Processes`].
    Processes,
    /// Run one more process. [`super::Reply::ExecStarted`], and later [`super::Notice::ExecExited`].
    Exec(Box<Exec>),
    /// Add a bind mount from a directory of a share to the running container.
    Mount(Box<Mount>),
    /// Take away what is mounted at a path of the container. Nothing there is as good.
    Unmount(String),
    /// Read or write files of the container.
    Files(FileRequest),
    /// Write everything to the disks and let go of them. What runs is killed.
    Shutdown,
    /// Be as before [`Request::Boot`]: the container has ended, other disks and cards take the places
    /// of the machine's. [`super::Reply::Done`].
    Forget,
}

/// What a machine is told first. Nothing of it is the same in two machines, or may be kept in the
/// template that they are cloned from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Boot {
    /// [`super::VERSION`] of the monitor.
    pub version: u32,
    /// Random bytes for the kernel's generator, in hexadecimal digits.
    pub entropy: String,
    /// The time now.
    pub clock: Timestamp,
    /// The machine's name.
    pub hostname: String,
    /// The first disk is the writable layer.
    pub writable: bool,
    /// How many disks with read-only layers come then, the lowest layer first.
    pub layers: usize,
    /// Its network interfaces, in the order of the machine's.
    pub interfaces: Vec<Interface>,
    /// The tags of what the host lends, to be mounted below [`SHARES`].
    pub shares: Vec<String>,
    /// Listen at 127.0.0.11 for questions for names.
    pub names: bool,
}

/// A network interface of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name in the container.
    pub name: String,
    /// Its link-layer address.
    pub mac: [u8; 6],
    /// Bytes of its largest packet.
    pub mtu: u32,
    /// Addresses with the length of their prefix.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Where all else is reached; none where there is no way out.
    pub gateways: Vec<IpAddr>,
    /// The default route of these families goes through the link itself.
    pub on_link: Vec<Family>,
    /// Kernel settings for it: path below `/proc/sys` with `IFNAME` for its name, and value.
    pub sysctls: Vec<(String, String)>,
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Where shares are mounted in the machine, outside of the container, each in a directory of its tag.
pub const SHARES: &str = "/run/isopod/shares";

/// What a share holds is in it as this if it is a directory.
pub const SHARED_DIRECTORY: &str = "directory";

/// And as this if it is a file.
pub const SHARED_FILE: &str = "file";

/// Where files that come with [`Create`] are written in the machine, outside of the container.
pub const FILES: &str = "/run/isopod/files";

/// The container that is to be made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Create {
    /// Its full id.
    pub id: String,
    /// What to run. Sources of bind mounts are paths of the machine.
    pub spec: Spec,
    /// Use the default seccomp profile for the capabilities in `spec` (which then has none).
    pub default_seccomp: bool,
    /// Who runs it, to be looked up in the container's own files.
    pub user: User,
    /// Files that are to be below [`FILES`].
    pub files: Vec<File>,
    /// Its standard streams.
    pub streams: Streams,
    /// Run our init as PID 1.
    pub init: bool,
    /// Which settings the user asked for by name.
    pub asked: Asked,
}

/// The user that a process runs as, by the names that the container's `/etc/passwd` and
/// `/etc/group` have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// `user[:group]`; empty: root.
    pub user: String,
    /// Further groups.
    pub groups: Vec<String>,
    /// Another user than root keeps the capabilities of `process` (`exec --privileged`).
    pub keep_capabilities: bool,
}

/// A small file of the engine's for the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// One component.
    pub name: String,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// What is in it, in hexadecimal digits.
    pub contents: String,
}

/// The channels of a process's standard streams. A stream without one is `/dev/null`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streams {
    /// It has a terminal of this size: `stdin` and `stdout` are its two ways.
    pub terminal: Option<WindowSize>,
    /// To the process.
    pub stdin: Option<u32>,
    /// From the process.
    pub stdout: Option<u32>,
    /// From the process.
    pub stderr: Option<u32>,
}

/// One more process in the container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Exec {
    /// The exec's id.
    pub id: String,
    /// What to run.
    pub process: Process,
    /// Who runs it.
    pub user: User,
    /// Its standard streams.
    pub streams: Streams,
    /// Without seccomp.
    pub privileged: bool,
    /// Settings asked for by name.
    pub asked: Asked,
}

/// What is to be done with files of the container. Paths are the container's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileRequest {
    /// What is at a path? [`super::Reply::Stat`].
    Stat {
        /// The path.
        path: String,
    },
    /// A tar of what is at a path. [`super::Reply::Done`] when it has been sent.
    Get {
        /// The path.
        path: String,
        /// From the guest.
        channel: u32,
    },
    /// Unpack a tar into a directory. [`super::Reply::Done`] when it has been unpacked.
    Put {
        /// The directory.
        path: String,
        /// To the guest.
        channel: u32,
        /// Fail where a directory would replace a file, or a file a directory.
        no_overwrite: bool,
        /// Give everything to this user.
        owner: Option<User>,
    },
    /// A tar of everything, what is mounted left out. [`super::Reply::Done`] when it has been sent.
    Export {
        /// From the guest.
        channel: u32,
    },
    /// How the files differ from the image's: one JSON list of [`super::Change`]. [`super::Reply::Done`] when it
    /// has been sent.
    Changes {
        /// From the guest.
        channel: u32,
    },
    /// A tar of the writable layer, with whiteouts as images have them. [`super::Reply::Done`] when it
    /// has been sent.
    Layer {
        /// From the guest.
        channel: u32,
    },
}

impl FileRequest {
    /// The channel of its data.
    pub fn channel(&self) -> Option<u32> {
        match self {
            Self::Stat { .. } => None,
            Self::Get { channel, .. }
            | Self::Put { channel, .. }
            | Self::Export { channel }
            | Self::Changes { channel }
            | Self::Layer { channel } => Some(*channel),
        }
    }
}
