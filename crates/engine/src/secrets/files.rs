//! Secrets and configs as a container sees them: files on a tmpfs, read-only.
//!
//! The tmpfs is put together in a mount namespace that only one thread is in and that ends with it;
//! what comes out is attached nowhere. (Copying a part of a mount that is attached nowhere is
//! possible since Linux 6.15 only.)

use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use sys::fs::{Mode, Root};
use sys::mount::{self, FsContext, MountPropagationFlags as Propagation, SetAttr};
use sys::namespace;
use types::container::FileUse;

use super::SECRETS;
use crate::record::IdRange;

/// Who may read a file unless something else was asked for: everybody, as in a swarm.
const MODE: u32 = 0o444;

/// A file with its content.
pub(crate) struct Plain {
    pub(crate) place: PathBuf,
    pub(crate) content: Vec<u8>,
    pub(crate) owner: (u32, u32),
    pub(crate) mode: u32,
}

impl Plain {
    pub(super) fn new(file: &FileUse, content: Vec<u8>, remapped: Option<IdRange>) -> Self {
        let id = |text: &str| text.parse::<u32>().unwrap_or(0);
        let (uid, gid) = (id(&file.uid), id(&file.gid));
        let owner = match remapped {
            Some(range) => (range.uid.saturating_add(uid), range.gid.saturating_add(gid)),
            None => (uid, gid),
        };
        Self { place: (&file.target).into(), content, owner, mode: file.mode.unwrap_or(MODE) }
    }

    /// Where it is on the tmpfs: those of /run/secrets together, others by number.
    fn place_on_tmpfs(&self, number: usize) -> (PathBuf, bool) {
        match self.place.strip_prefix(SECRETS) {
            Ok(below) => (Path::new("secrets").join(below), true),
            Err(_) => (PathBuf::from(number.to_string()), false),
        }
    }
}

/// Makes the files; returns detached mounts with their places in the container. `ground` is any
/// directory.
pub(super) fn make(ground: &Path, files: Vec<Plain>) -> io::Result<Vec<(String, OwnedFd)>> {
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            namespace::unshare(namespace::MOUNT)?;
            mount::propagation("/", Propagation::PRIVATE | Propagation::REC)?;
            let tmpfs = tmpfs(&files)?;
            mount::attach(&tmpfs, Root::open_host(ground)?)?;
            write(&Root::from(tmpfs), &files)
        });
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn tmpfs(files: &[Plain]) -> io::Result<OwnedFd> {
    // Whole pages for each, of up to 64 KiB.
    let size: usize = files.iter().map(|file| file.content.len() + (128 << 10)).sum();
    let context = FsContext::open("tmpfs")?;
    context.string("source", "secrets")?;
    context.string("mode", "0755")?;
    context.string("size", size.to_string())?;
    // Since 6.4; before that, what is not used may be swapped out.
    let _ = context.flag("noswap");
    context.mount(mount::NOSUID | mount::NODEV | mount::NOEXEC)
}

fn write(root: &Root, files: &[Plain]) -> io::Result<Vec<(String, OwnedFd)>> {
    let mut made = Vec::new();
    for (number, file) in files.iter().enumerate() {
        let (place, _) = file.place_on_tmpfs(number);
        if let Some(parent) = place.parent() {
            root.mkdir_all(parent, Mode::from_raw_mode(0o755))?;
        }
        let mut opened = root.create_file(&place, Mode::from_raw_mode(0o600))?;
        opened.write_all(&file.content)?;
        sys::entry::chown_fd(&opened, file.owner.0, file.owner.1)?;
        sys::entry::chmod_fd(&opened, file.mode)?;
    }
    if files.iter().enumerate().any(|(number, file)| file.place_on_tmpfs(number).1) {
        made.push((SECRETS.to_owned(), read_only(root, Path::new("secrets"))?));
    }
    for (number, file) in files.iter().enumerate() {
        let (place, below) = file.place_on_tmpfs(number);
        if !below {
            let target = file.place.to_string_lossy().into_owned();
            made.push((target, read_only(root, &place)?));
        }
    }
    Ok(made)
}

fn read_only(root: &Root, place: &Path) -> io::Result<OwnedFd> {
    let tree = mount::clone_tree(root.open_path(place)?, false)?;
    mount::set_attr(tree.as_fd(), false, SetAttr { set: mount::RDONLY, ..SetAttr::default() })?;
    Ok(tree)
}
