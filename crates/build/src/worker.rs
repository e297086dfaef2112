//! What a build needs of the engine that it runs in.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use image::ImageConfig;
use types::digest::Digest;
use types::resources::Resources;
use types::{ContainerId, Error};

/// The engine, as builds see it. Every call may block; several threads call at once.
pub trait Worker: Send + Sync {
    /// The image of a name, pulled if it is not here, or in any case with `always`. An empty
    /// `platform` is the host's.
    ///
    /// # Errors
    /// It is neither here nor in its registry.
    fn image(
        &self,
        name: &str,
        platform: &str,
        always: bool,
        tell: &mut dyn FnMut(Pulling),
    ) -> Result<Digest, Error>;

    /// A name for a snapshot or a container that nobody has yet.
    ///
    /// # Errors
    /// The machine has no randomness.
    fn new_id(&self) -> Result<ContainerId, Error>;

    /// Runs a process on a snapshot that has been prepared, to its end; returns its exit status.
    /// Nothing of it is left but the snapshot. It is killed when the build is cancelled.
    ///
    /// # Errors
    /// It could not be started, or the build was cancelled.
    fn run(&self, run: Run, output: &mut dyn FnMut(u8, &[u8])) -> Result<i32, Error>;

    /// Removes a snapshot and the directory that it had.
    fn discard(&self, id: &ContainerId);

    /// User and group of `user[:group]` in a root file system.
    ///
    /// # Errors
    /// There is no such user or group.
    fn user(&self, root: std::os::fd::BorrowedFd<'_>, user: &str) -> Result<(u32, u32), Error>;

    /// Opens an `http` or `https` address.
    ///
    /// # Errors
    /// It cannot be reached, or answers with another status than 200.
    fn fetch(&self, address: &str) -> Result<Fetched, Error>;

    /// Checks a git address out into an empty directory, with or without git's own files. Returns
    /// the commit.
    ///
    /// # Errors
    /// Git's own words.
    fn git(&self, remote: &GitRemote, keep_git_dir: bool, into: &Path) -> Result<String, Error>;

    /// The content of a secret; `None` when the client has none of this id.
    ///
    /// # Errors
    /// The client cannot be asked.
    fn secret(&self, id: &str) -> Result<Option<Vec<u8>>, Error>;

    /// Whether the client has an ssh agent of this id.
    fn has_ssh(&self, id: &str) -> bool;

    /// Kills what runs for this build: a step has failed.
    fn stop(&self);

    /// A place for a result: the `index`th output of the request, of this type.
    ///
    /// # Errors
    /// The client does not want it, or cannot be asked.
    fn output(&self, index: usize, kind: &str) -> Result<Box<dyn Output>, Error>;

    /// Nobody waits for the build any more.
    fn is_cancelled(&self) -> bool;
}

/// A sign of life of a pull.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pulling {
    /// A layer's digest, or empty.
    pub item: String,
    /// What is being done.
    pub status: String,
    /// Bytes done.
    pub current: u64,
    /// Bytes in all; 0 when unknown.
    pub total: u64,
}

/// A process to run.
#[derive(Debug)]
pub struct Run {
    /// The snapshot; also the container's name.
    pub id: ContainerId,
    /// Its command line.
    pub command: Vec<String>,
    /// Its environment.
    pub env: Vec<String>,
    /// Its user, as in a Dockerfile.
    pub user: String,
    /// Its working directory.
    pub working_dir: String,
    /// What is mounted for it.
    pub mounts: Vec<RunMount>,
    /// Its network: `default`, `none`, `host`, or a network's name.
    pub network: String,
    /// No wall but the namespaces.
    pub insecure: bool,
    /// Limits.
    pub resources: Resources,
    /// Bytes of /dev/shm; 0 is the default.
    pub shm_size: i64,
    /// Lines for /etc/hosts, `name:address`.
    pub extra_hosts: Vec<String>,
}

/// Something mounted for one process.
#[derive(Debug)]
pub struct RunMount {
    /// Where, absolute.
    pub target: String,
    /// It cannot be written.
    pub read_only: bool,
    /// What.
    pub source: RunSource,
}

/// What is mounted.
#[derive(Debug)]
pub enum RunSource {
    /// A mount that is attached nowhere.
    Tree(OwnedFd),
    /// A file or directory of the host.
    Host(PathBuf),
    /// Memory, at most so many bytes if it says.
    Memory(Option<u64>),
    /// A file in memory that is nowhere else: a secret, a script.
    Content {
        /// What is in it.
        content: Vec<u8>,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
        /// Mode.
        mode: u32,
    },
    /// The socket of the client's ssh agent.
    Ssh {
        /// Which agent.
        id: String,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
        /// Mode.
        mode: u32,
    },
}

/// What an address has.
pub struct Fetched {
    /// Its content.
    pub body: Box<dyn Read + Send>,
    /// Its length, if the server says so.
    pub length: Option<u64>,
    /// Its type, if the server says so; empty otherwise.
    pub media_type: String,
    /// `Last-Modified`, in seconds since the epoch.
    pub modified: Option<i64>,
    /// The file name that the server suggests.
    pub name: Option<String>,
}

impl std::fmt::Debug for Fetched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetched").field("length", &self.length).finish_non_exhaustive()
    }
}

/// A git address with its parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GitRemote {
    /// What is cloned.
    pub url: String,
    /// Branch, tag or commit; the default branch if empty.
    pub reference: String,
    /// The directory in it that counts; all if empty.
    pub subdirectory: String,
}

/// A base: an image, or nothing.
#[derive(Clone, Debug, Default)]
pub struct Base {
    /// Its id; none for `scratch`.
    pub id: Option<Digest>,
    /// Its document.
    pub config: ImageConfig,
}

/// The client, as a build sees it: it has secrets, ssh agents, and places for results.
pub trait Session: Send + Sync {
    /// The content of a secret; `None` when there is none of this id.
    ///
    /// # Errors
    /// The client cannot be asked.
    fn secret(&self, id: &str) -> Result<Option<Vec<u8>>, Error>;

    /// A connection to an ssh agent.
    ///
    /// # Errors
    /// There is none of this id, or the client cannot be asked.
    fn ssh(&self, id: &str) -> Result<std::os::unix::net::UnixStream, Error>;

    /// A place for a result: the `index`th output of the request, of this type.
    ///
    /// # Errors
    /// The client does not want it, or cannot be asked.
    fn output(&self, index: usize, kind: &str) -> Result<Box<dyn Output>, Error>;
}

/// Where a result is written.
pub trait Output: std::io::Write + Send {
    /// Waits until the client has all of it.
    ///
    /// # Errors
    /// The client could not keep it.
    fn finish(self: Box<Self>) -> Result<(), Error>;
}
