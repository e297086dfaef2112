//! Copying between a client and a container's streams.
//!
//! ```text
//!  client ── typed ──► (detach keys) ──► engine's stream   end of input: half-close
//!  client ◄────────────── output ─────── engine's stream   end of output: all is over
//! ```

use std::time::Duration;

use bytes::Buf;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;

use super::detach::Watch;
use super::frames::{Channel, Unframer, frame};
use crate::takeover::Client;

/// How much is copied at once.
const PIECE: usize = 32 << 10;
/// How long a client may take to close its side after the last output.
const LINGER: Duration = Duration::from_secs(2);

/// How copying ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// There is no more output, and the client has all of it.
    Output,
    /// The user has left with the detach keys.
    Detached,
    /// The client no longer takes output.
    ClientGone,
}

/// What is done with the container's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Nothing: the client expects it as it comes.
    AsItIs,
    /// It comes from a terminal, and the client expects frames.
    Framed,
    /// It comes in frames, and the client expects plain bytes.
    Unframed,
}

/// What is copied, and how.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// What the client sends reaches the process; otherwise it is read and dropped.
    pub(crate) stdin: bool,
    /// Keys with which the user leaves.
    pub(crate) keys: Option<Watch>,
    /// What is done with the output.
    pub(crate) output: Output,
}

/// Copies both ways until one of the ends. After the last output, `settled` is waited for before
/// the client is told that it was the last; a status that it gives is sent as well.
pub(crate) async fn relay(
    client: Client,
    engine: UnixStream,
    terms: Terms,
    settled: impl Future<Output = Option<i32>>,
) -> End {
    client.socket.heard().await;
    let (mut client_reader, mut client_writer) = tokio::io::split(client.socket);
    let (engine_reader, engine_writer) = engine.into_split();
    let end = {
        let early = client.early;
        let Terms { stdin, keys, output } = terms;
        let input = type_in((early, &mut client_reader), engine_writer, stdin, keys);
        tokio::select! {
            end = copy_out(engine_reader, &mut client_writer, output) => end,
            () = input => End::Detached,
        }
    };
    if end == End::Output
        && let Some(status) = settled.await
    {
        let status = frame(Channel::Status, &status.to_be_bytes());
        // A client that has gone needs none.
        drop(client_writer.write_all(&status).await);
    }
    if end != End::ClientGone {
        close(client_reader, client_writer).await;
    }
    end
}

/// Says that there is no more to come, and waits a moment for the client to agree: closing a
/// socket with unread input makes the kernel throw away what the client has not read yet.
pub(crate) async fn close(mut reader: impl AsyncRead + Unpin, mut writer: impl AsyncWrite + Unpin) {
    if writer.shutdown().await.is_err() {
        return;
    }
    let mut rest = vec![0; 4096];
    let drain = async { while matches!(reader.read(&mut rest).await, Ok(1..)) {} };
    // A client that does not close in time gets the hard way.
    drop(tokio::time::timeout(LINGER, drain).await);
}

async fn copy_out(
    mut from: impl AsyncRead + Unpin,
    to: &mut (impl AsyncWrite + Unpin),
    output: Output,
) -> End {
    let mut piece = vec![0; PIECE];
    let mut unframer = Unframer::default();
    let mut plain = Vec::new();
    loop {
        let length = match from.read(&mut piece).await {
            Ok(0) | Err(_) => return End::Output,
            Ok(length) => length,
        };
        let piece = &piece[..length];
        let sent = match output {
            Output::AsItIs => to.write_all(piece).await,
            Output::Framed => to.write_all(&frame(Channel::Stdout, piece)).await,
            Output::Unframed => {
                plain.clear();
                unframer.feed(piece, &mut plain);
                to.write_all(&plain).await
            }
        };
        if sent.is_err() || to.flush().await.is_err() {
            return End::ClientGone;
        }
    }
}

/// Copies what the client types. Completes only when the user has left; the end of input is
/// passed on as a half-close, after which this waits for ever.
async fn type_in(
    (mut early, reader): (bytes::Bytes, &mut (impl AsyncRead + Unpin)),
    writer: impl AsyncWrite + Unpin,
    stdin: bool,
    mut keys: Option<Watch>,
) {
    // Dropping an unused writer would half-close the stream, which means something.
    let (mut writer, _unused) = if stdin { (Some(writer), None) } else { (None, Some(writer)) };
    let mut piece = vec![0; if stdin { PIECE } else { 512 }];
    let mut passed = Vec::new();
    loop {
        let length = if early.has_remaining() {
            let length = early.remaining().min(piece.len());
            early.copy_to_slice(&mut piece[..length]);
            length
        } else {
            reader.read(&mut piece).await.unwrap_or(0)
        };
        passed.clear();
        let left = match &mut keys {
            Some(watch) if length == 0 => {
                watch.finish(&mut passed);
                false
            }
            Some(watch) => watch.feed(&piece[..length], &mut passed),
            None => {
                passed.extend(&piece[..length]);
                false
            }
        };
        if let Some(stream) = &mut writer
            && stream.write_all(&passed).await.is_err()
        {
            // The process has closed its input: go on reading so that the client does not hang.
            writer = None;
        }
        if left {
            return;
        }
        if length == 0 {
            if let Some(stream) = &mut writer {
                // It fails only when the other side is gone, which the output tells as well.
                drop(stream.shutdown().await);
            }
            return std::future::pending().await;
        }
    }
}

#[cfg(test)]
mod tests;
