//! Attaching over a websocket (RFC 6455), server side, without extensions.
//!
//! The container's output goes out as binary frames (text frames for API versions below 1.28,
//! as dockerd has it); what comes in is passed on frame by frame, of whatever kind, because the
//! process reads bytes and not messages.

pub mod frame;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use self::frame::{Decoder, Input, Opcode, Violation};
use super::detach::Watch;
use super::frames::Unframer;
use super::relay::{End, close};
use crate::takeover::{Client, head};

/// What RFC 6455 has servers append to the client's key.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Close status: all went well.
const NORMAL: u16 = 1000;

/// The request is no websocket handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// No `Upgrade: websocket` and `Connection: Upgrade`.
    #[error("this endpoint is a websocket: send Connection: Upgrade and Upgrade: websocket")]
    NoUpgrade,
    /// Another version than 13.
    #[error("only version 13 of the websocket protocol is supported")]
    Version,
    /// No key of 16 bytes in base64.
    #[error("the Sec-WebSocket-Key header is missing or is not 16 bytes in base64")]
    Key,
}

/// The answer to a handshake.
///
/// # Errors
/// When the request is none.
pub(crate) fn accept(request: &HeaderMap, always: &HeaderMap) -> Result<Vec<u8>, Refusal> {
    let has = |name, wanted: &str| {
        request
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|word| word.trim().eq_ignore_ascii_case(wanted)))
    };
    if !has(header::UPGRADE, "websocket") || !has(header::CONNECTION, "upgrade") {
        return Err(Refusal::NoUpgrade);
    }
    if !has(header::SEC_WEBSOCKET_VERSION, "13") {
        return Err(Refusal::Version);
    }
    let key = request.get(header::SEC_WEBSOCKET_KEY).ok_or(Refusal::Key)?;
    let key = key.to_str().map_err(|_| Refusal::Key)?.trim();
    if STANDARD.decode(key).map_or(0, |bytes| bytes.len()) != 16 {
        return Err(Refusal::Key);
    }
    let sum = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    let mut headers = always.clone();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    let accept = HeaderValue::try_from(STANDARD.encode(sum)).map_err(|_| Refusal::Key)?;
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    Ok(head(StatusCode::SWITCHING_PROTOCOLS, "Switching Protocols", &headers))
}

/// How a session is to be run.
#[derive(Debug)]
pub(crate) struct Session {
    /// What the client sends reaches the process.
    pub(crate) stdin: bool,
    /// The engine's stream is framed, because the container has no terminal.
    pub(crate) framed: bool,
    /// Send text frames.
    pub(crate) text: bool,
    /// Detach keys, for terminals.
    pub(crate) keys: Option<Watch>,
}

/// The kind of the frames that carry output.
pub(crate) fn opcode(text: bool) -> Opcode {
    if text { Opcode::Text } else { Opcode::Binary }
}

/// Ends an accepted websocket at once.
pub(crate) async fn goodbye(client: Client) {
    let (reader, mut writer) = tokio::io::split(client.socket);
    if writer.write_all(&frame::encode_close(NORMAL)).await.is_ok() {
        close(reader, writer).await;
    }
}

/// Frames that the input side wants to be sent.
enum Reply {
    Frame(Opcode, Vec<u8>),
    Close(u16),
}

/// Runs an accepted websocket to its end. After the last output, `settled` is waited for before the
/// client is told that it was the last.
pub(crate) async fn run(
    client: Client,
    engine: UnixStream,
    session: Session,
    settled: impl Future<Output = ()>,
) -> End {
    let (mut client_reader, mut client_writer) = tokio::io::split(client.socket);
    let (engine_reader, engine_writer) = engine.into_split();
    let (replies, mut wanted) = mpsc::channel(8);
    let opcode = opcode(session.text);
    let end = {
        // Dropping an unused writer would half-close the stream, which means something.
        let (writer, _unused) =
            if session.stdin { (Some(engine_writer), None) } else { (None, Some(engine_writer)) };
        let input =
            receive((client.early.to_vec(), &mut client_reader), writer, session.keys, replies);
        let manner = (session.framed, opcode);
        let output = send(engine_reader, &mut client_writer, manner, &mut wanted, settled);
        tokio::pin!(output);
        tokio::select! {
            end = &mut output => end,
            end = input => {
                if end != End::ClientGone {
                    // The close frame that the input side has asked for goes out first.
                    drop(tokio::time::timeout(std::time::Duration::from_secs(1), output).await);
                }
                end
            }
        }
    };
    if end != End::ClientGone {
        close(client_reader, client_writer).await;
    }
    end
}

/// Passes the container's output on, and what the input side wants to be said.
async fn send(
    mut from: impl AsyncRead + Unpin,
    to: &mut (impl AsyncWrite + Unpin),
    (framed, opcode): (bool, Opcode),
    wanted: &mut mpsc::Receiver<Reply>,
    settled: impl Future<Output = ()>,
) -> End {
    tokio::pin!(settled);
    let mut piece = vec![0; 16 << 10];
    let mut unframer = Unframer::default();
    let mut plain = Vec::new();
    loop {
        let (bytes, end) = tokio::select! {
            Some(reply) = wanted.recv() => match reply {
                Reply::Frame(opcode, payload) => (frame::encode(opcode, &payload), None),
                Reply::Close(status) => (frame::encode_close(status), Some(End::Output)),
            },
            read = from.read(&mut piece) => match read {
                Ok(0) | Err(_) => {
                    settled.as_mut().await;
                    (frame::encode_close(NORMAL), Some(End::Output))
                }
                Ok(length) => {
                    plain.clear();
                    if framed {
                        unframer.feed(&piece[..length], &mut plain);
                    } else {
                        plain.extend(&piece[..length]);
                    }
                    if plain.is_empty() {
                        continue;
                    }
                    (frame::encode(opcode, &plain), None)
                }
            },
        };
        if to.write_all(&bytes).await.is_err() || to.flush().await.is_err() {
            return End::ClientGone;
        }
        if let Some(end) = end {
            return end;
        }
    }
}

/// Passes on what the client sends. Completes when the client or the user has left.
async fn receive(
    (mut early, reader): (Vec<u8>, &mut (impl AsyncRead + Unpin)),
    mut writer: Option<impl AsyncWrite + Unpin>,
    mut keys: Option<Watch>,
    replies: mpsc::Sender<Reply>,
) -> End {
    let mut decoder = Decoder::default();
    let mut piece = vec![0; 16 << 10];
    let mut passed = Vec::new();
    loop {
        let bytes = if early.is_empty() {
            match reader.read(&mut piece).await {
                Ok(0) | Err(_) => return End::ClientGone,
                Ok(length) => piece[..length].to_vec(),
            }
        } else {
            std::mem::take(&mut early)
        };
        let inputs = match decoder.feed(&bytes) {
            Ok(inputs) => inputs,
            Err(Violation(reason)) => {
                tracing::debug!(reason, "a websocket client broke the protocol");
                drop(replies.send(Reply::Close(frame::PROTOCOL_ERROR)).await);
                return End::Output;
            }
        };
        for input in inputs {
            match input {
                Input::Data(data) => {
                    passed.clear();
                    let left = match &mut keys {
                        Some(watch) => watch.feed(&data, &mut passed),
                        None => {
                            passed.extend(data);
                            false
                        }
                    };
                    if let Some(stream) = &mut writer
                        && stream.write_all(&passed).await.is_err()
                    {
                        writer = None;
                    }
                    if left {
                        drop(replies.send(Reply::Close(NORMAL)).await);
                        return End::Detached;
                    }
                }
                Input::Ping(payload) => {
                    drop(replies.send(Reply::Frame(Opcode::Pong, payload)).await);
                }
                Input::Pong => {}
                Input::Close(status) => {
                    drop(replies.send(Reply::Close(status.unwrap_or(NORMAL))).await);
                    return End::Output;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
