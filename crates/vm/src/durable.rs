//! Files that are either as they were or as they are to be, whatever happens in between.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Puts `bytes` into the file `name` of a directory.
///
/// # Errors
/// Those of writing, flushing and renaming.
pub(crate) fn replace(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let temporary = directory.join(format!(".{name}.{}", std::process::id()));
    let written = File::create(&temporary)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| std::fs::rename(&temporary, directory.join(name)));
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written?;
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

#[cfg(test)]
mod tests {
    use super::*;

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
