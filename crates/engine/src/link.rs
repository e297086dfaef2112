//! The engine's end of a monitor's control connection.
//!
//! One task reads; anybody may ask, and writes as much as the socket takes. What it does not take
//! is written by a task of its own. Replies find their asker by number, notices go
//! into a queue whose end means that the monitor has gone. Whoever asks may stop waiting at any
//! moment: what has been asked is written to its end all the same, because half a request would
//! spoil the connection, and an engine without one takes the monitor for dead.

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

/// A request on its way, with the descriptor that goes along.
struct Outgoing {
    bytes: Vec<u8>,
    descriptor: Option<OwnedFd>,
}

/// A control connection; it is closed when this is dropped.
#[derive(Debug)]
pub(crate) struct Link {
    stream: Arc<UnixStream>,
    outgoing: mpsc::UnboundedSender<Outgoing>,
    /// How many requests the writing task has not written yet.
    waiting: Arc<Mutex<usize>>,
    number: AtomicU64,
    asked: Arc<Mutex<Option<Asked>>>,
}

/// The notices of one monitor, until it is gone. There is no limit to how many wait: a monitor tells few,
/// and no more of what a container can have it tell than the container's clients asked for, or one
/// a second.
pub(crate) type Notices = mpsc::UnboundedReceiver<Notice>;

/// What whoever asks is told when there is no monitor any more.
pub(crate) fn gone() -> Error {
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
        let (outgoing, queue) = mpsc::unbounded_channel();
        let waiting = Arc::new(Mutex::new(0));
        tokio::spawn(read(Arc::clone(&stream), Arc::clone(&asked), sender));
        tokio::spawn(write(Arc::clone(&stream), queue, Arc::clone(&waiting)));
        let number = AtomicU64::new(1);
        Ok((Arc::new(Self { stream, outgoing, waiting, number, asked }), notices))
    }

    /// Connects to a monitor that an earlier daemon left; the directory's path may be longer than
    /// a socket's.
    pub(crate) fn connect(directory: &Path) -> Result<(Arc<Self>, Notices), Error> {
        let socket = sys::stream::connect_in(directory, "sock").map_err(|error| {
            Error::system(format!("cannot reach {}/sock: {error}", directory.display()))
        })?;
        Self::new(socket)
    }

    /// Whether the monitor has ended.
    pub(crate) fn is_gone(&self) -> bool {
        crate::lock(&self.asked).is_none()
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
        if self.send(Outgoing { bytes, descriptor }).is_err() {
            crate::lock(&self.asked).as_mut().map(|asked| asked.remove(&number));
            return Err(gone());
        }
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Sends what the socket takes at once, which is nearly always all and spares the way over
    /// another task; leaves the rest to the task that writes.
    fn send(&self, mut outgoing: Outgoing) -> Result<(), mpsc::error::SendError<Outgoing>> {
        let mut waiting = crate::lock(&self.waiting);
        if *waiting == 0 {
            let descriptors: Vec<_> = outgoing.descriptor.iter().map(AsFd::as_fd).collect();
            let sent = self.stream.try_io(Interest::WRITABLE, || {
                sys::socket::send(&*self.stream, &outgoing.bytes, &descriptors)
            });
            // Any failure comes again when the task writes, which knows what to do.
            let sent = sent.unwrap_or(0);
            if sent == outgoing.bytes.len() {
                return Ok(());
            }
            if sent > 0 {
                outgoing.bytes.drain(..sent);
                outgoing.descriptor = None;
            }
        }
        *waiting += 1;
        self.outgoing.send(outgoing)
    }
}

async fn write(
    stream: Arc<UnixStream>,
    mut queue: mpsc::UnboundedReceiver<Outgoing>,
    waiting: Arc<Mutex<usize>>,
) {
    while let Some(Outgoing { bytes, descriptor }) = queue.recv().await {
        if send(&stream, &bytes, descriptor.as_ref().map(AsFd::as_fd)).await.is_err() {
            break;
        }
        *crate::lock(&waiting) -= 1;
    }
    // The other side has gone, or the link has been dropped. The reader finds the end, and tells
    // those who wait for answers. ENOTCONN: it knows already.
    let _ = rustix::net::shutdown(&*stream, rustix::net::Shutdown::Both);
}

async fn send(
    stream: &UnixStream,
    mut bytes: &[u8],
    mut descriptor: Option<BorrowedFd<'_>>,
) -> std::io::Result<()> {
    while !bytes.is_empty() {
        let descriptors: Vec<_> = descriptor.into_iter().collect();
        let sent = stream
            .async_io(Interest::WRITABLE, || sys::socket::send(stream, bytes, &descriptors))
            .await?;
        bytes = bytes.get(sent..).unwrap_or_default();
        descriptor = None;
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};

    /// Answers every request with `Done`, slowly at first, until the connection ends; returns how
    /// many there were.
    fn monitor(mut socket: StdStream) -> u64 {
        std::thread::sleep(std::time::Duration::from_millis(50));
        let (mut decoder, mut chunk, mut count) = (Decoder::default(), vec![0; 1 << 16], 0);
        loop {
            match socket.read(&mut chunk) {
                Ok(0) | Err(_) => return count,
                Ok(length) => decoder.push(&chunk[..length]),
            }
            while let Some(envelope) = decoder.message::<Envelope>().expect("a whole request") {
                count += 1;
                let reply = FromMonitor::Reply { number: envelope.number, result: Ok(Reply::Done) };
                let bytes = frame::encode(&reply).expect("encoded");
                socket.write_all(&bytes).expect("written");
            }
        }
    }

    fn large() -> Request {
        Request::SignalExec { exec: "x".repeat(1 << 20), signal: 9 }
    }

    #[tokio::test]
    async fn a_monitor_is_reached_however_long_its_path_is() {
        let folder = tempfile::tempdir().expect("a directory");
        let directory = folder.path().join("d".repeat(120));
        std::fs::create_dir(&directory).expect("a directory");
        let listener = sys::stream::listen_private(&directory, "sock").expect("a socket");
        let (link, notices) = Link::connect(&directory).expect("connected");
        let theirs = StdStream::from(sys::stream::accept(&listener).expect("a connection"));
        theirs.set_nonblocking(false).expect("blocking");
        let monitor = tokio::task::spawn_blocking(move || monitor(theirs));
        assert!(matches!(link.ask(Request::Hello, None).await, Ok(Reply::Done)));
        drop((link, notices));
        assert_eq!(monitor.await.expect("no panic"), 1);
    }

    #[tokio::test]
    async fn an_asker_that_gives_up_does_not_spoil_the_connection() {
        let (ours, theirs) = StdStream::pair().expect("a pair");
        let monitor = tokio::task::spawn_blocking(move || monitor(theirs));
        let (link, notices) = Link::new(ours.into()).expect("a link");
        for _ in 0..5 {
            // More than a socket holds: given up in the middle of the writing.
            let asked = link.ask(large(), None);
            drop(tokio::time::timeout(std::time::Duration::from_millis(1), asked).await);
        }
        assert!(matches!(link.ask(Request::Hello, None).await, Ok(Reply::Done)));
        drop((link, notices));
        assert_eq!(monitor.await.expect("no panic"), 6);
    }
}
