//! HTTP/1.1 over a unix socket, as raw as the tests need it: bytes may be malformed, bodies may be
//! slow, and a connection can be taken over and half closed.

mod wire;

pub(crate) use wire::read_head;
use wire::{Body, answer, body_of, find, head};

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a read waits before the test is told that the engine hangs.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// Where an engine listens.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// What was asked, for messages.
    pub asked: String,
    /// The status code.
    pub status: u16,
    /// Headers in their order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, with any chunked coding removed.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header called `name` (lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// Insists on a status.
    #[must_use]
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{} answered: {}", self.asked, self.text());
        self
    }

    /// Insists on success.
    #[must_use]
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(
            (200..300).contains(&self.status) || self.status == 304,
            "{} answered {}: {}",
            self.asked,
            self.status,
            self.text()
        );
        self
    }

    /// The body as JSON.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("{} answered no JSON ({error}): {}", self.asked, self.text()),
        }
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The `message` of an error answer, or nothing.
    #[must_use]
    pub fn message(&self) -> String {
        let value: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        value["message"].as_str().unwrap_or_default().to_owned()
    }
}

/// An answer whose head has been read and whose body has not.
pub struct Open {
    /// The status code.
    pub status: u16,
    /// Headers in their order, names in lower case.
    pub headers: Vec<(String, String)>,
    body: BufReader<Body>,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Open")
            .field("status", &self.status)
            .field("headers", &self.headers)
            .finish()
    }
}

impl Open {
    /// The first header called `name` (lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// The next line of the body, or `None` at its end.
    pub fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.body.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(line.trim_end().to_owned()),
            Err(error) => panic!("reading a streamed body: {error}"),
        }
    }

    /// The next JSON document of the body (one a line).
    pub fn json_line(&mut self) -> Option<Value> {
        let line = self.line()?;
        Some(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line}")))
    }
}

impl Read for Open {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.body.read(buffer)
    }
}

/// A connection that left HTTP behind (attach, exec).
pub struct Hijacked {
    /// 101 with `Upgrade`, 200 without.
    pub status: u16,
    /// Headers in their order, names in lower case.
    pub headers: Vec<(String, String)>,
    stream: BufReader<UnixStream>,
}

impl Hijacked {
    /// The first header called `name` (lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// Says that nothing more will be written; reading goes on.
    pub fn close_write(&self) {
        self.stream.get_ref().shutdown(Shutdown::Write).expect("shutdown(SHUT_WR)");
    }

    /// Everything until the other side closes.
    #[must_use]
    pub fn read_all(mut self) -> Vec<u8> {
        let mut all = Vec::new();
        self.stream.read_to_end(&mut all).expect("reading a hijacked stream to its end");
        all
    }

    /// Reads until `mark` has been seen; returns everything read.
    pub fn read_until(&mut self, mark: &str) -> String {
        let mut all = Vec::new();
        let mut buffer = [0; 4096];
        while !String::from_utf8_lossy(&all).contains(mark) {
            match self.stream.read(&mut buffer) {
                Ok(0) => panic!("end before {mark:?}: {:?}", String::from_utf8_lossy(&all)),
                Ok(count) => all.extend_from_slice(&buffer[..count]),
                Err(error) => {
                    panic!("{error} before {mark:?}: {:?}", String::from_utf8_lossy(&all))
                }
            }
        }
        String::from_utf8_lossy(&all).into_owned()
    }
}

impl std::fmt::Debug for Hijacked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hijacked").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Read for Hijacked {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl Write for Hijacked {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.stream.get_mut().write(buffer)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Client {
    /// A client for the engine behind `socket`.
    #[must_use]
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// The socket's path.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// A bare connection.
    #[must_use]
    pub fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket)
            .unwrap_or_else(|error| panic!("connect {}: {error}", self.socket.display()));
        stream.set_read_timeout(Some(PATIENCE)).expect("SO_RCVTIMEO");
        stream.set_write_timeout(Some(PATIENCE)).expect("SO_SNDTIMEO");
        stream
    }

    /// Whether anybody answers `/_ping`.
    #[must_use]
    pub fn answers(&self) -> bool {
        let Ok(mut stream) = UnixStream::connect(&self.socket) else { return false };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
        if stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: docker\r\n\r\n").is_err() {
            return false;
        }
        let mut start = [0; 12];
        stream.read_exact(&mut start).is_ok() && start.ends_with(b"200")
    }

    /// One request with a body of known length; the connection closes after it.
    #[track_caller]
    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        self.open(method, path, headers, body).whole(format!("{method} {path}"))
    }

    /// The same for engines that may die at any moment.
    ///
    /// # Errors
    ///
    /// Nobody listens, or the connection ended before the answer did.
    pub fn attempt(&self, method: &str, path: &str, body: &[u8]) -> std::io::Result<Response> {
        let headers = [("Content-Type", "application/json")];
        self.attempt_with(method, path, if body.is_empty() { &[] } else { &headers }, body)
    }

    /// The same with headers of one's own.
    ///
    /// # Errors
    ///
    /// As above.
    pub fn attempt_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<Response> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut message = head(method, path, headers);
        message.push_str(&format!("Content-Length: {}\r\nConnection: close\r\n\r\n", body.len()));
        stream.write_all(message.as_bytes())?;
        stream.write_all(body)?;
        let mut open = answer(stream, method == "HEAD")?;
        let mut body = Vec::new();
        open.body.read_to_end(&mut body)?;
        let asked = format!("{method} {path}");
        Ok(Response { asked, status: open.status, headers: open.headers, body })
    }

    /// One request whose answer is read piece by piece.
    #[track_caller]
    pub fn open(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Open {
        let mut stream = self.connect();
        let mut message = head(method, path, headers);
        if !body.is_empty() || method != "GET" {
            message.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        message.push_str("Connection: close\r\n\r\n");
        stream.write_all(message.as_bytes()).expect("sending a request's head");
        // An engine may answer before it has read a body that it refuses.
        let _ = stream.write_all(body);
        answer(stream, method == "HEAD").unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// Sends `bytes` as they are; returns the answer, or `None` when the engine just closed.
    #[must_use]
    pub fn raw(&self, bytes: &[u8]) -> Option<Response> {
        let mut stream = self.connect();
        let _ = stream.write_all(bytes);
        let shown: String = String::from_utf8_lossy(bytes).chars().take(200).collect();
        answer(stream, false).ok().map(|open| open.whole(shown))
    }

    /// A request that turns the connection into a stream. With `upgrade` it says so in headers, as
    /// newer clients do; older ones just start talking.
    #[track_caller]
    pub fn hijack(&self, path: &str, upgrade: bool, body: &[u8]) -> Result<Hijacked, Response> {
        let mut stream = self.connect();
        let mut message = head("POST", path, &[]);
        if !body.is_empty() {
            message.push_str("Content-Type: application/json\r\n");
        }
        message.push_str(&format!("Content-Length: {}\r\n", body.len()));
        if upgrade {
            message.push_str("Connection: Upgrade\r\nUpgrade: tcp\r\n");
        }
        message.push_str("\r\n");
        stream.write_all(message.as_bytes()).expect("sending a request's head");
        stream.write_all(body).expect("sending a request's body");
        let mut reader = BufReader::new(stream);
        let (status, headers) =
            read_head(&mut reader).unwrap_or_else(|error| panic!("POST {path}: {error}"));
        if status == 101 || status == 200 {
            return Ok(Hijacked { status, headers, stream: reader });
        }
        let open = body_of(status, headers, reader, false);
        Err(open.whole(format!("POST {path}")))
    }
}

impl Open {
    fn whole(mut self, asked: String) -> Response {
        let mut body = Vec::new();
        if let Err(error) = self.body.read_to_end(&mut body) {
            panic!("{asked}: {} {error} after {} bytes", self.status, body.len());
        }
        Response { asked, status: self.status, headers: self.headers, body }
    }
}
