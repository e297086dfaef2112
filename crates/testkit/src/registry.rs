//! Debian's registry (`docker-registry`), the rival of ours and the peer of every client.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// A registry on a loopback interface; it ends, and forgets what it keeps unless it was given a
/// folder for that, when this is dropped.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    port: u16,
    _folder: TempDir,
}

/// How a registry is to be.
#[derive(Debug, Default)]
pub struct Options<'a> {
    /// The network namespace (a path) whose loopback interface it listens on; `None`: the host's.
    pub netns: Option<&'a Path>,
    /// A port; 0 takes one that is free on the host.
    pub port: u16,
    /// Where it keeps what it gets; `None`: in a directory of its own.
    pub storage: Option<PathBuf>,
    /// Further lines of its configuration, in YAML.
    pub more: &'a str,
}

impl Registry {
    /// Starts one and waits until it answers.
    #[must_use]
    pub fn start(options: &Options<'_>) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let storage = options.storage.clone().unwrap_or_else(|| folder.path().join("data"));
        fs::create_dir_all(&storage).expect("the registry's storage");
        let port = if options.port == 0 { free_port() } else { options.port };
        let file = folder.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  delete: {{enabled: true}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n{}",
            storage.display(),
            options.more
        );
        fs::write(&file, text).expect("the registry's configuration");
        let mut command = match options.netns {
            Some(netns) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net={}", netns.display())).args(["--", "docker-registry"]);
                command
            }
            None => Command::new("docker-registry"),
        };
        let child = command
            .arg("serve")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is installed");
        let registry = Self { child, port, _folder: folder };
        let connects = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok();
        crate::eventually("docker-registry answers", Duration::from_secs(30), || {
            match options.netns {
                Some(netns) => crate::netns::inside(netns, connects),
                None => connects(),
            }
        });
        registry
    }

    /// `127.0.0.1:port`.
    #[must_use]
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port of the loopback interface that nobody has right now.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("its address").port()
}
