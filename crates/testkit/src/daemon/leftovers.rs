//! What a daemon leaves behind, and how it goes.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{Daemon, hierarchies, kill};
use crate::netns::Netns;

/// Longer nobody waits on a busy host for what goes or is made.
const PATIENCE: Duration = Duration::from_secs(60);

impl Daemon {
    /// What is left of a stopped daemon: processes in its namespace or with files of its own, links,
    /// mounts below its folder.
    pub(super) fn leftovers(&self) -> Vec<String> {
        let mut left = Vec::new();
        let began = Instant::now();
        // A monitor, or a machine that was ready, may still be on its way out.
        let strangers = loop {
            let strangers = self.strangers();
            if strangers.is_empty() || began.elapsed() > PATIENCE {
                break strangers;
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        for pid in strangers {
            let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            left.push(format!(
                "process {pid}: {}",
                String::from_utf8_lossy(&words).replace('\0', " ")
            ));
        }
        // The kernel takes links away some time after the namespace at their other end.
        while began.elapsed() < PATIENCE && !self.veths().is_empty() {
            std::thread::sleep(Duration::from_millis(50));
        }
        left.extend(self.veths().into_iter().map(|link| format!("link {link}")));
        left.extend(self.mounts().iter().map(|mount| format!("mount {}", mount.display())));
        left.extend(self.cgroups().iter().map(|cgroup| format!("cgroup {}", cgroup.display())));
        for place in ["data/containers", "run/monitors"] {
            let found = entries(&self.folder.join(place));
            left.extend(found.iter().map(|path| format!("directory {}", path.display())));
        }
        left
    }

    fn veths(&self) -> Vec<String> {
        let links = self.netns.as_ref().map(Netns::links).unwrap_or_default();
        links.into_iter().filter(|link| link.starts_with("veth")).collect()
    }

    /// Everybody else in its network namespace, and whoever holds something of this daemon wherever it
    /// is: a machine's process is in the namespace of its container, or in one of its own.
    pub(super) fn strangers(&self) -> Vec<i32> {
        let inside = self.netns.as_ref().map(Netns::processes).unwrap_or_default();
        let own = std::process::id() as i32;
        let ours = |pid: &i32| inside.contains(pid) || holds(*pid, &self.folder);
        processes().into_iter().filter(|pid| *pid != own && ours(pid)).collect()
    }

    /// The processes of its machines, whatever namespaces they are in.
    #[must_use]
    pub fn machines(&self) -> Vec<i32> {
        self.strangers().into_iter().filter(|pid| is_machine(*pid)).collect()
    }

    /// What is half made where machines are kept, once it has had the time to be done: names with a
    /// dot in front. The daemon must be there, for what its end cuts is swept by the next one.
    pub(super) fn half_made(&self) -> Vec<String> {
        let began = Instant::now();
        while began.elapsed() < PATIENCE && !self.hidden().is_empty() {
            std::thread::sleep(Duration::from_millis(50));
        }
        self.hidden().iter().map(|path| format!("half made: {}", path.display())).collect()
    }

    fn hidden(&self) -> Vec<PathBuf> {
        let top = entries(&self.folder.join("data/vm"));
        let below: Vec<PathBuf> = top.iter().flat_map(|path| entries(path)).collect();
        let dotted = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
        };
        top.into_iter().chain(below).filter(dotted).collect()
    }

    fn mounts(&self) -> Vec<PathBuf> {
        let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        text.lines()
            .filter_map(|line| line.split(' ').nth(4))
            .map(PathBuf::from)
            .filter(|path| path.starts_with(&self.folder))
            .collect()
    }

    /// Makes the machine clean whatever happened.
    pub(super) fn clean(&mut self) {
        for pid in self.strangers() {
            kill(pid, Signal::KILL);
        }
        for cgroup in self.cgroups() {
            let _ = std::fs::remove_dir(cgroup);
        }
        for root in hierarchies() {
            let _ = std::fs::remove_dir(format!("{}{}", root.display(), self.cgroup_parent()));
        }
        for mount in self.mounts().iter().rev() {
            let _ = rustix::mount::unmount(mount, rustix::mount::UnmountFlags::DETACH);
        }
        if std::env::var_os("ISOPOD_TEST_KEEP").is_none() {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
        self.netns = None;
    }
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// Every process there is.
fn processes() -> Vec<i32> {
    let names = entries(Path::new("/proc"));
    names.iter().filter_map(|path| path.file_name()?.to_str()?.parse().ok()).collect()
}

/// Whether a process has something to do with this folder: it is named in its command line, it is in a
/// cgroup of that name, or it has a file from there open or, if it is a machine, in its memory.
fn holds(pid: i32, folder: &Path) -> bool {
    let mark = folder.to_str().expect("a path of ours");
    let name = folder.file_name().and_then(OsStr::to_str).unwrap_or_default();
    // One that has ended, and that nobody has asked about yet, executes nothing and holds nothing.
    if std::fs::read_link(format!("/proc/{pid}/exe")).is_err() {
        return false;
    }
    let about = |file: &str| {
        let text = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    };
    about("cmdline").contains(mark)
        || about("cgroup").contains(name)
        || is_machine(pid) && about("maps").contains(mark)
        || entries(Path::new(&format!("/proc/{pid}/fd"))).iter().any(|fd| {
            std::fs::read_link(fd).is_ok_and(|file| file.to_string_lossy().contains(mark))
        })
}

fn is_machine(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm"))
        .is_ok_and(|comm| comm.starts_with("qemu-system-"))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn who_has_a_file_of_a_folder_open_is_found_and_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("disk");
        std::fs::write(&file, "").unwrap();
        let spawn = |stdin: Stdio| Command::new("sleep").arg("1000").stdin(stdin).spawn().unwrap();
        let children = [spawn(File::open(&file).unwrap().into()), spawn(Stdio::null())];
        // As a machine's disk may be when its container has been removed.
        std::fs::remove_file(&file).unwrap();
        let found = children.map(|mut child| {
            let found = holds(child.id() as i32, folder.path());
            child.kill().unwrap();
            child.wait().unwrap();
            found
        });
        assert_eq!(found, [true, false]);
    }
}
