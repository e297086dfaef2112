//! Control files of one cgroup directory.
//!
//! These paths are strings, not descriptors: the part that comes from outside has been checked
//! component by component ([`super::path`]), and a cgroup file system cannot hold symbolic links.
//! In return no process that starts a container holds descriptors into the host's cgroup tree.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::Error;

/// What a planner may ask about a cgroup.
pub(super) trait Knobs {
    /// Whether the control file is there.
    fn has(&self, file: &str) -> bool;
    /// Its text without the last newline; `None` if it cannot be read.
    fn read(&self, file: &str) -> Option<String>;
}

/// One cgroup directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dir(pub(super) PathBuf);

impl Knobs for Dir {
    fn has(&self, file: &str) -> bool {
        rustix::fs::access(self.0.join(file), rustix::fs::Access::EXISTS).is_ok()
    }

    fn read(&self, file: &str) -> Option<String> {
        self.text(file).ok()
    }
}

impl Dir {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The file's text without the last newline.
    pub(super) fn text(&self, file: &str) -> Result<String, Error> {
        let path = self.file(file);
        read(&path).map_err(|source| Error::Read { path, source })
    }

    /// A file that holds one number; `max` and `-1` are `u64::MAX`.
    pub(super) fn number(&self, file: &str) -> Option<u64> {
        number(&self.read(file)?)
    }

    /// A file of `name value` lines.
    pub(super) fn table(&self, file: &str) -> Vec<(String, u64)> {
        self.read(file).map(|text| table(&text)).unwrap_or_default()
    }

    /// One value of a file of `name value` lines.
    pub(super) fn field(&self, file: &str, name: &str) -> Option<u64> {
        let text = self.read(file)?;
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    pub(super) fn write(&self, file: &str, value: &str) -> io::Result<()> {
        open_for_writing(&self.file(file))?.write_all(value.as_bytes())
    }

    pub(super) fn set(&self, file: &str, value: &str) -> Result<(), Error> {
        self.write(file, value).map_err(|source| Error::Write {
            path: self.file(file),
            value: value.to_owned(),
            source,
        })
    }
}

/// A control file is never created and its values go out in one `write`.
pub(super) fn open_for_writing(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).open(path)
}

/// Like `fs::read_to_string`, but without asking for a size that control files do not have.
pub(super) fn read(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut bytes = Vec::with_capacity(512);
    file.read_to_end(&mut bytes)?;
    while bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    String::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData.into())
}

pub(super) fn number(text: &str) -> Option<u64> {
    match text.trim() {
        "max" | "-1" => Some(u64::MAX),
        digits => digits.parse().ok(),
    }
}

pub(super) fn table(text: &str) -> Vec<(String, u64)> {
    text.lines()
        .filter_map(|line| {
            let (name, value) = line.split_once(' ')?;
            Some((name.to_owned(), value.trim().parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
pub(super) mod fake {
    use std::collections::BTreeMap;

    use super::Knobs;

    /// A cgroup made of a map, for planners under test.
    #[derive(Default)]
    pub(crate) struct Fake(pub(crate) BTreeMap<String, String>);

    impl Fake {
        pub(crate) fn new(files: &[(&str, &str)]) -> Fake {
            Fake(files.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect())
        }
    }

    impl Knobs for Fake {
        fn has(&self, file: &str) -> bool {
            self.0.contains_key(file)
        }

        fn read(&self, file: &str) -> Option<String> {
            self.0.get(file).cloned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_tables() {
        assert_eq!(number("17\n"), Some(17));
        assert_eq!(number("max"), Some(u64::MAX));
        assert_eq!(number("-1"), Some(u64::MAX));
        assert_eq!(number("x"), None);
        let text = "cache 4096\nbroken\nrss 12";
        assert_eq!(table(text), [("cache".to_owned(), 4096), ("rss".to_owned(), 12)]);
    }
}
