//! A server whose every byte is the test's.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use distribution::{Client, Credentials, Repository, Settings};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use types::digest::Digest;
use types::reference::Reference;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// How many requests with this method and path came before.
    pub(crate) before: usize,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// How a body goes.
#[derive(Clone, Debug, Default)]
pub(crate) enum How {
    /// With its length.
    #[default]
    Whole,
    /// In chunks, ended properly.
    Chunked,
    /// With its length, but the connection ends after so many bytes.
    Cut(usize),
    /// In chunks that never end.
    Endless,
    /// The head, then nothing more.
    Stalled,
    /// Not even the head.
    Silent,
    /// The connection ends at once.
    Dropped,
}

/// An answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) how: How,
}

pub(crate) fn reply(status: u16) -> Reply {
    Reply { status, ..Reply::default() }
}

impl Reply {
    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn how(mut self, how: How) -> Self {
        self.how = how;
        self
    }
}

type Handler = dyn Fn(&Asked) -> Reply + Send + Sync;

/// A server on loopback; it ends with the runtime of its test.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) asked: Arc<Mutex<Vec<Asked>>>,
    /// Connections so far.
    pub(crate) connections: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) async fn start(handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let server = Self { address, asked: Arc::clone(&asked), connections };
        let handler: Arc<Handler> = Arc::new(handler);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).expect("a socket");
                counted.fetch_add(1, Ordering::SeqCst);
                let (asked, handler) = (Arc::clone(&asked), Arc::clone(&handler));
                tokio::spawn(async move { serve(stream, &asked, &*handler).await });
            }
        });
        server
    }

    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Everything that was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("not poisoned").clone()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.asked().iter().map(Asked::line).collect()
    }

    pub(crate) fn repository(&self, credentials: Option<Credentials>) -> Repository {
        self.repository_with(settings(), credentials)
    }

    pub(crate) fn repository_with(
        &self,
        settings: Settings,
        credentials: Option<Credentials>,
    ) -> Repository {
        let name = Reference::parse(&format!("{}/a/b", self.host())).expect("valid");
        Client::new(settings).expect("a client").repository(&name, credentials)
    }
}

/// Serves requests on one connection, as long as both sides want.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    asked: &Mutex<Vec<Asked>>,
    handler: &Handler,
) {
    let mut buffer = Vec::new();
    while let Some(mut request) = read_request(&mut stream, &mut buffer).await {
        let reply = {
            let mut asked = asked.lock().expect("not poisoned");
            request.before = asked.iter().filter(|one| one.line() == request.line()).count();
            asked.push(request.clone());
            drop(asked);
            handler(&request)
        };
        if !write_reply(&mut stream, &request.method, reply).await {
            return;
        }
    }
}

async fn read_request<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    buffer: &mut Vec<u8>,
) -> Option<Asked> {
    let end = loop {
        if buffer.first() == Some(&0x16) {
            // TLS: what a plain server says to it.
            let _ = stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n").await;
            return None;
        }
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(buffer.drain(..end + 4).collect()).expect("text");
    let mut lines = head.lines();
    let mut words = lines.next()?.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut request = Asked { method, path, headers, body: Vec::new(), before: 0 };
    if request.header("transfer-encoding").is_some() {
        while let Some(chunk) = read_chunk(stream, buffer).await? {
            request.body.extend(chunk);
        }
    } else {
        let length: usize = request.header("content-length").unwrap_or("0").parse().ok()?;
        request.body = take(stream, buffer, length).await?;
    }
    Some(request)
}

async fn take<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut Vec<u8>,
    length: usize,
) -> Option<Vec<u8>> {
    while buffer.len() < length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    Some(buffer.drain(..length).collect())
}

async fn read_chunk<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut Vec<u8>,
) -> Option<Option<Vec<u8>>> {
    let end = loop {
        if let Some(end) = buffer.windows(2).position(|two| two == b"\r\n") {
            break end;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let line = String::from_utf8(buffer.drain(..end + 2).collect()).expect("text");
    let length = usize::from_str_radix(line.trim(), 16).ok()?;
    let chunk = take(stream, buffer, length).await?;
    take(stream, buffer, 2).await?;
    Some((length > 0).then_some(chunk))
}

/// Whether the connection goes on.
async fn write_reply<S: AsyncWrite + Unpin>(stream: &mut S, method: &str, reply: Reply) -> bool {
    if matches!(reply.how, How::Dropped) {
        return false;
    }
    if matches!(reply.how, How::Silent) {
        std::future::pending::<()>().await;
    }
    let mut head = format!("HTTP/1.1 {} Word\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let said = reply.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let chunked = matches!(reply.how, How::Chunked | How::Endless);
    if chunked {
        head.push_str("Transfer-Encoding: chunked\r\n");
    } else if !said && reply.status != 204 {
        head.push_str(&format!("Content-Length: {}\r\n", reply.body.len()));
    }
    head.push_str("\r\n");
    if stream.write_all(head.as_bytes()).await.is_err() {
        return false;
    }
    if method == "HEAD" {
        return true;
    }
    let written = match reply.how {
        How::Cut(length) => {
            let _ = stream.write_all(&reply.body[..length]).await;
            let _ = stream.shutdown().await;
            return false;
        }
        How::Stalled => {
            let _ = stream.flush().await;
            std::future::pending::<()>().await;
            return false;
        }
        How::Chunked => {
            for chunk in reply.body.chunks(1000) {
                let text = format!("{:x}\r\n", chunk.len());
                let _ = stream.write_all(text.as_bytes()).await;
                let _ = stream.write_all(chunk).await;
                let _ = stream.write_all(b"\r\n").await;
            }
            stream.write_all(b"0\r\n\r\n").await
        }
        How::Endless => loop {
            let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
            if stream.write_all(&chunk).await.is_err() {
                return false;
            }
        },
        _ => stream.write_all(&reply.body).await,
    };
    written.is_ok() && stream.flush().await.is_ok()
}

/// Settings for tests: no long waits.
pub(crate) fn settings() -> Settings {
    Settings {
        certs_dirs: Vec::new(),
        attempts: 4,
        connect_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(10),
        first_delay: Duration::from_millis(1),
        ..Settings::default()
    }
}

/// Settings that lose patience quickly.
pub(crate) fn hasty() -> Settings {
    Settings { attempts: 2, idle_timeout: Duration::from_millis(700), ..settings() }
}

pub(crate) fn digest(bytes: &[u8]) -> Digest {
    Digest::from_sha256(Sha256::digest(bytes).into())
}

/// Bytes that do not repeat soon.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect()
}
