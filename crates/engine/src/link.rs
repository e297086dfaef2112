//! The engine's end of a monitor's control connection.
//!
//! One task reads; anybody may ask. Replies find their asker by number, notices go into a
//! queue whose end means that the monitor has gone.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use proto::control::{Envelope, FromMonitor, Notice, Reply, Request};
use proto::frame::{self, Decoder};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use types::Error;

/// Bytes read at once.
const CHUNK: usize = 16 << 10;

type Asked = HashMap<u64, oneshot::Sender<Result<Reply, Error>>>;

/// A control connection.
#[derive(Debug)]
pub(crate) struct Link {
    stream: Arc<UnixStream>,
    turn: tokio::sync::Mutex<()>,
    number: AtomicU64,
    asked: Arc<Mutex<Option<Asked>>>,
}

/// The notices of one monitor, until it is gone.
pub(crate) type Notices = mpsc::UnboundedReceiver<Notice>;

fn gone() -> Error {
    Error::system("the container's monitor does not answer: it has ended")
}

impl Link {
    /// Speaks over one end of a stream socket whose other end a monitor has.
    pub(crate) fn new(socket: OwnedFd) -> Result<(Arc<Self>, Notices), Error> {
        let failed =
            |error| Error::system(format!("cannot use the connection to a monitor: {error}"));
        let socket = StdStream::from(socket);
        socket.set_nonblocking(true).map_err(failed)?;
        let stream = Arc::new(UnixStream::from_std(socket).map_err(failed)?);
        let asked = Arc::new(Mutex::new(Some(Asked::new())));
        let (sender, notices) = mpsc::unbounded_channel();
        tokio::spawn(read(Arc::clone(&stream), Arc::clone(&asked), sender));
        let link =
            Self { stream, turn: tokio::sync::Mutex::new(()), number: AtomicU64::new(1), asked };
        Ok((Arc::new(link), notices))
    }

    /// Connects to a monitor that an earlier daemon left.
    pub(crate) fn connect(directory: &Path) -> Result<(Arc<Self>, Notices), Error> {
        let path = directory.join("sock");
        let socket = StdStream::connect(&path)
            .map_err(|error| Error::system(format!("cannot reach {}: {error}", path.display())))?;
        Self::new(socket.into())
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn ask(
        &self,
        request: Request,
        descriptor: Option<OwnedFd>,
    ) -> Result<Reply, Error> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let bytes = frame::encode(&Envelope { number, request })
            .map_err(|error| Error::invalid(format!("the request cannot be sent: {error}")))?;
        let (sender, answer) = oneshot::channel();
        crate::lock(&self.asked).as_mut().ok_or_else(gone)?.insert(number, sender);
        if let Err(error) = self.send(&bytes, descriptor.as_ref().map(AsFd::as_fd)).await {
            crate::lock(&self.asked).as_mut().map(|asked| asked.remove(&number));
            return Err(error);
        }
        drop(descriptor);
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    async fn send(
        &self,
        mut bytes: &[u8],
        mut descriptor: Option<BorrowedFd<'_>>,
    ) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        while !bytes.is_empty() {
            let descriptors: Vec<_> = descriptor.into_iter().collect();
            let sent = self
                .stream
                .async_io(Interest::WRITABLE, || {
                    sys::socket::send(self.stream.as_ref(), bytes, &descriptors)
                })
                .await
                .map_err(|_| gone())?;
            bytes = bytes.get(sent..).unwrap_or_default();
            descriptor = None;
        }
        Ok(())
    }
}

async fn read(
    stream: Arc<UnixStream>,
    asked: Arc<Mutex<Option<Asked>>>,
    notices: mpsc::UnboundedSender<Notice>,
) {
    let mut decoder = Decoder::default();
    let mut chunk = vec![0; CHUNK];
    'connection: loop {
        if stream.readable().await.is_err() {
            break;
        }
        match stream.try_read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => decoder.push(&chunk[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(_) => break,
        }
        loop {
            match decoder.message() {
                Ok(Some(FromMonitor::Reply { number, result })) => {
                    let asker =
                        crate::lock(&asked).as_mut().and_then(|asked| asked.remove(&number));
                    // An asker that was cancelled does not want to know.
                    asker.map(|asker| asker.send(result));
                }
                Ok(Some(FromMonitor::Notice(notice))) => drop(notices.send(notice)),
                Ok(None) => break,
                Err(error) => {
                    tracing::error!("a monitor speaks nonsense: {error}");
                    break 'connection;
                }
            }
        }
    }
    // Whoever still waits gets "gone", and nobody can ask any more.
    crate::lock(&asked).take();
}
