//! A conversation with nobody behind it, for fuzzing the head of the line.

use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::watch;

use super::{Answer, serve};
use crate::socket::Socket;

/// So long a head may take here: nobody is slow.
const HEAD_TIME: Duration = Duration::from_millis(50);

/// Has nothing to say to anything.
#[derive(Clone)]
struct Nothing;

impl Answer for Nothing {
    async fn answer(&self, _request: Request<Body>) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        response
    }
}

/// Sends bytes to a connection as a client would that hangs up once it is answered, and hands out
/// what that was.
///
/// # Errors
/// When no socket or no runtime can be had.
pub fn converse(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut client, server) = UnixStream::pair()?;
        let (_open, ending) = watch::channel(false);
        let talk = async {
            // The server may have heard enough before everything is said.
            let _ = client.write_all(bytes).await;
            let mut answer = Vec::with_capacity(1024);
            if !bytes.is_empty() {
                // A client that hangs up before it is answered is not answered.
                let _ = client.read_buf(&mut answer).await;
            }
            let _ = client.shutdown().await;
            let _ = client.read_to_end(&mut answer).await;
            answer
        };
        let ((), answer) =
            tokio::join!(serve(Socket::Unix(server), Nothing, HEAD_TIME, ending), talk);
        Ok(answer)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_answered_and_nonsense_is_refused() {
        let answer = converse(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("a conversation");
        assert!(answer.starts_with(b"HTTP/1.1 204 "), "{answer:?}");
        let answer = converse(b"\0\xff nonsense\r\n\r\n").expect("a conversation");
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400 "), "{answer:?}");
        assert_eq!(converse(b"").expect("a conversation"), b"");
    }
}
