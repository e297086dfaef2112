//! Debian's registry (`docker-registry`), the rival of ours and the peer of every client.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// How often one is started: somebody else may take the port that was free.
const STARTS: u32 = 5;

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
    /// A port; 0 takes one that is free there.
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
        for _ in 0..STARTS {
            let port = if options.port == 0 { free_port(options.netns) } else { options.port };
            let mut registry = Self::launch(options, port);
            let up = crate::eventually("docker-registry listens", Duration::from_secs(60), || {
                if listens(registry.child.id(), port) {
                    return Some(true);
                }
                registry.child.try_wait().expect("waitpid(2)").map(|_| false)
            });
            if up {
                return registry;
            }
        }
        panic!("docker-registry has ended {STARTS} times");
    }

    fn launch(options: &Options<'_>, port: u16) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let storage = options.storage.clone().unwrap_or_else(|| folder.path().join("data"));
        fs::create_dir_all(&storage).expect("the registry's storage");
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
        Self { child, port, _folder: folder }
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

/// A port of the loopback interface that nobody has right now, in a network namespace (a path) or,
/// with `None`, the host's.
#[must_use]
pub fn free_port(netns: Option<&Path>) -> u16 {
    let free = || {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        listener.local_addr().expect("its address").port()
    };
    match netns {
        Some(netns) => crate::netns::inside(netns, free),
        None => free(),
    }
}

/// Whether this process is the one that listens on the port: whoever connects may reach another that
/// was there first.
fn listens(pid: u32, port: u16) -> bool {
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap_or_default();
    let address = u32::from_ne_bytes(Ipv4Addr::LOCALHOST.octets());
    let address = format!("{address:08X}:{port:04X}");
    // The second field is the address, the fourth the state, the tenth the socket's number.
    let socket = table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let found = fields.len() > 9 && fields[1] == address && fields[3] == "0A";
        found.then(|| PathBuf::from(format!("socket:[{}]", fields[9])))
    });
    let Some(socket) = socket else { return false };
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    descriptors.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|open| open == socket)
}
