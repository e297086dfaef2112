//! An ssh server of a test's own, in a daemon's network, with keys of its own.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use testkit::{Daemon, eventually};

/// The port it listens on.
pub(crate) const PORT: u16 = 2222;

/// A running server. It ends with this.
pub(crate) struct Server {
    child: Child,
    folder: tempfile::TempDir,
}

impl Server {
    /// Starts it. Who logs in finds `isopod` and a `docker` that is isopod, and the daemon's
    /// address in the environment.
    pub(crate) fn start(daemon: &Daemon) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        // sshd looks at who may write where its keys are.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        for key in ["host", "client"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(at(key))
                .status()
                .unwrap();
            assert!(made.success());
        }
        fs::create_dir(at("bin")).unwrap();
        for name in ["isopod", "docker"] {
            let program = testkit::engine::isopod_binary();
            std::os::unix::fs::symlink(program, at("bin").join(name)).unwrap();
        }
        fs::create_dir_all("/run/sshd").unwrap();
        let show = |path: PathBuf| path.display().to_string();
        let configuration = format!(
            "Port {PORT}\nListenAddress 127.0.0.1\nHostKey {host}\nAuthorizedKeysFile {keys}\n\
             PidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin yes\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nMaxStartups 100\n\
             SetEnv DOCKER_HOST=unix://{socket} PATH={bin}:/usr/bin:/bin\n",
            host = show(at("host")),
            keys = show(at("client.pub")),
            socket = daemon.engine().socket.display(),
            bin = show(at("bin")),
        );
        fs::write(at("sshd_config"), configuration).unwrap();
        let client = format!(
            "#!/bin/sh\nexec /usr/bin/ssh -F none -i {key} -o IdentitiesOnly=yes \
             -o StrictHostKeyChecking=no -o UserKnownHostsFile={known} -o LogLevel=ERROR \"$@\"\n",
            key = show(at("client")),
            known = show(at("known_hosts")),
        );
        fs::create_dir(at("client-bin")).unwrap();
        fs::write(at("client-bin/ssh"), client).unwrap();
        fs::set_permissions(at("client-bin/ssh"), fs::Permissions::from_mode(0o755)).unwrap();
        let log = fs::File::create(at("sshd.log")).unwrap();
        let child = Command::new("nsenter")
            .arg(format!("--net={}", daemon.netns().unwrap().path().display()))
            .args(["--", "/usr/sbin/sshd", "-D", "-e", "-f"])
            .arg(at("sshd_config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut server = Self { child, folder };
        eventually("sshd answers", Duration::from_secs(30), || {
            assert!(server.child.try_wait().unwrap().is_none(), "{}", server.log());
            daemon
                .engine()
                .on_its_network(|| TcpStream::connect(("127.0.0.1", PORT)).is_ok())
                .then_some(())
        });
        server
    }

    /// A directory with the `ssh` that knows the way.
    pub(crate) fn client_path(&self) -> PathBuf {
        self.folder.path().join("client-bin")
    }

    /// What the server has said.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("sshd.log")).unwrap_or_default()
    }

    /// A file of its own.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The search path with a directory in front.
pub(crate) fn search_path(first: &Path) -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{}:{path}", first.display())
}
