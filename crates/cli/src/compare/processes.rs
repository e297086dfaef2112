//! What this host's `/proc` says of processes, memory and files.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

/// Between two looks for a process.
const PAUSE: Duration = Duration::from_millis(50);

/// Memory of a process in bytes: its own pages, and its share of those that it shares.
///
/// # Errors
/// It is not there, it is another user's, or the kernel (before 4.14) has no `smaps_rollup`.
pub(super) fn memory(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    kibibytes(&text, "Pss:").ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Bytes of memory that could be given to new processes without swapping, by the kernel's estimate.
///
/// # Errors
/// As those of `/proc/meminfo`.
pub(super) fn available() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    kibibytes(&text, "MemAvailable:").ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The number of a line `NAME NUMBER kB`, in bytes.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = rest.split_whitespace().next()?.parse().ok()?;
    Some(number << 10)
}

/// All processes at one moment.
pub(super) struct Processes {
    parents: HashMap<u32, u32>,
}

impl Processes {
    /// Looks at them.
    ///
    /// # Errors
    /// `/proc` is not there.
    pub(super) fn look() -> io::Result<Self> {
        let pids = fs::read_dir("/proc")?
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        // One that has ended meanwhile is none.
        Ok(Self { parents: pids.filter_map(|pid| Some((pid, parent(pid)?))).collect() })
    }

    /// The parent of a process.
    pub(super) fn parent(&self, pid: u32) -> Option<u32> {
        self.parents.get(&pid).copied().filter(|parent| *parent > 1)
    }

    /// A process, its children, theirs, and so on.
    pub(super) fn below(&self, root: u32) -> Vec<u32> {
        let mut found = vec![root];
        let mut at = 0;
        while let Some(&above) = found.get(at) {
            found.extend(self.parents.iter().filter(|(_, p)| **p == above).map(|(pid, _)| pid));
            at += 1;
        }
        found
    }
}

fn parent(pid: u32) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may have blanks and brackets; behind its last bracket are the state and the parent.
    let (_, rest) = text.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

/// Waits until a process is called so, or until that has taken too long.
pub(super) async fn appears(name: &str, patience: Duration) -> bool {
    let there = || {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        entries
            .map(|entry| entry.path().join("comm"))
            .any(|path| fs::read_to_string(path).is_ok_and(|own| own.trim_end() == name))
    };
    let appears = async {
        while !there() {
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(patience, appears).await.is_ok()
}

/// Bytes on disk of a directory and all that is in it, without what is mounted there.
///
/// # Errors
/// As those of files.
pub(super) fn on_disk(path: &Path) -> io::Result<u64> {
    let root = fs::symlink_metadata(path)?;
    let device = root.dev();
    let mut total = root.blocks() * 512;
    let mut waiting = vec![path.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let metadata = fs::symlink_metadata(entry.path())?;
            if metadata.dev() != device {
                continue;
            }
            total += metadata.blocks() * 512;
            if metadata.is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_their_names() {
        let text = "MemTotal:  10 kB\nMemAvailable:   7 kB\n";
        assert_eq!(kibibytes(text, "MemAvailable:"), Some(7168));
        assert_eq!(kibibytes(text, "Pss:"), None);
    }

    #[test]
    fn children_are_below_their_parents() {
        let parents = [(5, 4), (6, 5), (7, 5), (8, 7), (9, 4)];
        let processes = Processes { parents: parents.into_iter().collect() };
        let mut below = processes.below(5);
        below.sort_unstable();
        assert_eq!(below, [5, 6, 7, 8]);
        assert_eq!(processes.parent(8), Some(7));
        assert_eq!(processes.parent(4), None);
    }

    #[test]
    fn this_process_is_there() {
        let own = std::process::id();
        assert!(memory(own).expect("own memory") > 0);
        assert!(Processes::look().expect("/proc").below(own).contains(&own));
        let folder = tempfile::tempdir().expect("a directory");
        let empty = on_disk(folder.path()).expect("looked at");
        fs::write(folder.path().join("x"), vec![1; 64 << 10]).expect("written");
        assert!(on_disk(folder.path()).expect("looked at") >= empty + (64 << 10));
    }
}
