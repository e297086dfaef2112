//! Writes that must survive a power cut, each step in one place.
//!
//! Every step tells [`fault`](crate::fault) what it did, so that the tests can cut the power
//! between any two of them and lose whatever had not been flushed.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use sys::entry;
use sys::fs::{Mode, Root};

use crate::fault;

/// Writes a file under a temporary name, flushes it and gives it its name; when this returns, the
/// file is on disk. `tmp` and `path` are in the same directory.
pub(crate) fn replace(root: &Root, tmp: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    root.remove_all(tmp)?;
    let mut file = root.create_file(tmp, Mode::from_raw_mode(0o644))?;
    write(&mut file, bytes)?;
    sync(&file)?;
    rename(root, tmp, path)?;
    sync_dir_of(root, path)
}

/// Writes all bytes at the file's position.
pub(crate) fn write(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    fault::point("write");
    file.write_all(bytes)?;
    fault::wrote(file);
    fault::point("written");
    Ok(())
}

/// Flushes a file.
pub(crate) fn sync(file: &File) -> io::Result<()> {
    fault::point("fsync");
    file.sync_all()?;
    fault::flushed(file);
    Ok(())
}

/// Gives a file or directory another name, replacing a file that had it.
pub(crate) fn rename(root: &Root, from: &Path, to: &Path) -> io::Result<()> {
    fault::point("rename");
    let renaming = fault::renaming(root, from, to);
    root.rename(from, to)?;
    fault::renamed(renaming);
    Ok(())
}

/// Gives a file or directory another name unless there is something of that name.
pub(crate) fn rename_noreplace(root: &Root, from: &Path, to: &Path) -> io::Result<()> {
    fault::point("rename");
    let renaming = fault::renaming(root, from, to);
    root.rename_noreplace(from, to)?;
    fault::renamed(renaming);
    Ok(())
}

/// Removes a file; fine when it is not there.
pub(crate) fn remove(root: &Root, path: &Path) -> io::Result<()> {
    fault::point("unlink");
    let removing = fault::removing(root, path);
    match root.remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => {
            fault::renamed(removing);
            other
        }
    }
}

/// Removes a directory and everything below it; fine when it is not there.
pub(crate) fn remove_tree(root: &Root, path: &Path) -> io::Result<()> {
    fault::point("remove a tree");
    root.remove_all(path)
}

/// Flushes the names of a directory.
pub(crate) fn sync_dir(root: &Root, path: &Path) -> io::Result<()> {
    fault::point("fsync of a directory");
    let dir = entry::reopen_dir(root.open_dir(path)?)?;
    entry::fsync(&dir)?;
    fault::flushed_dir(&dir);
    Ok(())
}

/// Flushes the directory that has a name.
pub(crate) fn sync_dir_of(root: &Root, path: &Path) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    sync_dir(root, dir.unwrap_or(Path::new(".")))
}

/// Flushes the whole file system.
pub(crate) fn sync_all(root: &Root) -> io::Result<()> {
    fault::point("syncfs");
    entry::syncfs(entry::reopen_dir(root)?)?;
    fault::flushed_all();
    Ok(())
}
