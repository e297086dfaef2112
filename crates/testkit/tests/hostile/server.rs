//! A registry that says what a test wants it to say.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use testkit::distribution::content::{CONFIG, LAYER, MANIFEST};
use testkit::image::digest;
use testkit::{Engine, Value, json};

/// A request.
pub(crate) struct Asked {
    pub(crate) method: String,
    /// With the query.
    pub(crate) path: String,
    pub(crate) host: String,
    pub(crate) authorized: bool,
}

/// What follows a head.
pub(crate) enum Body {
    /// With its length before it.
    Whole(Vec<u8>),
    /// In chunks, without a length.
    Chunked(Vec<u8>),
    /// Fewer bytes than the length that is claimed, then the end.
    Cut(Vec<u8>, u64),
    /// These bytes again and again, in chunks.
    Endless(Vec<u8>),
    /// Some bytes, and nothing more, for ever.
    Silence(Vec<u8>, u64),
    /// Not even a head, for ever.
    Nothing,
    /// A head that never ends, a byte now and then.
    Drip,
}

/// An answer.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Body,
}

impl Reply {
    pub(crate) fn new(status: u16, body: Body) -> Self {
        Self { status, headers: Vec::new(), body }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

#[derive(Default)]
struct Shared {
    over: AtomicBool,
    sent: AtomicU64,
    requests: AtomicU64,
    open: AtomicU64,
}

/// A running one.
pub(crate) struct Hostile {
    shared: Arc<Shared>,
    port: u16,
    engine: Engine,
}

/// The longest that anything endless goes on, so that a test that fails does end.
const ENDLESS: u64 = 2 << 30;

impl Hostile {
    /// Starts one where the engine's host network is.
    pub(crate) fn start(
        engine: &Engine,
        answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = engine.on_its_network(|| TcpListener::bind("127.0.0.1:0").unwrap());
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        let (serving, answer) = (Arc::clone(&shared), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if serving.over.load(Ordering::SeqCst) {
                    return;
                }
                let (serving, answer) = (Arc::clone(&serving), Arc::clone(&answer));
                std::thread::spawn(move || {
                    serving.open.fetch_add(1, Ordering::SeqCst);
                    let _ = one(&serving, stream, &*answer);
                    serving.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { shared, port, engine: engine.clone() }
    }

    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Bytes of bodies that were sent so far.
    pub(crate) fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::SeqCst)
    }

    /// Requests so far.
    pub(crate) fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// Connections that are being served.
    pub(crate) fn open(&self) -> u64 {
        self.shared.open.load(Ordering::SeqCst)
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        let host = self.host();
        // Wakes the listener up, if the network is still there.
        if self.engine.netns.as_ref().is_some_and(|netns| netns.exists()) {
            self.engine.on_its_network(|| drop(TcpStream::connect(host)));
        }
    }
}

fn one(
    shared: &Shared,
    stream: TcpStream,
    answer: &dyn Fn(&Asked) -> Reply,
) -> std::io::Result<()> {
    let mut start = [0];
    if stream.peek(&mut start)? == 0 || start[0] == 0x16 {
        // Whether we speak TLS is what the other side wants to know.
        return Ok(());
    }
    let mut lines = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    lines.read_line(&mut first)?;
    let mut asked = Asked {
        method: first.split(' ').next().unwrap_or_default().to_owned(),
        path: first.split(' ').nth(1).unwrap_or_default().to_owned(),
        host: String::new(),
        authorized: false,
    };
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        let line = line.trim().to_ascii_lowercase();
        asked.authorized |= line.starts_with("authorization:");
        if let Some(host) = line.strip_prefix("host:") {
            asked.host = host.trim().to_owned();
        }
    }
    if !asked.path.is_empty() {
        shared.requests.fetch_add(1, Ordering::SeqCst);
    }
    let reply = answer(&asked);
    send(shared, &stream, &asked, reply)?;
    stream.shutdown(std::net::Shutdown::Write)?;
    // The other side closes when it has read everything.
    drop(lines.read_to_end(&mut Vec::new()));
    Ok(())
}

fn send(shared: &Shared, stream: &TcpStream, asked: &Asked, reply: Reply) -> std::io::Result<()> {
    let mut stream = stream;
    if matches!(reply.body, Body::Nothing) {
        return silence(shared, stream);
    }
    let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    match &reply.body {
        Body::Whole(bytes) => head.push_str(&format!("Content-Length: {}\r\n", bytes.len())),
        Body::Cut(_, length) | Body::Silence(_, length) => {
            head.push_str(&format!("Content-Length: {length}\r\n"));
        }
        Body::Chunked(_) | Body::Endless(_) => head.push_str("Transfer-Encoding: chunked\r\n"),
        Body::Nothing | Body::Drip => {}
    }
    if matches!(reply.body, Body::Drip) {
        stream.write_all(head.as_bytes())?;
        while !shared.over.load(Ordering::SeqCst) {
            stream.write_all(b"X-Drip: a\r\n")?;
            std::thread::sleep(Duration::from_millis(200));
        }
        return Ok(());
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    if asked.method == "HEAD" {
        return Ok(());
    }
    let count = |length: usize| shared.sent.fetch_add(length as u64, Ordering::SeqCst);
    match reply.body {
        Body::Whole(bytes) | Body::Cut(bytes, _) => {
            stream.write_all(&bytes)?;
            count(bytes.len());
        }
        Body::Silence(bytes, _) => {
            stream.write_all(&bytes)?;
            return silence(shared, stream);
        }
        Body::Chunked(bytes) => {
            for piece in bytes.chunks(30_000) {
                chunk(stream, piece)?;
                count(piece.len());
            }
            stream.write_all(b"0\r\n\r\n")?;
        }
        Body::Endless(bytes) => {
            let mut sent = 0;
            while sent < ENDLESS && !shared.over.load(Ordering::SeqCst) {
                chunk(stream, &bytes)?;
                count(bytes.len());
                sent += bytes.len() as u64;
            }
        }
        Body::Nothing | Body::Drip => {}
    }
    Ok(())
}

fn chunk(mut stream: &TcpStream, piece: &[u8]) -> std::io::Result<()> {
    stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes())?;
    stream.write_all(piece)?;
    stream.write_all(b"\r\n")
}

/// Says nothing until the other side goes.
fn silence(shared: &Shared, mut stream: &TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_millis(100)))?;
    while !shared.over.load(Ordering::SeqCst) {
        match stream.read(&mut [0; 64]) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Everything that an honest registry would have, to be changed by a test.
#[derive(Default)]
pub(crate) struct Shelf {
    manifests: HashMap<String, (String, Vec<u8>)>,
    blobs: HashMap<String, Vec<u8>>,
}

/// A tar compressed by the usual programs.
pub(crate) fn gzip(tar: &[u8]) -> Vec<u8> {
    filter("gzip", &["-n", "-6"], tar)
}

/// A program as a filter.
pub(crate) fn filter(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = std::process::Command::new(program)
        .args(arguments)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).unwrap());
        child.wait_with_output().unwrap().stdout
    })
}

pub(crate) fn describe(kind: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": kind, "size": bytes.len(), "digest": digest(bytes) })
}

/// A configuration over these tars.
pub(crate) fn config(tars: &[Vec<u8>]) -> Value {
    let diff_ids: Vec<String> = tars.iter().map(|tar| digest(tar)).collect();
    json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux", "config": testkit::image::busybox_config(),
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    })
}

impl Shelf {
    /// Puts a document where a repository has its manifests.
    pub(crate) fn manifest(
        &mut self,
        name: &str,
        tag: &str,
        kind: &str,
        bytes: impl Into<Vec<u8>>,
    ) {
        self.manifests.insert(format!("{name}/manifests/{tag}"), (kind.to_owned(), bytes.into()));
    }

    /// Puts a blob where every repository finds it.
    pub(crate) fn blob(&mut self, bytes: impl Into<Vec<u8>>) -> String {
        let bytes = bytes.into();
        let digest = digest(&bytes);
        self.blobs.insert(digest.clone(), bytes);
        digest
    }

    /// Has other bytes under the name of a blob.
    pub(crate) fn lie(&mut self, digest: &str, bytes: impl Into<Vec<u8>>) {
        self.blobs.insert(digest.to_owned(), bytes.into());
    }

    /// An honest image of gzipped tars, tagged `1`; gives its manifest to change.
    pub(crate) fn image(&mut self, name: &str, tars: &[Vec<u8>]) -> Value {
        self.configured(name, &config(tars), tars)
    }

    /// The same with a configuration of one's own.
    pub(crate) fn configured(&mut self, name: &str, config: &Value, tars: &[Vec<u8>]) -> Value {
        let blobs: Vec<Vec<u8>> = tars.iter().map(|tar| gzip(tar)).collect();
        self.packed(name, config.to_string().as_bytes(), &blobs)
    }

    /// The same with blobs and configuration as they are.
    pub(crate) fn packed(&mut self, name: &str, config: &[u8], blobs: &[Vec<u8>]) -> Value {
        self.blob(config);
        let layers: Vec<Value> = blobs.iter().map(|blob| describe(LAYER, blob)).collect();
        for blob in blobs {
            self.blob(blob.clone());
        }
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": describe(CONFIG, config),
            "layers": layers,
        });
        self.manifest(name, "1", MANIFEST, manifest.to_string());
        manifest
    }

    /// What an honest registry answers.
    pub(crate) fn answer(&self, asked: &Asked) -> Reply {
        let path = asked.path.strip_prefix("/v2/").unwrap_or_default();
        if path.is_empty() {
            return Reply::new(200, Body::Whole(b"{}".to_vec()));
        }
        if let Some((kind, bytes)) = self.manifests.get(path) {
            return Reply::new(200, Body::Whole(bytes.clone())).with("Content-Type", kind);
        }
        let blob = path.rsplit_once("/blobs/").and_then(|(_, digest)| self.blobs.get(digest));
        if let Some(bytes) = blob {
            return Reply::new(200, Body::Whole(bytes.clone()))
                .with("Content-Type", "application/octet-stream");
        }
        let error = json!({ "errors": [{ "code": "NAME_UNKNOWN", "message": "not here" }] });
        Reply::new(404, Body::Whole(error.to_string().into_bytes()))
            .with("Content-Type", "application/json")
    }
}
