//! The kernel's modules that came along: `/modules/order` says which there are, a line each, in the
//! order in which they depend on each other: `early NAME`, `late NAME`, or `share NAME` for what
//! only machines with shared directories need.

use std::io;
use std::path::Path;

use sys::fs::Root;

/// What there is to load.
#[derive(Debug, Default)]
pub(crate) struct Modules {
    /// Open, as its path goes with the first root file system.
    directory: Option<Root>,
    early: Vec<String>,
    late: Vec<String>,
    share: Vec<String>,
}

impl Modules {
    /// Reads the list; a kernel that has everything built in comes without.
    pub(crate) fn read(directory: &Path) -> io::Result<Self> {
        let text = match std::fs::read_to_string(directory.join("order")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            other => other?,
        };
        let directory = Some(Root::open_host(directory)?);
        let mut modules = Self { directory, ..Self::default() };
        for (when, name) in text.lines().filter_map(|line| line.split_once(' ')) {
            let list = match when {
                "early" => &mut modules.early,
                "share" => &mut modules.share,
                _ => &mut modules.late,
            };
            list.push(name.trim().to_owned());
        }
        Ok(modules)
    }

    /// What has to be there before the devices are looked at.
    pub(crate) fn load_early(&self) -> io::Result<()> {
        self.early.iter().try_for_each(|name| self.load(name))
    }

    /// What every machine needs.
    pub(crate) fn load_late(&self) -> io::Result<()> {
        self.late.iter().try_for_each(|name| self.load(name))
    }

    /// What shared directories need.
    pub(crate) fn load_share(&self) -> io::Result<()> {
        self.share.iter().try_for_each(|name| self.load(name))
    }

    fn load(&self, name: &str) -> io::Result<()> {
        let directory = self.directory.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let file = directory.open_file(format!("{name}.ko"))?;
        match sys::machine::load_module(&file) {
            // It is built in, or was needed by another.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(io::Error::new(error.kind(), format!("{name}: {error}"))),
            Ok(()) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_says_what_comes_first() {
        let directory = tempfile::tempdir().expect("directory");
        let none = Modules::read(directory.path()).expect("no list is an empty one");
        assert!(none.early.is_empty() && none.late.is_empty());
        let text = "early virtio_mmio\nlate virtio_blk\nlate erofs\nbroken\nshare fuse\n";
        std::fs::write(directory.path().join("order"), text).expect("writes");
        let some = Modules::read(directory.path()).expect("reads");
        assert_eq!(some.early, ["virtio_mmio"]);
        assert_eq!(some.late, ["virtio_blk", "erofs"]);
        assert_eq!(some.share, ["fuse"]);
    }
}
