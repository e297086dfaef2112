//! Debian's registry on the loopback interface of an engine's network namespace.

use anyhow::{Context, Result, ensure};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use testkit::Daemon;

use super::super::shown;

/// A registry; it ends when this is dropped.
pub(super) struct Registry {
    child: Child,
}

/// Each is alone on its loopback interface.
pub(super) const PORT: u16 = 5000;

impl Registry {
    /// Serves `storage` beside a daemon.
    pub(super) fn start(daemon: &Daemon, storage: &Path) -> Result<Self> {
        let netns =
            daemon.netns().context("the daemon has no network namespace of its own")?.path();
        let configuration = storage.with_extension("yml");
        std::fs::create_dir_all(storage)?;
        std::fs::write(
            &configuration,
            format!(
                "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  delete: {{enabled: true}}\nhttp: {{addr: '127.0.0.1:{PORT}'}}\n",
                storage.display()
            ),
        )?;
        let child = Command::new("nsenter")
            .arg(format!("--net={}", netns.display()))
            .args(["--", "docker-registry", "serve"])
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("docker-registry")?;
        let registry = Self { child };
        let limit = Duration::from_secs(20);
        let began = Instant::now();
        let answers = || {
            testkit::netns::inside(&netns, || {
                TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)).is_ok()
            })
        };
        while !answers() {
            ensure!(began.elapsed() < limit, "docker-registry did not answer in {}", shown(limit));
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(registry)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
