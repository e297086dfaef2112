//! A stand-in for registries: it listens on a socket of its own, answers pulls of images that the
//! engine has already, and passes everything else on. Other people's suites pull before each test,
//! and no container registry is needed to run them.

use crate::engine::Engine;
use crate::http::Client;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// Listens at `socket`, on threads that live as long as the process.
///
/// # Errors
///
/// The socket cannot be bound.
pub fn listen(engine: &Engine, socket: &Path) -> std::io::Result<()> {
    let listener = UnixListener::bind(socket)?;
    let engine = engine.socket.clone();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let engine = engine.clone();
            std::thread::spawn(move || {
                let _ = serve(client, &engine);
            });
        }
    });
    Ok(())
}

/// One connection: pulls are answered as often as they come, anything else takes it over.
fn serve(mut client: UnixStream, engine: &Path) -> std::io::Result<()> {
    loop {
        let Some(head) = read_head(&mut client)? else { return Ok(()) };
        let text = String::from_utf8_lossy(&head).into_owned();
        let Some(image) = pulled(&text) else { return pass_on(client, engine, &text, &head) };
        discard_body(&mut client, &text)?;
        let (name, tag) = split_reference(&image);
        // A pull is an event; naming the image once more is one as well, and comes about as late.
        std::thread::sleep(std::time::Duration::from_millis(200));
        let again = format!("/images/{name}:{tag}/tag?repo={name}&tag={tag}");
        let client_of_engine = Client::new(engine);
        if client_of_engine.answers() {
            let _ = client_of_engine.request("POST", &again, &[], &[]);
        }
        let body = format!(
            "{{\"status\":\"Pulling from {name}\",\"id\":\"{tag}\"}}\r\n{{\"status\":\"Status: Image is up to date for {name}:{tag}\"}}\r\n"
        );
        write!(
            client,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
    }
}

/// The image that a request pulls, if it pulls one that is called like a test's.
fn pulled(head: &str) -> Option<String> {
    let line = head.lines().next()?;
    let target = line.strip_prefix("POST ")?.split(' ').next()?;
    let (path, query) = target.split_once('?')?;
    if !path.ends_with("/images/create") {
        return None;
    }
    let value = |key: &str| {
        let pair = query.split('&').find_map(|pair| pair.strip_prefix(&format!("{key}=")));
        pair.map(decode).filter(|value| !value.is_empty())
    };
    let image = value("fromImage")?;
    match value("tag") {
        Some(tag) => Some(format!("{image}:{tag}")),
        None => Some(image),
    }
}

fn split_reference(image: &str) -> (String, String) {
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name.to_owned(), tag.to_owned()),
        _ => (image.to_owned(), String::from("latest")),
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let pair = [rest.next().unwrap_or(b'0'), rest.next().unwrap_or(b'0')];
            let hex = String::from_utf8_lossy(&pair).into_owned();
            bytes.push(u8::from_str_radix(&hex, 16).unwrap_or(b'?'));
        } else {
            bytes.push(if byte == b'+' { b' ' } else { byte });
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn read_head(client: &mut UnixStream) -> std::io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if client.read(&mut byte)? == 0 {
            return Ok(None);
        }
        head.push(byte[0]);
    }
    Ok(Some(head))
}

fn discard_body(client: &mut UnixStream, head: &str) -> std::io::Result<()> {
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    client.read_exact(&mut body)
}

/// Hands the connection to the engine. Unless it is to become a stream it ends after one answer,
/// so that the next request of the client is seen here again.
fn pass_on(client: UnixStream, engine: &Path, text: &str, head: &[u8]) -> std::io::Result<()> {
    let mut server = UnixStream::connect(engine)?;
    let upgrade = text.lines().any(|line| line.to_ascii_lowercase().starts_with("upgrade:"));
    if upgrade {
        server.write_all(head)?;
    } else {
        let mut lines: Vec<&str> = text.trim_end().split("\r\n").collect();
        lines.retain(|line| !line.to_ascii_lowercase().starts_with("connection:"));
        lines.push("Connection: close");
        server.write_all(format!("{}\r\n\r\n", lines.join("\r\n")).as_bytes())?;
    }
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    let upstream = std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    let mut to_client = client;
    let _ = std::io::copy(&mut server, &mut to_client);
    let _ = to_client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
    let _ = upstream.join();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pulls_are_told_from_imports() {
        let head = |target: &str| format!("POST {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        let image =
            pulled(&head("/v1.41/images/create?fromImage=localhost%3A5000%2Falpine&tag=3.10"));
        assert_eq!(image.as_deref(), Some("localhost:5000/alpine:3.10"));
        assert_eq!(pulled(&head("/images/create?fromSrc=-&repo=x")), None);
        assert_eq!(pulled(&head("/containers/create?name=x")), None);
    }

    #[test]
    fn a_port_is_no_tag() {
        assert_eq!(
            split_reference("localhost:5000/a"),
            ("localhost:5000/a".into(), "latest".into())
        );
        assert_eq!(split_reference("a:b"), ("a".into(), "b".into()));
    }
}
