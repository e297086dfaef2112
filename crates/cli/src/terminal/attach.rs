//! Carrying bytes between the user and a container over a connection that was handed over.

use docker_api::client::{Demux, Error, Hijacked, Stream};

use super::detach::{Typed, Watch};
use super::{input, output};

/// What to carry.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// The container has a terminal: one raw stream.
    pub(crate) tty: bool,
    /// Carry standard input.
    pub(crate) stdin: bool,
    /// Show standard output.
    pub(crate) stdout: bool,
    /// Show standard error.
    pub(crate) stderr: bool,
    /// The sequence that detaches; `None` when nothing can.
    pub(crate) detach: Option<Vec<u8>>,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The container closed its end.
    Closed,
    /// The same, with the exit status.
    Exited(i32),
    /// The user typed the sequence.
    Detached,
}

/// Carries bytes both ways until the container closes its end or the user detaches.
pub(crate) async fn carry(connection: Hijacked, plan: &Plan) -> Result<End, Error> {
    let Hijacked { mut reader, mut writer, .. } = connection;
    // The content type would say it too, but daemons before API 1.42 call both raw.
    let raw = plan.tty;
    let output = async {
        let mut demux = Demux::default();
        let mut buffer = vec![0_u8; 32 << 10];
        let mut status = Vec::new();
        loop {
            let count = reader.read(&mut buffer).await?;
            if count == 0 {
                let status = status.try_into().map(i32::from_be_bytes);
                return Ok(status.map_or(End::Closed, End::Exited));
            }
            if raw {
                // Whoever closed our output has heard enough.
                if output::stdout(&buffer[..count]).is_err() {
                    return Ok(End::Closed);
                }
                continue;
            }
            demux.push(&buffer[..count]);
            while let Some(chunk) = demux.next_chunk().map_err(broken)? {
                let written = match chunk.stream {
                    Stream::Stdin | Stream::Stdout if plan.stdout => output::stdout(&chunk.data),
                    Stream::Stderr if plan.stderr => output::stderr(&chunk.data),
                    Stream::System => {
                        let text = String::from_utf8_lossy(&chunk.data);
                        let message = format!("error from daemon in stream: {text}");
                        return Err(Error::Stream(std::io::Error::other(message)));
                    }
                    Stream::Status => {
                        status.extend_from_slice(&chunk.data);
                        Ok(())
                    }
                    _ => Ok(()),
                };
                if written.is_err() {
                    return Ok(End::Closed);
                }
            }
        }
    };
    let input = async {
        if !plan.stdin {
            return End::Closed;
        }
        let mut watch = plan.detach.clone().map(Watch::new);
        let mut stdin = input::stdin();
        while let Some(bytes) = stdin.recv().await {
            let (bytes, detach) = match watch.as_mut().map(|watch| watch.feed(&bytes)) {
                None => (bytes, false),
                Some(Typed::Pass(bytes)) => (bytes, false),
                Some(Typed::Detach(bytes)) => (bytes, true),
            };
            // A container that reads no more still has something to say.
            if !bytes.is_empty() && writer.write(&bytes).await.is_err() {
                return End::Closed;
            }
            if detach {
                return End::Detached;
            }
        }
        let _ = writer.finish().await;
        End::Closed
    };
    tokio::pin!(output, input);
    let mut typing = true;
    loop {
        tokio::select! {
            biased;
            ended = &mut output => return ended,
            end = &mut input, if typing => {
                if end == End::Detached {
                    return Ok(End::Detached);
                }
                typing = false;
            }
        }
    }
}

fn broken(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Stream(std::io::Error::other(error))
}
