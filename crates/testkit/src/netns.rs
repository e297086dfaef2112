//! Network namespaces of their own for engines under test: bridges, firewall tables and addresses
//! of one never meet those of another, nor the host's.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Command;

/// A named network namespace with a loopback interface; deleted when dropped.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// Makes one.
    #[must_use]
    pub fn create() -> Self {
        let name = crate::unique("isopod-t");
        ip(&["netns", "add", &name]);
        ip(&["-n", &name, "link", "set", "lo", "up"]);
        Self { name }
    }

    /// Where it can be opened.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// The names of its links.
    #[must_use]
    pub fn links(&self) -> Vec<String> {
        let output = Command::new("ip").args(["-n", &self.name, "-o", "link"]).output();
        let output = output.expect("running ip");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let name = |line: &str| Some(line.split(": ").nth(1)?.split('@').next()?.to_owned());
        text.lines().filter_map(name).collect()
    }

    /// The processes inside.
    #[must_use]
    pub fn processes(&self) -> Vec<i32> {
        use std::os::unix::fs::MetadataExt;
        let Ok(own) = std::fs::metadata(self.path()) else { return Vec::new() };
        let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
        entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid: &i32| {
                std::fs::metadata(format!("/proc/{pid}/ns/net"))
                    .is_ok_and(|other| (other.dev(), other.ino()) == (own.dev(), own.ino()))
            })
            .collect()
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().expect("running ip");
    assert!(
        output.status.success(),
        "ip {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Does `work` on a thread inside the network namespace at `path`.
pub fn inside<T: Send>(path: &std::path::Path, work: impl FnOnce() -> T + Send) -> T {
    let namespace = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            rustix::thread::move_into_link_name_space(
                namespace.as_fd(),
                Some(rustix::thread::LinkNameSpaceType::Network),
            )
            .expect("setns(CLONE_NEWNET)");
            work()
        });
        match thread.join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
