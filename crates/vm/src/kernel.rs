//! The guest's kernel: found, taken out of its wrapping, and put together with the agent and the
//! few modules that it needs.
//!
//! Where it is looked for, in this order: what the caller names; what was installed below
//! `vm/packages/<arch>`; the host's own `/boot`. Wherever it is, its modules are found beside it in
//! `lib/modules/<release>` of the same root. Of the kernels and agents that the caller names, one for
//! guests of each architecture, the first is taken that is not for other guests.

mod archive;
mod error;
mod extract;
mod find;
pub mod install;
mod lz4;
mod modules;
mod note;

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use crate::durable::{self, Temporary};
use crate::machine::{Arch, KernelImage};
pub use error::Error;
use error::Step;
use find::Found;
pub use find::{Listed, list};

pub(crate) const DIRECTORY: &str = "kernel";
const LOCK: &str = "lock";
const VMLINUX: &str = "vmlinux";
const INITRAMFS: &str = "initramfs";
const RELEASE: &str = "release";
/// Paths of the files that the modules are from, a NUL after each.
const TAKEN: &str = "taken";

/// Changes whenever another list of modules, or another layout, is made of the same files.
const VERSION: u32 = 3;

/// So many images are kept: those that were used last. An upgrade needs two for a while.
const KEPT: usize = 4;

/// What kernel is wanted, and for which agent.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The directory `vm` of the data root.
    pub state: &'a Path,
    /// Kernels (compressed or not), or directories that have `boot/vmlinuz-*` and `lib/modules`.
    pub kernels: &'a [PathBuf],
    /// Agents: static programs, of which one is of the guest's architecture.
    pub agents: &'a [PathBuf],
    /// The architecture of the guest.
    pub arch: Arch,
}

/// The agent for the guests that are wanted.
///
/// # Errors
/// There is none.
pub fn agent<'a>(wanted: &Wanted<'a>) -> Result<&'a Path, Error> {
    find::agent(wanted)
}

/// The kernel and the initial file system, from the cache if nothing has changed.
///
/// # Errors
/// [`Error`], which says what to do.
pub fn prepare(wanted: &Wanted<'_>) -> Result<KernelImage, Error> {
    let found = find::find(wanted)?;
    let agent = find::agent(wanted)?;
    let begin = key(wanted.arch, &found, agent)?;
    let directory = wanted.state.join(DIRECTORY);
    if let Some(image) = cached(&directory, &begin) {
        return Ok(image);
    }
    std::fs::create_dir_all(&directory).step("create", &directory)?;
    let lock = File::create(directory.join(LOCK)).step("lock", &directory)?;
    sys::entry::lock(&lock).step("lock", &directory)?;
    if let Some(image) = cached(&directory, &begin) {
        return Ok(image);
    }
    crate::sweep(wanted.state);
    sweep(&directory);
    let temporary = Temporary::directory(&directory, &begin).step("create in", &directory)?;
    let modules = fill(wanted.arch, &found, agent, temporary.path())?;
    let key = whole_key(&begin, &modules);
    let path = directory.join(&key);
    durable::publish(temporary.path(), &path).step("keep", &path)?;
    opened(&path, &key).ok_or(Error::Vanished(path))
}

/// Makes an image; returns what its modules' files are known by.
fn fill(arch: Arch, found: &Found, agent: &Path, directory: &Path) -> Result<String, Error> {
    let wrapped = std::fs::read(&found.kernel).step("read", &found.kernel)?;
    let unfit = |why| Error::Unfit { path: found.kernel.clone(), why };
    let kernel = extract::kernel(wrapped, arch).map_err(unfit)?;
    let release = extract::release(&kernel).ok_or_else(|| unfit(error::Unfit::NoRelease))?;
    let chosen = modules::choose(&found.roots, &release, &found.kernel)?;
    // Before they are read: what changes meanwhile is then another image's.
    let known_by = identity(chosen.files())?;
    let taken: Vec<u8> =
        chosen.files().flat_map(|file| [file.as_os_str().as_bytes(), b"\0"].concat()).collect();
    let modules = chosen.read()?;
    let program = std::fs::read(agent).step("read", agent)?;
    let program = note::static_program(program, arch)
        .map_err(|why| Error::Agent { path: agent.to_owned(), why })?;
    let initramfs = archive::initramfs(&program, &modules);
    for (name, content) in [
        (VMLINUX, &kernel),
        (INITRAMFS, &initramfs),
        (RELEASE, &release.into_bytes()),
        (TAKEN, &taken),
    ] {
        let path = directory.join(name);
        std::fs::write(&path, content).step("write", &path)?;
        // Read by the machine's user, through a mount of this very file.
        let mode = std::fs::Permissions::from_mode(0o444);
        std::fs::set_permissions(&path, mode).step("protect", &path)?;
    }
    Ok(known_by)
}

/// The image whose key begins like this, if the files of its modules are as they were.
fn cached(directory: &Path, begin: &str) -> Option<KernelImage> {
    let entries = std::fs::read_dir(directory).ok()?.filter_map(Result::ok);
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with(begin)).find_map(|name| {
        let path = directory.join(&name);
        let taken = std::fs::read(path.join(TAKEN)).ok()?;
        let files = taken.split(|byte| *byte == 0).filter(|file| !file.is_empty());
        let modules = identity(files.map(|file| Path::new(OsStr::from_bytes(file)))).ok()?;
        (whole_key(begin, &modules) == name).then(|| opened(&path, &name)).flatten()
    })
}

/// An image that is used.
fn opened(path: &Path, key: &str) -> Option<KernelImage> {
    if !path.exists() {
        return None;
    }
    let (vmlinux, initramfs) = (path.join(VMLINUX), path.join(INITRAMFS));
    let whole = [&vmlinux, &initramfs]
        .iter()
        .all(|file| std::fs::metadata(file).is_ok_and(|found| found.len() > 0));
    let release = std::fs::read_to_string(path.join(RELEASE)).ok().filter(|_| whole);
    let Some(release) = release else {
        // Half of it is of no use; it is made again under the same name.
        let _ = std::fs::remove_dir_all(path);
        return None;
    };
    // For those who look which ones are used.
    let _ = File::open(path.join(RELEASE)).and_then(|file| file.set_modified(SystemTime::now()));
    Some(KernelImage { vmlinux, initramfs, release, key: key.to_owned() })
}

/// How the key of an image begins: by its kernel and its agent. Which modules it has is known only to
/// those who look into the kernel.
fn key(arch: Arch, found: &Found, agent: &Path) -> Result<String, Error> {
    let files = identity([&found.kernel, agent].into_iter())?;
    Ok(digest(&[&VERSION.to_le_bytes(), arch.to_string().as_bytes(), files.as_bytes()]))
}

/// With what is known of its modules.
fn whole_key(begin: &str, modules: &str) -> String {
    format!("{begin}-{modules}")
}

/// Files by name, length and time of change.
fn identity<'a>(files: impl Iterator<Item = &'a Path>) -> Result<String, Error> {
    let mut all = Vec::new();
    for path in files {
        let about = std::fs::metadata(path).step("look at", path)?;
        all.extend_from_slice(path.as_os_str().as_bytes());
        for number in [about.len() as i64, about.mtime(), about.mtime_nsec(), about.ino() as i64] {
            all.extend_from_slice(&number.to_le_bytes());
        }
    }
    Ok(digest(&[&all]))
}

fn digest(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Removes what was left half made, and what was not used for longest. What cannot be removed is
/// tried again the next time.
fn sweep(directory: &Path) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    let mut complete: Vec<(SystemTime, String)> = Vec::new();
    for entry in entries.filter_map(io::Result::ok) {
        let (path, name) = (entry.path(), entry.file_name());
        if name.as_encoded_bytes().starts_with(b".") {
            let _ = std::fs::remove_dir_all(&path);
        } else if let Ok(used) = std::fs::metadata(path.join(RELEASE)).and_then(|f| f.modified())
            && let Ok(name) = name.into_string()
        {
            complete.push((used, name));
        }
    }
    complete.sort();
    let excess = (complete.len() + 1).saturating_sub(KEPT);
    for (_, name) in &complete[..excess.min(complete.len())] {
        let _ = durable::discard(directory, name);
    }
}

#[cfg(test)]
mod tests;
