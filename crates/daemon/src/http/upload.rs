//! Uploads: a request's body as a blocking reader, with a bounded channel in between.

use std::io::{self, Read};

use axum::body::Body;
use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use tokio::sync::mpsc;

/// How many pieces may wait for the reader.
const WAITING: usize = 8;

/// How many bytes of an upload that nobody wants any more are read all the same, at most.
const UNWANTED: usize = 256 << 20;
/// For how long.
const LINGER: std::time::Duration = std::time::Duration::from_secs(5);

enum Piece {
    Data(Bytes),
    End,
}

/// The reading end, for a thread that may block.
#[derive(Debug)]
pub(crate) struct Reader {
    receiver: mpsc::Receiver<Piece>,
    rest: Bytes,
    ended: bool,
}

impl std::fmt::Debug for Piece {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Data(data) => write!(f, "Data({})", data.len()),
            Self::End => f.write_str("End"),
        }
    }
}

impl Read for Reader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            if self.ended || buf.is_empty() {
                return Ok(0);
            }
            match self.receiver.blocking_recv() {
                Some(Piece::Data(data)) => self.rest = data,
                Some(Piece::End) => self.ended = true,
                None => {
                    let error = "the client went away in the middle of its upload";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, error));
                }
            }
        }
        let length = self.rest.len().min(buf.len());
        self.rest.copy_to_slice(&mut buf[..length]);
        Ok(length)
    }
}

/// Feeds the body to a reader for as long as `work`, which gets the reader, goes on.
pub(crate) async fn feed<F: Future>(mut body: Body, work: impl FnOnce(Reader) -> F) -> F::Output {
    let (sender, receiver) = mpsc::channel(WAITING);
    let work = work(Reader { receiver, rest: Bytes::new(), ended: false });
    let output = {
        let pump = async {
            pump(&mut body, sender).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            output = work => output,
            () = pump => unreachable!("the pump is pending for ever"),
        }
    };
    tokio::spawn(let_go(body));
    output
}

/// Goes on reading what nobody wants while the answer is under way: a client that still writes
/// when the connection closes reports the broken pipe (Go's does) and not the answer.
async fn let_go(mut body: Body) {
    let drain = async {
        let mut left = UNWANTED;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    drop(tokio::time::timeout(LINGER, drain).await);
}

/// Feeds the body to a reader on a task of its own, for work that outlives its handler.
pub(crate) fn detached(body: Body) -> Reader {
    let (sender, receiver) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let mut body = body;
        pump(&mut body, sender).await;
        let_go(body).await;
    });
    Reader { receiver, rest: Bytes::new(), ended: false }
}

/// Sends the body's pieces, and an end if the client has said that it is one. Without that the
/// reader knows that the upload was cut off.
async fn pump(body: &mut Body, sender: mpsc::Sender<Piece>) {
    loop {
        let piece = match body.frame().await {
            None => Piece::End,
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if !data.is_empty() => Piece::Data(data),
                _ => continue,
            },
            Some(Err(error)) => {
                tracing::debug!(%error, "an upload was cut off");
                return;
            }
        };
        let last = matches!(piece, Piece::End);
        if sender.send(piece).await.is_err() || last {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;

    async fn read_all(body: Body) -> io::Result<Vec<u8>> {
        feed(body, |mut reader| async move {
            tokio::task::spawn_blocking(move || {
                let mut bytes = Vec::new();
                reader.read_to_end(&mut bytes).map(|_| bytes)
            })
            .await
            .expect("no panic")
        })
        .await
    }

    #[tokio::test]
    async fn an_upload_is_read_whole() {
        let pieces = (0..100u8).map(|i| Ok::<_, io::Error>(Bytes::from(vec![i; 1000])));
        let bytes = read_all(Body::from_stream(stream::iter(pieces))).await.expect("whole");
        assert_eq!(bytes.len(), 100_000);
        assert_eq!(bytes[99_999], 99);
        assert_eq!(read_all(Body::empty()).await.expect("empty"), b"");
    }

    #[tokio::test]
    async fn an_upload_that_is_cut_off_is_an_error() {
        let cut = io::Error::new(io::ErrorKind::ConnectionReset, "gone");
        let pieces = vec![Ok(Bytes::from_static(b"half")), Err(cut)];
        let error = read_all(Body::from_stream(stream::iter(pieces))).await.expect_err("cut off");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn work_that_ends_early_does_not_hang() {
        let endless = stream::repeat_with(|| Ok::<_, io::Error>(Bytes::from_static(b"x")));
        let body = Body::from_stream(endless);
        assert_eq!(feed(body, |_reader| async { 7 }).await, 7);
    }
}
