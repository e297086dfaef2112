//! Small files that survive a power cut: temporary name, flush, rename, flush of the directory.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use super::{Result, Step, absent};

/// What the names of unfinished files begin with; nothing else here begins with a dot.
pub(super) const UNFINISHED: &str = ".tmp-";

/// Writes a file whole, or leaves the old one.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    // A collector may remove an empty directory at any moment before something is in it; callers
    // hold the gate, so it cannot here.
    let folder = folder_of(path)?;
    let unfinished = folder.join(unique());
    let written = File::create_new(&unfinished)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    if let Err(error) = written.and_then(|()| fs::rename(&unfinished, path)) {
        drop(fs::remove_file(&unfinished));
        return Err(error).step("write", path);
    }
    flush(&folder).step("flush", &folder)
}

/// Makes an empty file, or makes the one that is there look new.
pub(super) fn mark(path: &Path) -> Result<()> {
    if touch(path)? {
        return Ok(());
    }
    let folder = folder_of(path)?;
    File::options().create(true).append(true).open(path).step("make", path)?;
    flush(&folder).step("flush", &folder)
}

/// Makes a file look new; false when it is not there.
pub(super) fn touch(path: &Path) -> Result<bool> {
    let touched = File::options()
        .append(true)
        .open(path)
        .and_then(|file| file.set_modified(SystemTime::now()));
    Ok(absent(touched).step("touch", path)?.is_some())
}

/// Removes a file; false when it is not there.
pub(super) fn remove(path: &Path) -> Result<bool> {
    let removed = absent(fs::remove_file(path)).step("remove", path)?.is_some();
    if removed && let Some(folder) = path.parent() {
        flush(folder).step("flush", folder)?;
    }
    Ok(removed)
}

/// Makes the directory that a file is to be in. Each new directory's name is flushed.
fn folder_of(path: &Path) -> Result<PathBuf> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    make(folder).step("make", folder)?;
    Ok(folder.to_owned())
}

fn make(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Ok(()) => flush(folder.parent().unwrap_or(Path::new("/"))),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let Some(parent) = folder.parent() else { return Err(error) };
            make(parent)?;
            make(folder)
        }
        Err(error) => Err(error),
    }
}

fn flush(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn unique() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{UNFINISHED}{}-{}-{next}", std::process::id(), now.as_nanos())
}
