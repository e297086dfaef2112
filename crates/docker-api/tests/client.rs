//! The client against a daemon that says exactly what a test wants it to.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use docker_api::client::{Client, Config, Demux, Endpoint, Error, Method, Stream, Target, empty};
use docker_api::container::WaitResponse;
use serde_json::Value;

/// A request as it came.
struct Request {
    line: String,
    head: String,
    body: String,
}

fn read_request(reader: &mut BufReader<UnixStream>) -> Option<Request> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        if header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a number");
        }
        head.push_str(&header.to_lowercase());
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body = String::from_utf8(body).expect("text");
    Some(Request { line: line.trim().to_owned(), head, body })
}

/// A daemon whose answers are made by a function; counts connections.
struct Daemon {
    directory: tempfile::TempDir,
    connections: Arc<AtomicUsize>,
}

impl Daemon {
    fn new(
        answer: impl Fn(Request, &mut UnixStream, &mut BufReader<UnixStream>) + Send + Sync + 'static,
    ) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let listener = UnixListener::bind(directory.path().join("s")).expect("a socket");
        let connections = Arc::new(AtomicUsize::new(0));
        let (counted, answer) = (Arc::clone(&connections), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                counted.fetch_add(1, Ordering::SeqCst);
                let (mut stream, answer) = (stream.expect("a client"), Arc::clone(&answer));
                std::thread::spawn(move || {
                    let mut reader = BufReader::new(stream.try_clone().expect("a handle"));
                    while let Some(request) = read_request(&mut reader) {
                        answer(request, &mut stream, &mut reader);
                    }
                });
            }
        });
        Self { directory, connections }
    }

    fn client(&self) -> Client {
        let endpoint = Endpoint::Unix(self.directory.path().join("s"));
        let config = Config { endpoint, tls: None, version: None, headers: Vec::new() };
        Client::new(config).expect("a client")
    }
}

fn plain(stream: &mut UnixStream, status: &str, body: &str) {
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .expect("written");
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

#[test]
fn plain_requests_share_a_connection() {
    let daemon = Daemon::new(|request, stream, _| {
        let text = format!("{{\"line\":\"{}\",\"body\":{:?}}}", request.line, request.body);
        plain(stream, "200 OK", &text);
    });
    block_on(async {
        let client = daemon.client();
        for _ in 0..5 {
            let answer: Value =
                client.post(&Target::new("/x").with("a", "b c"), &[1]).await.expect("an answer");
            assert_eq!(answer["line"], "POST /x?a=b%20c HTTP/1.1");
            assert_eq!(answer["body"], "[1]");
        }
    });
    assert_eq!(daemon.connections.load(Ordering::SeqCst), 1);
}

#[test]
fn a_connection_that_the_daemon_closed_is_not_used_again() {
    let daemon = Daemon::new(|_, stream, _| {
        write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{{}}")
            .expect("written");
        stream.shutdown(std::net::Shutdown::Both).expect("closed");
    });
    block_on(async {
        let client = daemon.client();
        for _ in 0..3 {
            client.get::<Value>(&Target::new("/x")).await.expect("an answer");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    });
    assert_eq!(daemon.connections.load(Ordering::SeqCst), 3);
}

#[test]
fn refusals_carry_the_daemons_words() {
    let daemon = Daemon::new(|request, stream, _| {
        if request.line.contains("/json") {
            plain(stream, "404 Not Found", "{\"message\":\"No such container: x\"}");
        } else if request.line.contains("/text") {
            plain(stream, "500 Internal Server Error", "page not found\n");
        } else if request.line.contains("/start") {
            write!(stream, "HTTP/1.1 304 Not Modified\r\n\r\n").expect("written");
        } else {
            plain(stream, "409 Conflict", "");
        }
    });
    block_on(async {
        let client = daemon.client();
        let error = client.get::<Value>(&Target::new("/json")).await.expect_err("refused");
        assert!(error.is_not_found());
        assert_eq!(error.to_string(), "No such container: x");
        let error = client.delete(&Target::new("/text")).await.expect_err("refused");
        assert_eq!(error.to_string(), "page not found");
        client.post_empty(&Target::new("/start")).await.expect("304 is no failure");
        let error = client.post_empty(&Target::new("/x")).await.expect_err("refused");
        assert_eq!(error.to_string(), "Conflict");
        assert_eq!(error.status(), Some(409));
    });
}

#[test]
fn a_hijacked_connection_loses_nothing_and_half_closes() {
    let daemon = Daemon::new(|request, stream, reader| {
        assert!(request.head.contains("upgrade: tcp"), "{}", request.head);
        // The first bytes of the stream come together with the head.
        stream
            .write_all(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n\x01\0\0\0\0\0\0\x03one")
            .expect("written");
        let mut typed = String::new();
        reader.read_to_string(&mut typed).expect("until the half-close");
        let reply = format!("got {typed}");
        let length = u8::try_from(reply.len()).expect("short");
        stream.write_all(&[2, 0, 0, 0, 0, 0, 0, length]).expect("written");
        stream.write_all(reply.as_bytes()).expect("written");
        stream.shutdown(std::net::Shutdown::Both).expect("closed");
    });
    block_on(async {
        let client = daemon.client();
        let mut both = client.hijack(&Target::new("/attach"), None).await.expect("hijacked");
        both.writer.write(b"input").await.expect("written");
        both.writer.finish().await.expect("half-closed");
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut demux = Demux::default();
        let mut buffer = [0; 3];
        loop {
            let count = both.reader.read(&mut buffer).await.expect("read");
            if count == 0 {
                break;
            }
            demux.push(&buffer[..count]);
            while let Some(chunk) = demux.next_chunk().expect("frames") {
                if chunk.stream == Stream::Stdout { &mut out } else { &mut err }
                    .extend_from_slice(&chunk.data);
            }
        }
        assert_eq!((out.as_slice(), err.as_slice()), (&b"one"[..], &b"got input"[..]));
    });
}

#[test]
fn a_hijack_that_is_refused_says_why() {
    let daemon = Daemon::new(|request, stream, _| {
        if request.line.contains("plain") {
            plain(stream, "200 OK", "{}");
        } else {
            plain(stream, "409 Conflict", "{\"message\":\"container is not running\"}");
        }
    });
    block_on(async {
        let client = daemon.client();
        let Err(error) = client.hijack(&Target::new("/attach"), None).await else {
            panic!("not refused");
        };
        assert_eq!(error.to_string(), "container is not running");
        let Err(error) = client.hijack(&Target::new("/plain"), None).await else {
            panic!("not refused");
        };
        assert!(matches!(error, Error::NotHijacked(200)));
    });
}

#[test]
fn waiting_is_open_before_it_answers() {
    let daemon = Daemon::new(|request, stream, _| {
        if request.line.contains("/wait") {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                .expect("written");
            std::thread::sleep(std::time::Duration::from_millis(50));
            stream.write_all(b"9\r\n{\"StatusC\r\n8\r\node\":7}\n\r\n0\r\n\r\n").expect("written");
        } else {
            plain(stream, "204 No Content", "");
        }
    });
    block_on(async {
        let client = daemon.client();
        let target = Target::new("/wait");
        let mut wait = client
            .json_stream::<WaitResponse>(Method::POST, &target, None, empty())
            .await
            .expect("open");
        client.post_empty(&Target::new("/start")).await.expect("started meanwhile");
        let answer = wait.next().await.expect("read").expect("an object");
        assert_eq!(answer.status_code, 7);
        assert_eq!(wait.next().await.expect("read"), None);
    });
    assert_eq!(daemon.connections.load(Ordering::SeqCst), 2);
}

#[test]
fn nobody_listening_is_an_error_of_its_own() {
    let endpoint = Endpoint::Unix("/nonexistent/isopod.sock".into());
    let config = Config { endpoint, tls: None, version: None, headers: Vec::new() };
    let client = Client::new(config).expect("a client");
    let error = block_on(client.ping()).expect_err("nobody");
    assert!(matches!(error, Error::Connect { .. }), "{error:?}");
}

#[test]
fn the_version_goes_in_front_and_headers_along() {
    let daemon = Daemon::new(|request, stream, _| {
        let kept = request.head.contains("x-meta: a");
        plain(stream, "200 OK", &format!("{{\"line\":\"{}\",\"kept\":{kept}}}", request.line));
    });
    let endpoint = Endpoint::Unix(daemon.directory.path().join("s"));
    let client = Client::new(Config {
        endpoint,
        tls: None,
        version: Some("1.45".into()),
        headers: vec![("X-Meta".into(), "a".into())],
    })
    .expect("a client");
    let answer: Value = block_on(client.get(&Target::new("/info"))).expect("an answer");
    assert_eq!(answer["line"], "GET /v1.45/info HTTP/1.1");
    assert_eq!(answer["kept"], true);
}
