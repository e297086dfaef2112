//! What a daemon leaves behind, and how it goes.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{Daemon, hierarchies, kill};
use crate::engine::Kind;
use crate::netns::Netns;

impl Daemon {
    /// What is left of a stopped daemon: processes in its namespace, links, mounts below its folder.
    pub(super) fn leftovers(&self) -> Vec<String> {
        let mut left = Vec::new();
        let began = Instant::now();
        // A monitor may still be on its way out.
        while began.elapsed() < Duration::from_secs(5) && !self.strangers().is_empty() {
            std::thread::sleep(Duration::from_millis(50));
        }
        for pid in self.strangers() {
            let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            left.push(format!(
                "process {pid}: {}",
                String::from_utf8_lossy(&words).replace('\0', " ")
            ));
        }
        // The kernel takes links away some time after the namespace at their other end.
        while began.elapsed() < Duration::from_secs(5) && !self.veths().is_empty() {
            std::thread::sleep(Duration::from_millis(50));
        }
        left.extend(self.veths().into_iter().map(|link| format!("link {link}")));
        left.extend(self.mounts().iter().map(|mount| format!("mount {}", mount.display())));
        left.extend(self.cgroups().iter().map(|cgroup| format!("cgroup {}", cgroup.display())));
        for place in ["data/containers", "run/monitors"] {
            let entries =
                std::fs::read_dir(self.folder.join(place)).into_iter().flatten().flatten();
            left.extend(entries.map(|entry| format!("directory {}", entry.path().display())));
        }
        left
    }

    fn veths(&self) -> Vec<String> {
        let links = self.netns.as_ref().map(Netns::links).unwrap_or_default();
        links.into_iter().filter(|link| link.starts_with("veth")).collect()
    }

    pub(super) fn strangers(&self) -> Vec<i32> {
        let Some(netns) = &self.netns else { return Vec::new() };
        let own = std::process::id() as i32;
        netns.processes().into_iter().filter(|pid| *pid != own).collect()
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
        if self.kind == Kind::Dockerd {
            let mark = self.folder.display().to_string();
            for pid in processes_naming(&mark) {
                kill(pid, Signal::KILL);
            }
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

/// Processes with `mark` in their command line.
fn processes_naming(mark: &str) -> Vec<i32> {
    let own = std::process::id() as i32;
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != own)
        .filter(|pid| {
            let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&words).contains(mark)
        })
        .collect()
}
