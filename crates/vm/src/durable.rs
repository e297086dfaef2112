//! Files that are either as they were or as they are to be, whatever happens in between.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// What is younger is not swept: it has no lock yet for a moment.
const YOUNG: Duration = Duration::from_secs(60);

/// Something that is being made, under a name that nobody looks for: `.<name>.<pid>`. It is locked
/// as long as its maker lives, and goes with this unless it has got another name.
#[derive(Debug)]
pub(crate) struct Temporary {
    path: PathBuf,
    /// Open for writing if it is a file.
    file: File,
}

impl Temporary {
    /// A file without content.
    ///
    /// # Errors
    /// Those of making and locking it.
    pub(crate) fn file(directory: &Path, name: &str) -> io::Result<Self> {
        let path = Self::vacant(directory, name)?;
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        Self { path, file }.locked()
    }

    /// A directory with nothing in it.
    ///
    /// # Errors
    /// Those of making and locking it.
    pub(crate) fn directory(directory: &Path, name: &str) -> io::Result<Self> {
        let path = Self::vacant(directory, name)?;
        std::fs::create_dir(&path)?;
        let file = File::open(&path)?;
        Self { path, file }.locked()
    }

    fn place(directory: &Path, name: &str) -> PathBuf {
        directory.join(format!(".{name}.{}", std::process::id()))
    }

    /// Its place, where an earlier process that had this number may have left something.
    fn vacant(directory: &Path, name: &str) -> io::Result<PathBuf> {
        let path = Self::place(directory, name);
        match remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(path),
        }
    }

    fn locked(self) -> io::Result<Self> {
        // Nobody else has a reason to have it for long.
        sys::entry::lock(&self.file)?;
        Ok(self)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file, for reading and writing, or the directory.
    pub(crate) fn opened(&self) -> &File {
        &self.file
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // It has another name now, or is swept one day.
        let _ = remove(&self.path);
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path)?.is_dir() {
        true => std::fs::remove_dir_all(path),
        false => std::fs::remove_file(path),
    }
}

/// Removes what is still being made according to its name, but by nobody who lives. What cannot be
/// removed is tried again the next time.
pub(crate) fn sweep(directory: &Path) {
    for path in abandoned(directory) {
        let _ = remove(&path);
    }
}

/// What makers have left in a directory that do not live any more.
pub(crate) fn abandoned(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let hidden = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"."));
    hidden.map(|entry| entry.path()).filter(|path| is_abandoned(path).unwrap_or(false)).collect()
}

fn is_abandoned(path: &Path) -> io::Result<bool> {
    let age = SystemTime::now().duration_since(std::fs::symlink_metadata(path)?.modified()?);
    if age.is_ok_and(|age| age < YOUNG) {
        return Ok(false);
    }
    let flags = (sys::fs::OFlags::NOFOLLOW | sys::fs::OFlags::NONBLOCK).bits();
    let file = File::options().read(true).custom_flags(flags.cast_signed()).open(path)?;
    sys::entry::try_lock(&file)
}

/// Removes a directory, whose name it takes away first, so that nobody finds half of it.
///
/// # Errors
/// Those of renaming and removing.
pub(crate) fn discard(directory: &Path, name: &str) -> io::Result<()> {
    let aside = Temporary::vacant(directory, &format!("{name}.discarded"))?;
    std::fs::rename(directory.join(name), &aside)?;
    match std::fs::remove_dir_all(&aside) {
        // Somebody sweeps.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Puts `bytes` into the file `name` of a directory.
///
/// # Errors
/// Those of writing, flushing and renaming.
pub(crate) fn replace(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let mut temporary = Temporary::file(directory, name)?;
    temporary.file.write_all(bytes)?;
    temporary.file.sync_all()?;
    std::fs::rename(temporary.path(), directory.join(name))?;
    File::open(directory)?.sync_all()
}

/// Gives a directory that is complete its final name, flushed. When another was quicker, that one
/// stays and this one goes.
///
/// # Errors
/// Those of flushing and renaming.
pub(crate) fn publish(temporary: &Path, name: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(temporary)? {
        File::open(entry?.path())?.sync_all()?;
    }
    File::open(temporary)?.sync_all()?;
    publish_tree(temporary, name)
}

/// The same for a tree whose content the caller has flushed.
///
/// # Errors
/// Those of renaming.
pub(crate) fn publish_tree(temporary: &Path, name: &Path) -> io::Result<()> {
    match std::fs::rename(temporary, name) {
        Err(error) if is_there(&error) => std::fs::remove_dir_all(temporary)?,
        other => other?,
    }
    match name.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

fn is_there(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(sys::errno::ENOTEMPTY | sys::errno::EEXIST))
}

/// Makes something old enough to be swept.
#[cfg(test)]
pub(crate) fn age(path: &Path) {
    let then = SystemTime::now() - 2 * YOUNG;
    File::open(path).expect("open").set_modified(then).expect("time");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_makes_any_more_is_swept() {
        let dir = tempfile::tempdir().expect("directory");
        let (file, folder, young) =
            (dir.path().join(".file.1"), dir.path().join(".folder.1"), dir.path().join(".young.1"));
        std::fs::create_dir(&folder).expect("create");
        for path in [&file, &folder.join("x"), &young, &dir.path().join("named")] {
            std::fs::write(path, "x").expect("write");
        }
        let held = [
            Temporary::file(dir.path(), "held").expect("file"),
            Temporary::directory(dir.path(), "folder").expect("directory"),
        ];
        for entry in std::fs::read_dir(dir.path()).expect("list") {
            let path = entry.expect("entry").path();
            if path != young {
                age(&path);
            }
        }
        sweep(dir.path());
        assert!(!file.exists() && !folder.exists());
        assert!(young.exists() && dir.path().join("named").exists());
        assert!(held.iter().all(|one| one.path().exists()));
        drop(held);
        assert_eq!(std::fs::read_dir(dir.path()).expect("list").count(), 2);
    }

    #[test]
    fn what_an_earlier_process_of_the_same_number_left_is_in_nobodys_way() {
        let dir = tempfile::tempdir().expect("directory");
        let left = Temporary::place(dir.path(), "x");
        std::fs::create_dir_all(left.join("y")).expect("create");
        let made = Temporary::directory(dir.path(), "x").expect("made");
        assert_eq!(std::fs::read_dir(made.path()).expect("list").count(), 0);
        drop(made);
        std::fs::write(&left, "longer than what comes").expect("write");
        replace(dir.path(), "x", b"short").expect("replace");
        assert_eq!(std::fs::read(dir.path().join("x")).expect("read"), b"short");
    }

    #[test]
    fn the_first_of_two_directories_stays() {
        let dir = tempfile::tempdir().expect("directory");
        for content in ["one", "two"] {
            let temporary = dir.path().join("tmp");
            std::fs::create_dir(&temporary).expect("create");
            std::fs::write(temporary.join("file"), content).expect("write");
            publish(&temporary, &dir.path().join("name")).expect("publish");
            assert!(!temporary.exists());
        }
        assert_eq!(std::fs::read_to_string(dir.path().join("name/file")).expect("read"), "one");
    }

    #[test]
    fn a_file_is_replaced_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().expect("directory");
        for content in [b"one", b"two"] {
            replace(dir.path(), "file", content).expect("replace");
            assert_eq!(std::fs::read(dir.path().join("file")).expect("read"), content);
        }
        assert_eq!(std::fs::read_dir(dir.path()).expect("list").count(), 1);
    }
}
