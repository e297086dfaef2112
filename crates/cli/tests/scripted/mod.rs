//! A daemon that follows a script, and our program run against it.
#![allow(dead_code, reason = "not every suite needs all of it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    /// Its headers, their names in small letters.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

pub(crate) type Log = Arc<Mutex<Vec<String>>>;

/// A connection in the middle of a request.
pub(crate) struct Line {
    pub(crate) stream: UnixStream,
    pub(crate) reader: BufReader<UnixStream>,
}

impl Line {
    pub(crate) fn answer(&mut self, status: &str, body: &str) {
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
        self.stream.write_all(head.as_bytes()).expect("written");
    }

    /// Hands the connection over.
    pub(crate) fn hijack(&mut self) {
        self.stream
            .write_all(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
            .expect("written");
    }

    /// Sends a frame of a multiplexed stream.
    pub(crate) fn frame(&mut self, stream: u8, text: &[u8]) {
        let mut frame = vec![stream, 0, 0, 0];
        frame.extend(u32::try_from(text.len()).expect("short").to_be_bytes());
        frame.extend(text);
        self.stream.write_all(&frame).expect("written");
    }

    /// Reads what is typed, to its end.
    pub(crate) fn typed(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        self.reader.read_to_end(&mut all).expect("read");
        all
    }

    pub(crate) fn close(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

/// The daemon. Its log has a line a request, and `connect` for each connection.
pub(crate) struct Daemon {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) log: Log,
}

impl Daemon {
    pub(crate) fn new(script: impl Fn(&Request, &mut Line) + Send + Sync + 'static) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let listener = UnixListener::bind(directory.path().join("s")).expect("a socket");
        let (log, script) = (Log::default(), Arc::new(script));
        let written = Arc::clone(&log);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.expect("a client");
                written.lock().expect("unpoisoned").push("connect".into());
                let (log, script) = (Arc::clone(&written), Arc::clone(&script));
                std::thread::spawn(move || {
                    let reader = BufReader::new(stream.try_clone().expect("a handle"));
                    let mut line = Line { stream, reader };
                    while let Some(request) = read(&mut line.reader) {
                        log.lock()
                            .expect("unpoisoned")
                            .push(format!("{} {}", request.method, request.target));
                        script(&request, &mut line);
                    }
                });
            }
        });
        Self { directory, log }
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().expect("unpoisoned").clone()
    }

    /// Our program, which looks for this daemon and for no configuration but an empty one.
    pub(crate) fn program(&self, args: &[&str]) -> Command {
        let mut command = program(args);
        command
            .env("DOCKER_HOST", format!("unix://{}", self.directory.path().join("s").display()))
            .env("DOCKER_CONFIG", self.directory.path().join("config"));
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.program(args).stdin(Stdio::null()).output().expect("ran")
    }
}

fn read(reader: &mut BufReader<UnixStream>) -> Option<Request> {
    let mut first = String::new();
    if reader.read_line(&mut first).ok()? == 0 {
        return None;
    }
    let mut length = 0;
    let mut head = String::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        if header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a number");
        }
        // Values keep their letters: credentials are in them.
        let (name, value) = header.split_once(':').expect("a header");
        head.push_str(&format!("{}:{value}", name.to_lowercase()));
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    while head.contains("transfer-encoding: chunked") {
        let mut size = String::new();
        reader.read_line(&mut size).ok()?;
        let size = usize::from_str_radix(size.trim(), 16).expect("a size");
        let mut piece = vec![0; size + 2];
        reader.read_exact(&mut piece).ok()?;
        body.extend(&piece[..size]);
        if size == 0 {
            break;
        }
    }
    let mut words = first.split(' ');
    Some(Request { method: words.next()?.to_owned(), target: words.next()?.to_owned(), head, body })
}

/// Our program, found beside this test.
pub(crate) fn program(args: &[&str]) -> Command {
    let mut path: PathBuf = std::env::current_exe().expect("this test");
    path.pop();
    path.pop();
    path.push("examples/client");
    assert!(
        path.exists(),
        "{}: build it with cargo build -p isopod-cli --example client",
        path.display()
    );
    let mut command = Command::new(path);
    command.args(args).env_clear();
    command
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
