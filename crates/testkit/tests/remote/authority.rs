//! A certificate authority of a test's own, made with openssl.

use std::path::{Path, PathBuf};
use std::process::Command;

/// An authority's directory: `ca.pem`, and a certificate and a key for each name.
pub(crate) struct Authority(tempfile::TempDir);

impl Authority {
    /// Makes an authority, a certificate for a server on loopback, and one for each client: its
    /// file name and its subject.
    pub(crate) fn new(clients: &[(&str, &str)]) -> Self {
        let authority = Self(tempfile::tempdir().unwrap());
        authority.script(
            "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca-key.pem -out ca.pem",
        );
        authority.sign("server", "/CN=server", "IP:127.0.0.1");
        for (name, subject) in clients {
            authority.sign(name, subject, &format!("DNS:{name}.example"));
        }
        authority
    }

    fn sign(&self, name: &str, subject: &str, alternative: &str) {
        self.script(&format!(
            "openssl req -newkey rsa:2048 -nodes -subj '{subject}' -keyout {name}-key.pem -out {name}.csr
            printf 'subjectAltName={alternative}\\nextendedKeyUsage=serverAuth,clientAuth\\n' > ext
            openssl x509 -req -days 2 -in {name}.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -extfile ext -out {name}.pem"
        ));
    }

    fn script(&self, script: &str) {
        let script = format!("set -e\n{script}");
        let output =
            Command::new("bash").args(["-c", &script]).current_dir(self.0.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// The path of one of its files.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The SHA-256 fingerprint of a certificate, as openssl prints it.
    pub(crate) fn fingerprint(&self, name: &str) -> String {
        let output = Command::new("openssl")
            .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
            .arg(self.file(&format!("{name}.pem")))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.trim().rsplit('=').next().unwrap().to_owned()
    }

    /// Options of both command lines for a client of this name.
    pub(crate) fn options(&self, name: &str) -> Vec<String> {
        let file = |name: &str| self.file(name).display().to_string();
        vec![
            "--tlsverify".to_owned(),
            format!("--tlscacert={}", file("ca.pem")),
            format!("--tlscert={}", file(&format!("{name}.pem"))),
            format!("--tlskey={}", file(&format!("{name}-key.pem"))),
        ]
    }

    /// A directory with this client's files under the names that `DOCKER_CERT_PATH` needs.
    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        let directory = self.file(&format!("{name}.d"));
        std::fs::create_dir_all(&directory).unwrap();
        let copy = |from: &str, to: &str| copy(&self.file(from), &directory.join(to));
        copy("ca.pem", "ca.pem");
        copy(&format!("{name}.pem"), "cert.pem");
        copy(&format!("{name}-key.pem"), "key.pem");
        directory
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
}
