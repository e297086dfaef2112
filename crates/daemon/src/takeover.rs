//! Taking a connection away from HTTP: attach and exec begin as a request and go on as a raw
//! stream in both directions, with an `Upgrade` (101) or, for old clients, without (200).
//!
//! The handler sends a [`Takeover`] to the connection's task and never returns; the task takes
//! socket and unread bytes back from hyper, drops the handler and runs the session.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::socket::Socket;

/// A client after HTTP.
#[derive(Debug)]
pub(crate) struct Client {
    /// Its connection.
    pub(crate) socket: Socket,
    /// What it had sent beyond its request already.
    pub(crate) early: Bytes,
}

type Session = Box<dyn FnOnce(Client) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// What is to become of the connection.
pub(crate) struct Takeover {
    /// The head of the answer, to be written before the session begins.
    pub(crate) head: Vec<u8>,
    /// What happens then.
    pub(crate) session: Session,
}

impl fmt::Debug for Takeover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Takeover").field("head", &self.head).finish_non_exhaustive()
    }
}

/// A request's way to its connection's task.
#[derive(Clone, Debug)]
pub(crate) struct Doorway {
    sender: mpsc::Sender<Takeover>,
}

impl Doorway {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Takeover>) {
        let (sender, receiver) = mpsc::channel(1);
        (Self { sender }, receiver)
    }

    /// Takes the connection; the future never completes, because it is dropped.
    pub(crate) async fn take<F>(
        self,
        head: Vec<u8>,
        session: impl FnOnce(Client) -> F + Send + 'static,
    ) -> Infallible
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let session: Session = Box::new(move |client| Box::pin(session(client)));
        // It fails only when the connection is going away, and this future with it.
        drop(self.sender.send(Takeover { head, session }).await);
        std::future::pending().await
    }
}

/// Writes the head of an answer that has no body by HTTP's rules.
pub(crate) fn head(status: StatusCode, reason: &str, headers: &HeaderMap) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
    for (name, value) in headers {
        // Go's canonical spelling, which some hand-written clients look for.
        head.extend(canonical(name).bytes());
        head.extend(b": ");
        head.extend(value.as_bytes());
        head.extend(b"\r\n");
    }
    head.extend(b"\r\n");
    head
}

/// The head of Docker's answer to attach and exec start: 101 for a client that asks for an
/// upgrade, 200 for one that does not.
pub(crate) fn stream_head(
    upgrade: bool,
    content_type: &'static str,
    always: &HeaderMap,
) -> Vec<u8> {
    let mut headers = always.clone();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if !upgrade {
        return head(StatusCode::OK, "OK", &headers);
    }
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("tcp"));
    head(StatusCode::SWITCHING_PROTOCOLS, "UPGRADED", &headers)
}

fn canonical(name: &HeaderName) -> String {
    let mut upper = true;
    name.as_str()
        .chars()
        .map(|c| {
            let c = if upper { c.to_ascii_uppercase() } else { c };
            upper = c == '-';
            c
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_says_what_clients_look_for() {
        let raw = "application/vnd.docker.raw-stream";
        let with = String::from_utf8(stream_head(true, raw, &HeaderMap::new())).expect("text");
        assert!(with.starts_with("HTTP/1.1 101 UPGRADED\r\n"), "{with}");
        for line in [
            "Content-Type: application/vnd.docker.raw-stream",
            "Connection: Upgrade",
            "Upgrade: tcp",
        ] {
            assert!(with.contains(&format!("\r\n{line}\r\n")), "{with}");
        }
        assert!(with.ends_with("\r\n\r\n"));
        let without = String::from_utf8(stream_head(false, raw, &HeaderMap::new())).expect("text");
        assert!(without.starts_with("HTTP/1.1 200 OK\r\n"));
        assert!(!without.contains("Upgrade") && !without.contains("Transfer-Encoding"));
    }
}
