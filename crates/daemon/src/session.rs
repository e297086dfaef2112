//! The sessions of builds: connections over which the daemon asks clients for secrets and ssh
//! agents, and gives them results (`docker_api::build::session`).
//!
//! A task owns the connection. Builds run on threads that block, and speak with it through
//! channels: one for all frames to the client, one for each conversation's frames from it.

use std::collections::HashMap;
use std::io;
use std::os::unix::net::UnixStream as StdStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use docker_api::build::session::{Decoder, Frame, Kind, MAX_PAYLOAD, MAX_SECRET, OutputHead};
use engine::builder::worker::{Output, Session as Asked};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{Notify, mpsc};
use types::Error;

use crate::takeover::Client;

/// Frames that may wait, in either direction.
const QUEUE: usize = 32;

/// How long a build waits for the session that it names.
const PATIENCE: Duration = Duration::from_secs(10);

/// The sessions that are open, by the names that clients gave them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sessions(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    open: Mutex<HashMap<String, Arc<Session>>>,
    changed: Notify,
}

/// One client's session.
#[derive(Debug)]
pub(crate) struct Session {
    outgoing: mpsc::Sender<Frame>,
    number: AtomicU32,
    /// None once the client has gone.
    conversations: Mutex<Option<HashMap<u32, mpsc::Sender<Frame>>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change is one assignment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn gone() -> Error {
    Error::system("the session of the build has ended: its client has gone")
}

impl Sessions {
    /// The session of this name, which may be on its way.
    pub(crate) async fn find(&self, name: &str) -> Result<Arc<Session>, Error> {
        let found = async {
            loop {
                let changed = self.0.changed.notified();
                if let Some(session) = lock(&self.0.open).get(name) {
                    return Arc::clone(session);
                }
                changed.await;
            }
        };
        tokio::time::timeout(PATIENCE, found)
            .await
            .map_err(|_| Error::invalid(format!("no such session: {name:?}")))
    }

    /// Whether a name is taken.
    pub(crate) fn has(&self, name: &str) -> bool {
        lock(&self.0.open).contains_key(name)
    }

    /// Serves a client's session until it has gone.
    pub(crate) async fn serve(&self, name: String, client: Client) {
        let (outgoing, frames) = mpsc::channel(QUEUE);
        let session = Arc::new(Session {
            outgoing,
            number: AtomicU32::new(1),
            conversations: Mutex::new(Some(HashMap::new())),
        });
        lock(&self.0.open).insert(name.clone(), Arc::clone(&session));
        self.0.changed.notify_waiters();
        session.talk(client, frames).await;
        lock(&self.0.open).remove(&name);
        lock(&session.conversations).take();
    }
}

impl Session {
    async fn talk(&self, client: Client, mut frames: mpsc::Receiver<Frame>) {
        let (mut reader, mut writer) = tokio::io::split(client.socket);
        let mut decoder = Decoder::default();
        decoder.push(&client.early);
        let write = async {
            while let Some(frame) = frames.recv().await {
                if writer.write_all(&frame.encode()).await.is_err() {
                    return;
                }
            }
        };
        let read = async {
            let mut chunk = vec![0; MAX_PAYLOAD];
            loop {
                loop {
                    match decoder.frame() {
                        Ok(Some(frame)) => self.hear(frame).await,
                        Ok(None) => break,
                        Err(error) => {
                            tracing::warn!("a build's client speaks nonsense: {error}");
                            return;
                        }
                    }
                }
                match reader.read(&mut chunk).await {
                    Ok(count @ 1..) => decoder.push(&chunk[..count]),
                    _ => return,
                }
            }
        };
        tokio::select! {
            () = write => {}
            () = read => {}
        }
    }

    async fn hear(&self, frame: Frame) {
        let number = frame.number;
        let listener =
            lock(&self.conversations).as_ref().and_then(|open| open.get(&number).cloned());
        if let Some(listener) = listener {
            // Whoever listened no more has no use for it.
            drop(listener.send(frame).await);
        }
    }

    /// Begins a conversation; blocks.
    fn ask(self: &Arc<Self>, kind: Kind, payload: &[u8]) -> Result<Conversation, Error> {
        if payload.len() > MAX_PAYLOAD {
            return Err(Error::invalid("the name is too long"));
        }
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let (sender, frames) = mpsc::channel(QUEUE);
        lock(&self.conversations).as_mut().ok_or_else(gone)?.insert(number, sender);
        let conversation = Conversation { session: Arc::clone(self), number, frames };
        conversation.say(kind, payload)?;
        Ok(conversation)
    }
}

/// Frames of one number; both ends forget it when this is dropped.
struct Conversation {
    session: Arc<Session>,
    number: u32,
    frames: mpsc::Receiver<Frame>,
}

impl Drop for Conversation {
    fn drop(&mut self) {
        if let Some(open) = lock(&self.session.conversations).as_mut() {
            open.remove(&self.number);
        }
    }
}

impl Conversation {
    fn say(&self, kind: Kind, payload: &[u8]) -> Result<(), Error> {
        let frame = Frame::new(kind, self.number, payload);
        self.session.outgoing.blocking_send(frame).map_err(|_| gone())
    }

    fn hear(&mut self) -> Result<Frame, Error> {
        self.frames.blocking_recv().ok_or_else(gone)
    }

    /// Waits for a yes or a no.
    fn accepted(&mut self) -> Result<(), Error> {
        let frame = self.hear()?;
        match frame.kind {
            Kind::Accept => Ok(()),
            _ => Err(Error::invalid(String::from_utf8_lossy(&frame.payload).into_owned())),
        }
    }
}

/// A session as builds see it.
#[derive(Debug)]
pub(crate) struct Answering {
    pub(crate) session: Arc<Session>,
    pub(crate) runtime: tokio::runtime::Handle,
}

impl Asked for Answering {
    fn secret(&self, id: &str) -> Result<Option<Vec<u8>>, Error> {
        let mut conversation = self.session.ask(Kind::Secret, id.as_bytes())?;
        let mut content = Vec::new();
        loop {
            let frame = conversation.hear()?;
            match frame.kind {
                Kind::Data if content.len() + frame.payload.len() > MAX_SECRET => {
                    let most = MAX_SECRET >> 10;
                    return Err(Error::invalid(format!("secret {id:?} is larger than {most} KiB")));
                }
                Kind::Data => content.extend(frame.payload),
                Kind::Close => return Ok(Some(content)),
                Kind::Refuse => return Ok(None),
                _ => {}
            }
        }
    }

    fn ssh(&self, id: &str) -> Result<StdStream, Error> {
        let mut conversation = self.session.ask(Kind::Ssh, id.as_bytes())?;
        conversation.accepted()?;
        let failed = |error: io::Error| Error::system(format!("cannot make a stream: {error}"));
        let (theirs, ours) = StdStream::pair().map_err(failed)?;
        ours.set_nonblocking(true).map_err(failed)?;
        let _runtime = self.runtime.enter();
        let ours = UnixStream::from_std(ours).map_err(failed)?;
        tokio::spawn(carry(conversation, ours));
        Ok(theirs)
    }

    fn output(&self, index: usize, kind: &str) -> Result<Box<dyn Output>, Error> {
        let head = OutputHead { index, kind: kind.to_owned() };
        let head = serde_json::to_vec(&head)
            .map_err(|error| Error::system(format!("cannot describe an output: {error}")))?;
        let mut conversation = self.session.ask(Kind::Output, &head)?;
        conversation.accepted()?;
        Ok(Box::new(Sending(conversation)))
    }
}

/// Copies between an agent's stream and its conversation.
async fn carry(mut conversation: Conversation, stream: UnixStream) {
    let (mut reader, mut writer) = stream.into_split();
    let (number, outgoing) = (conversation.number, conversation.session.outgoing.clone());
    let up = async {
        let mut chunk = vec![0; 16 << 10];
        loop {
            let (kind, payload) = match reader.read(&mut chunk).await {
                Ok(count @ 1..) => (Kind::Data, chunk[..count].to_vec()),
                _ => (Kind::Close, Vec::new()),
            };
            if outgoing.send(Frame::new(kind, number, payload)).await.is_err() {
                return;
            }
            if kind == Kind::Close {
                return;
            }
        }
    };
    let down = async {
        while let Some(frame) = conversation.frames.recv().await {
            let written = match frame.kind {
                Kind::Data => writer.write_all(&frame.payload).await,
                _ => break,
            };
            if written.is_err() {
                break;
            }
        }
        // The other side may have gone.
        drop(writer.shutdown().await);
    };
    tokio::join!(up, down);
}

/// A result on its way to the client.
struct Sending(Conversation);

impl io::Write for Sending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The client may have thought better of it.
        if let Ok(frame) = self.0.frames.try_recv() {
            let words = String::from_utf8_lossy(&frame.payload).into_owned();
            return Err(io::Error::other(words));
        }
        let count = bytes.len().min(MAX_PAYLOAD);
        self.0
            .say(Kind::Data, &bytes[..count])
            .map_err(|error| io::Error::new(io::ErrorKind::BrokenPipe, error.message))?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Output for Sending {
    fn finish(mut self: Box<Self>) -> Result<(), Error> {
        self.0.say(Kind::Close, &[])?;
        let frame = self.0.hear()?;
        match frame.kind {
            Kind::Close => Ok(()),
            _ => Err(Error::system(String::from_utf8_lossy(&frame.payload).into_owned())),
        }
    }
}
