//! Files and directories that are whole after a crash at any moment.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Writes a file of a directory: after a crash there is all of it, or what was there before. Two must
/// not write the same at once.
///
/// # Errors
/// Those of writing, flushing and renaming.
pub fn write(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let options = File::options().write(true).create(true).truncate(true).to_owned();
    write_as(&options, directory, name, bytes)
}

/// The same for a file that its owner alone may read.
///
/// # Errors
/// As [`write`].
pub fn write_private(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    // Made anew, so that it has this mode from its first byte on.
    match std::fs::remove_file(temporary(directory, name)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let options = File::options().write(true).create_new(true).mode(0o600).to_owned();
    write_as(&options, directory, name, bytes)
}

fn temporary(directory: &Path, name: &str) -> std::path::PathBuf {
    directory.join(format!(".{name}.new"))
}

fn write_as(options: &OpenOptions, directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = temporary(directory, name);
    let mut file = options.open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, directory.join(name))?;
    flush(directory)
}

/// Has the names in a directory on the disk.
///
/// # Errors
/// Those of opening and flushing it.
pub fn flush(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Makes a directory and those above it, and has all their names on the disk.
///
/// # Errors
/// Those of `mkdir(2)` and of flushing.
pub fn make_directories(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let Some(parent) = directory.parent() else { return Ok(()) };
    make_directories(parent)?;
    match std::fs::create_dir(directory) {
        // Somebody else was quicker.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other?,
    }
    flush(parent)
}
