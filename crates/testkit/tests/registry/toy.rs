//! A registry as small as can be, whose downloads wait until the test lets them go on, and a way to
//! ask a real one.

use base64::Engine as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use testkit::image::digest;
use testkit::{Engine, json};

/// The user `me`, whose password is `secret`.
pub(crate) const HTPASSWD: &str =
    "me:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

/// An `X-Registry-Auth` header.
pub(crate) fn auth(user: &str, password: &str, server: &str) -> String {
    let who = json!({"username": user, "password": password, "serveraddress": server}).to_string();
    base64::engine::general_purpose::URL_SAFE.encode(who)
}

/// Asks a registry where the engine's host network is; gives status and body.
pub(crate) fn request(
    engine: &Engine,
    host: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (u16, Vec<u8>) {
    engine.on_its_network(|| {
        let mut stream = TcpStream::connect(host).unwrap();
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let line = String::from_utf8_lossy(&answer[..end]);
        let status = line.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer[end + 4..].to_vec())
    })
}

/// Bytes of a blob that are sent before it waits: enough for an engine to tell of some.
const FIRST: usize = 600_000;

struct Shared {
    layer: Vec<u8>,
    config: Vec<u8>,
    manifest: Vec<u8>,
    downloads: AtomicU64,
    broken: AtomicU64,
    resumed: AtomicU64,
    slow: Mutex<bool>,
    changed: Condvar,
    over: AtomicBool,
}

/// A registry of one image, which has every name and tag.
pub(crate) struct Toy {
    shared: Arc<Shared>,
    port: u16,
    engine: Engine,
    /// The digest of its only layer.
    pub(crate) blob: String,
}

impl Toy {
    /// Starts one whose layer holds a file with this content.
    pub(crate) fn start(engine: &Engine, content: Vec<u8>) -> Self {
        let layer = testkit::image::Layer::new().file("content", 0o644, &content).bytes();
        let blob = digest(&layer);
        let config = json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }, "os": "linux",
            "config": {}, "rootfs": {"type": "layers", "diff_ids": [blob]},
        });
        let config = config.to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "digest": digest(&config), "size": config.len(),
            },
            "layers": [{
                "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                "digest": blob, "size": layer.len(),
            }],
        });
        let shared = Arc::new(Shared {
            layer,
            config,
            manifest: manifest.to_string().into_bytes(),
            downloads: AtomicU64::new(0),
            broken: AtomicU64::new(0),
            resumed: AtomicU64::new(0),
            slow: Mutex::new(false),
            changed: Condvar::new(),
            over: AtomicBool::new(false),
        });
        let listener = engine.on_its_network(|| TcpListener::bind("127.0.0.1:0").unwrap());
        let port = listener.local_addr().unwrap().port();
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if serving.over.load(Ordering::Relaxed) {
                    return;
                }
                let serving = Arc::clone(&serving);
                std::thread::spawn(move || drop(serving.answer(stream)));
            }
        });
        Self { shared, port, engine: engine.clone(), blob }
    }

    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Lets downloads wait after their first part.
    pub(crate) fn slow_down(&self) {
        *self.shared.slow.lock().unwrap() = true;
    }

    /// Lets them go on.
    pub(crate) fn go_on(&self) {
        *self.shared.slow.lock().unwrap() = false;
        self.shared.changed.notify_all();
    }

    /// How often the layer was fetched.
    pub(crate) fn downloads(&self) -> u64 {
        self.shared.downloads.load(Ordering::SeqCst)
    }

    /// How many downloads were cut off by the other side.
    pub(crate) fn broken(&self) -> u64 {
        self.shared.broken.load(Ordering::SeqCst)
    }

    /// Where the last download began.
    pub(crate) fn resumed_from(&self) -> u64 {
        self.shared.resumed.load(Ordering::SeqCst)
    }
}

impl Drop for Toy {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        self.go_on();
        let host = self.host();
        // Wakes the listener up.
        self.engine.on_its_network(|| drop(TcpStream::connect(host)));
    }
}

impl Shared {
    fn answer(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?);
        if lines.fill_buf()?.first() == Some(&0x16) {
            // A handshake of TLS, which has no lines. Clients know this answer of Go's servers.
            return (&stream).write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n");
        }
        loop {
            let mut first = String::new();
            if lines.read_line(&mut first)? == 0 {
                return Ok(());
            }
            let mut from = 0;
            loop {
                let mut line = String::new();
                lines.read_line(&mut line)?;
                let line = line.trim().to_ascii_lowercase();
                if let Some(range) = line.strip_prefix("range: bytes=") {
                    from = range.trim_end_matches('-').parse().unwrap_or(0);
                }
                if line.is_empty() {
                    break;
                }
            }
            let mut words = first.split(' ');
            let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
            self.one(&stream, method, path, from)?;
        }
    }

    fn one(
        &self,
        mut stream: &TcpStream,
        method: &str,
        path: &str,
        from: usize,
    ) -> std::io::Result<()> {
        let layer = path.ends_with(&digest(&self.layer));
        let (kind, body) = if layer {
            ("application/octet-stream", &self.layer)
        } else if path.ends_with(&digest(&self.config)) {
            ("application/octet-stream", &self.config)
        } else if path.contains("/manifests/") {
            ("application/vnd.docker.distribution.manifest.v2+json", &self.manifest)
        } else if path.ends_with("/v2/") {
            ("application/json", &Vec::new())
        } else {
            return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
        };
        let status = match from {
            0 => "200 OK".to_owned(),
            from => {
                let last = body.len() - 1;
                format!("206 Partial Content\r\nContent-Range: bytes {from}-{last}/{}", body.len())
            }
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
             Docker-Content-Digest: {}\r\nAccept-Ranges: bytes\r\n\
             Docker-Distribution-Api-Version: registry/2.0\r\n\r\n",
            body.len() - from,
            digest(body)
        );
        stream.write_all(head.as_bytes())?;
        if method == "HEAD" {
            return Ok(());
        }
        if !layer {
            return stream.write_all(body);
        }
        self.downloads.fetch_add(1, Ordering::SeqCst);
        self.resumed.store(from as u64, Ordering::SeqCst);
        let outcome = self.slowly(stream, &body[from..]);
        if outcome.is_err() {
            self.broken.fetch_add(1, Ordering::SeqCst);
        }
        outcome
    }

    /// Sends the first part, waits while it is to be slow, and sends the rest.
    fn slowly(&self, mut stream: &TcpStream, body: &[u8]) -> std::io::Result<()> {
        let first = body.len().min(FIRST);
        stream.write_all(&body[..first])?;
        let mut slow = self.slow.lock().unwrap();
        while *slow {
            (slow, _) = self.changed.wait_timeout(slow, Duration::from_millis(50)).unwrap();
            let mut byte = [0];
            stream.set_nonblocking(true)?;
            let gone = matches!(stream.peek(&mut byte), Ok(0))
                || stream
                    .peek(&mut byte)
                    .is_err_and(|e| e.kind() != std::io::ErrorKind::WouldBlock);
            stream.set_nonblocking(false)?;
            if gone {
                return Err(std::io::ErrorKind::BrokenPipe.into());
            }
        }
        drop(slow);
        stream.write_all(&body[first..])
    }
}
