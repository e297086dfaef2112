//! A connection that the daemon handed over.

use bytes::Bytes;
use hyper::Response;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};

use super::Error;
use super::transport::Transport;

/// Both directions of a connection that was taken over.
pub struct Hijacked {
    /// From the daemon.
    pub reader: Reader,
    /// To the daemon.
    pub writer: Writer,
    /// Whether the daemon says that its frames are multiplexed (since API 1.42).
    pub multiplexed: Option<bool>,
}

/// From the daemon.
pub struct Reader {
    io: ReadHalf<Transport>,
    early: Bytes,
}

/// To the daemon.
pub struct Writer {
    io: WriteHalf<Transport>,
}

impl Hijacked {
    pub(super) async fn new(answer: Response<Incoming>) -> Result<Self, Error> {
        let multiplexed = answer
            .headers()
            .get(hyper::header::CONTENT_TYPE)
            .map(|kind| kind.as_bytes() == b"application/vnd.docker.multiplexed-stream");
        let status = answer.status().as_u16();
        let upgraded = hyper::upgrade::on(answer).await.map_err(Error::Http)?;
        let parts =
            upgraded.downcast::<TokioIo<Transport>>().map_err(|_| Error::NotHijacked(status))?;
        let (reader, writer) = tokio::io::split(parts.io.into_inner());
        Ok(Self {
            reader: Reader { io: reader, early: parts.read_buf },
            writer: Writer { io: writer },
            multiplexed,
        })
    }
}

impl Hijacked {
    /// A connection to which nothing has been said yet.
    pub(super) fn fresh(transport: Transport) -> Self {
        let (reader, writer) = tokio::io::split(transport);
        Self {
            reader: Reader { io: reader, early: Bytes::new() },
            writer: Writer { io: writer },
            multiplexed: None,
        }
    }
}

impl Reader {
    /// Reads some bytes; 0 at the end.
    ///
    /// # Errors
    /// A broken connection.
    pub async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        if !self.early.is_empty() {
            let count = self.early.len().min(buffer.len());
            buffer[..count].copy_from_slice(&self.early.split_to(count));
            return Ok(count);
        }
        match self.io.read(buffer).await {
            // The other side went away with bytes of ours unread: its last words have arrived.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(0),
            other => other.map_err(Error::Stream),
        }
    }
}

impl Writer {
    /// Sends all of it.
    ///
    /// # Errors
    /// A broken connection.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.io.write_all(bytes).await.map_err(Error::Stream)?;
        self.io.flush().await.map_err(Error::Stream)
    }

    /// Says that nothing more will come; the other direction stays open.
    ///
    /// # Errors
    /// A broken connection.
    pub async fn finish(&mut self) -> Result<(), Error> {
        self.io.shutdown().await.map_err(Error::Stream)
    }
}
