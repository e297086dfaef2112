//! Disks for guests to write on: sparse files with an empty ext4 file system.
//!
//! Making one takes as long as copying the few blocks of a prototype, one a size, which is kept in
//! `vm/disks`. The host never mounts what a guest has written to: a kernel that reads a file system
//! trusts it.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::durable::Temporary;
use crate::error::{Error, Step};

pub(crate) const DIRECTORY: &str = "disks";

/// MiB of the journal: what a container writes is files, not transactions.
const JOURNAL: u64 = 8;

/// The smallest disk, MiB: the journal and as much again.
const SMALLEST: u64 = 32;

/// Makes a disk of a size in bytes, which is rounded up to MiB. The file must not exist; it has its
/// name when it is complete and flushed. Its directory is the caller's alone: what a caller that was
/// killed has left there half made, the next one begins anew.
///
/// Mount it with `noinit_itable`, or the guest's kernel writes all inode tables full of zeros,
/// which makes the file longer for nothing.
///
/// # Errors
/// [`Error::NoProgram`] without `mkfs.ext4`, [`Error::Program`], [`Error::File`].
pub fn make_upper(state: &Path, path: &Path, size: u64) -> Result<(), Error> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput)).file("create", path);
    };
    let mut new = OsString::from(".");
    new.push(name);
    new.push(".new");
    let temporary = directory.join(&new);
    let disk = File::create(&temporary).file("create", &temporary)?;
    let made = fill(state, &disk, size).and_then(|()| {
        let directory = File::open(directory).file("open", directory)?;
        sys::entry::rename(&directory, &new, &directory, name, false).file("create", path)?;
        directory.sync_all().file("flush", path)
    });
    if made.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    made
}

/// Makes an empty file a disk of a size in bytes, flushed.
pub(crate) fn fill(state: &Path, disk: &File, size: u64) -> Result<(), Error> {
    let prototype = prototype(state, size)?;
    let filled = sys::content::copy(&prototype, disk).and_then(|_| disk.sync_all());
    filled.step("fill a disk")
}

/// The prototype of a size, made if there is none.
fn prototype(state: &Path, size: u64) -> Result<File, Error> {
    let mebibytes = size.div_ceil(1 << 20).max(SMALLEST);
    let directory = state.join(DIRECTORY);
    let path = directory.join(format!("{mebibytes}.ext4"));
    match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other.file("open", &path),
    }
    std::fs::create_dir_all(&directory).file("create", &directory)?;
    crate::sweep(state);
    let temporary =
        Temporary::file(&directory, &mebibytes.to_string()).file("create in", &directory)?;
    temporary.opened().set_len(mebibytes << 20).file("create", temporary.path())?;
    format(temporary.path())?;
    keep(temporary.path(), &path, &directory)
}

fn keep(temporary: &Path, path: &Path, directory: &Path) -> Result<File, Error> {
    let file = File::open(temporary).file("open", temporary)?;
    file.sync_all().file("flush", temporary)?;
    std::fs::rename(temporary, path).file("keep", path)?;
    File::open(directory).and_then(|found| found.sync_all()).file("flush", directory)?;
    Ok(file)
}

fn format(path: &Path) -> Result<(), Error> {
    let mut command = Command::new("mkfs.ext4");
    command.args(["-q", "-F", "-m", "0", "-J", &format!("size={JOURNAL}")]);
    command.args(["-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0"]);
    run("mkfs.ext4", "e2fsprogs", command.arg(path))
}

/// Has a program make a file system; it is in a package of Debian's.
pub(crate) fn run(
    program: &'static str,
    package: &'static str,
    command: &mut Command,
) -> Result<(), Error> {
    let output = command
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::NoProgram { program, package },
            _ => Error::Prepare { step: "start a program that makes file systems", source: error },
        })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Program { program, said })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_disk_is_as_long_as_wanted_and_takes_hardly_any_room() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("upper");
        make_upper(dir.path(), &path, 4 << 30).expect("made");
        let found = std::fs::metadata(&path).expect("disk");
        assert_eq!(found.len(), 4 << 30);
        assert!(found.blocks() * 512 < 4 << 20, "it takes {} bytes", found.blocks() * 512);
        let check = Command::new("/sbin/fsck.ext4").arg("-fn").arg(&path).output().expect("fsck");
        assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
        let again = make_upper(dir.path(), &path, 4 << 30).expect_err("it is there");
        assert!(again.to_string().contains("File exists"), "{again}");
        assert_eq!(std::fs::metadata(&path).expect("disk").len(), 4 << 30, "it is as it was");
        // The second of a size comes from the prototype.
        make_upper(dir.path(), &dir.path().join("other"), (4 << 30) - 1).expect("made");
        assert_eq!(std::fs::read_dir(dir.path().join(DIRECTORY)).expect("list").count(), 1);
    }

    #[test]
    fn a_disk_has_its_name_when_it_is_complete_and_half_a_one_is_begun_anew() {
        let dir = tempfile::tempdir().expect("directory");
        let (state, own) = (dir.path().join("vm"), dir.path().join("own"));
        std::fs::create_dir(&own).expect("create");
        // A prototype that cannot be copied: the disk is never there, not even half.
        let folder = state.join(DIRECTORY);
        std::fs::create_dir_all(folder.join("64.ext4")).expect("create");
        make_upper(&state, &own.join("upper"), 64 << 20).expect_err("it is a directory");
        assert_eq!(std::fs::read_dir(&own).expect("list").count(), 0);
        std::fs::remove_dir(folder.join("64.ext4")).expect("remove");

        // What somebody had done when he was killed.
        std::fs::write(own.join(".upper.new"), "half of it").expect("write");
        make_upper(&state, &own.join("upper"), 64 << 20).expect("made");
        let names = std::fs::read_dir(&own).expect("list").map(|entry| entry.expect("one"));
        assert_eq!(names.map(|entry| entry.file_name()).collect::<Vec<_>>(), ["upper"]);
        assert_eq!(std::fs::metadata(own.join("upper")).expect("disk").len(), 64 << 20);
    }

    #[test]
    fn what_killed_makers_left_goes_with_the_next_prototype() {
        let dir = tempfile::tempdir().expect("directory");
        let state = dir.path();
        let folder = state.join(DIRECTORY);
        std::fs::create_dir_all(&folder).expect("create");
        let left = [folder.join(".upper.1"), folder.join(".64.1"), state.join(".accelerator.1")];
        for path in &left {
            std::fs::write(path, "x").expect("write");
            crate::durable::age(path);
        }
        make_upper(state, &state.join("upper"), 64 << 20).expect("made");
        assert!(left.iter().all(|path| !path.exists()));
        assert!(folder.join("64.ext4").exists());
    }
}
