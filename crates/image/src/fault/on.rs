//! The power cut itself. It is armed in a child process of the test alone (see `power`).

use std::collections::HashSet;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sys::fs::{Root, proc_fd_path};

/// What a power cut does to what was not flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Nothing: the process is killed, the kernel lives.
    Nothing,
    /// File content is lost, names are not (delayed allocation).
    Content,
    /// Content, new names and removals are lost.
    Everything,
    /// Some of it, by this number: the last so many names and removals, as journals lose them, and
    /// the content of this file or that.
    Part(u64),
}

impl Loss {
    /// How many of so many names and removals, in their order, have reached the disk.
    fn kept_names(self, names: usize) -> usize {
        match self {
            Self::Nothing | Self::Content => names,
            Self::Everything => 0,
            Self::Part(number) => (mixed(number) % (names as u64 + 1)) as usize,
        }
    }

    /// Whether the content of a file that was not flushed is lost.
    fn takes(self, inode: u64) -> bool {
        match self {
            Self::Nothing => false,
            Self::Content | Self::Everything => true,
            Self::Part(number) => mixed(number ^ mixed(inode)).is_multiple_of(2),
        }
    }
}

/// A number that has little to do with the one it is made of (SplitMix64's step).
fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The power that will be cut.
pub(crate) struct Power {
    /// Steps before it.
    left: u64,
    loss: Loss,
    /// What lies on the disk.
    root: PathBuf,
    /// Where what renames and removals take away is kept until they are flushed.
    graves: PathBuf,
    /// Inodes of files with content that is not flushed.
    dirty: HashSet<u64>,
    /// Inodes of directories with nothing below them flushed.
    dirty_trees: HashSet<u64>,
    renames: Vec<Renaming>,
    next: u64,
}

/// A rename, or the removal of a file, that is not flushed.
pub(crate) struct Renaming {
    from: PathBuf,
    /// `None` for a removal.
    to: Option<PathBuf>,
    /// What was replaced or removed.
    grave: Option<PathBuf>,
}

static POWER: Mutex<Option<Power>> = Mutex::new(None);

fn power() -> MutexGuard<'static, Option<Power>> {
    POWER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Cuts the power before step `at` (from 0) of what follows. `graves` is on the same file system
/// as `root`, beside it.
pub(crate) fn arm(at: u64, loss: Loss, root: &Path, graves: &Path) {
    std::fs::create_dir_all(graves).expect("graves");
    *power() = Some(Power {
        left: at,
        loss,
        root: root.to_owned(),
        graves: graves.to_owned(),
        dirty: HashSet::new(),
        dirty_trees: HashSet::new(),
        renames: Vec::new(),
        next: 0,
    });
}

/// Ends the expectation of a power cut; says how many steps were left.
pub(crate) fn disarm() -> Option<u64> {
    power().take().map(|power| power.left)
}

/// The exit code of a process whose power was cut.
pub(crate) const CUT: i32 = 86;

pub(crate) fn point(_: &'static str) {
    let mut guard = power();
    let Some(power) = guard.as_mut() else { return };
    if power.left > 0 {
        power.left -= 1;
        return;
    }
    power.cut();
    std::process::exit(CUT);
}

impl Power {
    fn cut(&mut self) {
        let kept = self.loss.kept_names(self.renames.len());
        for renaming in self.renames.split_off(kept).into_iter().rev() {
            renaming.undo();
        }
        if self.loss != Loss::Nothing {
            let mut flushed = HashSet::new();
            self.walk(&self.root, false, &mut |_, inode, dirty| {
                if !dirty {
                    flushed.insert(inode);
                }
            });
            self.walk(&self.root, false, &mut |path, inode, dirty| {
                // A link to a file that was flushed under another name.
                if dirty && !flushed.contains(&inode) && self.loss.takes(inode) {
                    lose(path, inode);
                }
            });
        }
    }

    /// Visits all files, with their inodes and whether their content is not flushed.
    fn walk(&self, dir: &Path, dirty: bool, visit: &mut dyn FnMut(&Path, u64, bool)) {
        // Other threads may still be at work: what vanishes is passed over.
        let Ok(entries) = std::fs::read_dir(dir) else { return };
        for entry in entries.flatten() {
            let Ok(meta) = entry.path().symlink_metadata() else { continue };
            let inode = meta.ino();
            if meta.is_dir() {
                self.walk(&entry.path(), dirty || self.dirty_trees.contains(&inode), visit);
            } else if meta.is_file() {
                visit(&entry.path(), inode, dirty || self.dirty.contains(&inode));
            }
        }
    }
}

/// Cuts a file to half or to nothing.
fn lose(path: &Path, inode: u64) {
    let Ok(file) = File::options().write(true).open(path) else { return };
    let len = file.metadata().map_or(0, |meta| meta.len());
    file.set_len(if inode.is_multiple_of(2) { 0 } else { len / 2 }).expect("truncate");
}

impl Renaming {
    fn undo(self) {
        if let Some(to) = &self.to {
            if to.symlink_metadata().is_ok() {
                std::fs::rename(to, &self.from).expect("undo a rename");
            } else {
                // A tree that was removed under its new name: what it had is gone all the same.
                std::fs::create_dir(&self.from).expect("undo a rename");
            }
        }
        if let Some(grave) = self.grave {
            let place = self.to.as_ref().unwrap_or(&self.from);
            std::fs::rename(grave, place).expect("undo a removal");
        }
    }

    fn is_in(&self, dir: &Path) -> bool {
        self.to.as_ref().unwrap_or(&self.from).parent() == Some(dir)
    }
}

pub(crate) fn wrote(file: &File) {
    if let Some(power) = power().as_mut() {
        power.dirty.insert(file.metadata().expect("stat").ino());
    }
}

/// Everything below this directory is new and not flushed.
pub(crate) fn wrote_tree(dir: &Root) {
    if let Some(power) = power().as_mut() {
        power.dirty_trees.insert(dir.stat(".").expect("stat").st_ino);
    }
}

pub(crate) fn flushed(file: &File) {
    if let Some(power) = power().as_mut() {
        power.dirty.remove(&file.metadata().expect("stat").ino());
    }
}

pub(crate) fn flushed_dir(dir: impl AsFd) {
    if let Some(power) = power().as_mut() {
        let path = std::fs::read_link(proc_fd_path(dir)).expect("path");
        power.renames.retain(|renaming| !renaming.is_in(&path));
    }
}

pub(crate) fn flushed_all() {
    if let Some(power) = power().as_mut() {
        power.dirty.clear();
        power.dirty_trees.clear();
        power.renames.clear();
    }
}

fn host_path(root: &Root, path: &Path) -> PathBuf {
    let top = std::fs::read_link(proc_fd_path(root)).expect("path");
    top.join(path.strip_prefix(".").unwrap_or(path))
}

pub(crate) fn renaming(root: &Root, from: &Path, to: &Path) -> Option<Renaming> {
    let mut guard = power();
    let power = guard.as_mut()?;
    let (from, to) = (host_path(root, from), host_path(root, to));
    let grave = power.bury(&to);
    Some(Renaming { from, to: Some(to), grave })
}

pub(crate) fn removing(root: &Root, path: &Path) -> Option<Renaming> {
    let mut guard = power();
    let power = guard.as_mut()?;
    let from = host_path(root, path);
    let grave = power.bury(&from);
    grave.is_some().then_some(Renaming { from, to: None, grave })
}

impl Power {
    fn bury(&mut self, path: &Path) -> Option<PathBuf> {
        self.next += 1;
        let grave = self.graves.join(self.next.to_string());
        std::fs::hard_link(path, &grave).ok().map(|()| grave)
    }
}

pub(crate) fn renamed(renaming: Option<Renaming>) {
    if let (Some(power), Some(renaming)) = (power().as_mut(), renaming) {
        power.renames.push(renaming);
    }
}

/// Nothing counts until [`resume`]: what follows is done elsewhere.
pub(crate) fn pause() -> Option<Paused> {
    power().take().map(Paused)
}

/// A power cut that waits.
pub(crate) struct Paused(Power);

/// Goes on counting.
pub(crate) fn resume(paused: Option<Paused>) {
    *power() = paused.map(|paused| paused.0);
}
