//! Our end of a build's session: the daemon asks for secrets and agents, and sends results.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;
use bytes::Bytes;
use docker_api::build::session::{Decoder, Frame, Kind, MAX_PAYLOAD, MAX_SECRET, OutputHead};
use docker_api::client::Hijacked;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::agent::Running;
use super::output::{Output, Place};
use super::secret::{Secret, Secrets};
use crate::options::words;
use crate::pipe::Inlet;
use crate::terminal::output as standard;
use crate::unpack::{Devices, Route, extract};

/// What the daemon may ask for.
pub(super) struct Offer {
    pub(super) secrets: Secrets,
    pub(super) agents: HashMap<String, Running>,
    pub(super) outputs: Vec<Output>,
}

/// Answers until the daemon closes the connection.
///
/// # Errors
/// A broken connection, or one that speaks otherwise.
pub(super) async fn serve(connection: Hijacked, offer: Offer) -> anyhow::Result<()> {
    let Hijacked { mut reader, mut writer, .. } = connection;
    let (replies, mut waiting) = mpsc::channel::<Frame>(16);
    let mut conversations = HashMap::new();
    let mut decoder = Decoder::default();
    let mut buffer = vec![0_u8; 64 << 10];
    loop {
        tokio::select! {
            count = reader.read(&mut buffer) => {
                let count = count?;
                if count == 0 {
                    return Ok(());
                }
                decoder.push(&buffer[..count]);
                while let Some(frame) = decoder.frame()? {
                    hear(frame, &offer, &mut conversations, &replies).await;
                }
            }
            Some(frame) = waiting.recv() => writer.write(&frame.encode()).await?,
        }
    }
}

/// Bytes on their way to whoever answers: an agent, a file.
type Conversations = HashMap<u32, mpsc::Sender<Bytes>>;

/// Takes a frame. Whoever answers does so on its own time, by way of `replies`.
async fn hear(
    frame: Frame,
    offer: &Offer,
    conversations: &mut Conversations,
    replies: &mpsc::Sender<Frame>,
) {
    let number = frame.number;
    let replies = replies.clone();
    match frame.kind {
        Kind::Secret => {
            let id = String::from_utf8_lossy(&frame.payload).into_owned();
            let found = offer.secrets.secrets.get(&id).map(|secret| read(&id, secret));
            let found = found.unwrap_or_else(|| {
                Err(format!("secret {id}: not found: use --secret id={id},src=FILE"))
            });
            tokio::spawn(async move { tell(number, found, &replies).await });
        }
        Kind::Ssh => {
            let id = String::from_utf8_lossy(&frame.payload).into_owned();
            let (sender, receiver) = mpsc::channel(16);
            match offer.agents.get(&id) {
                Some(agent) => {
                    conversations.insert(number, sender);
                    let socket = agent.socket().to_owned();
                    tokio::spawn(async move {
                        if let Err(error) = talk(number, &socket, receiver, &replies).await {
                            let why = format!("ssh agent {id}: {}", words::reason(&error));
                            refuse(number, &why, &replies).await;
                        }
                    });
                }
                None => {
                    refuse(number, &format!("no ssh agent {id}: use --ssh {id}"), &replies).await;
                }
            }
        }
        Kind::Output => {
            let head: Option<OutputHead> = serde_json::from_slice(&frame.payload).ok();
            let place = head
                .and_then(|head| offer.outputs.get(head.index))
                .and_then(|output| output.place.clone());
            let Some(place) = place else {
                return refuse(number, "nobody asked for this result", &replies).await;
            };
            let (sender, receiver) = mpsc::channel(16);
            conversations.insert(number, sender);
            let _ = replies.send(Frame::new(Kind::Accept, number, [])).await;
            let work = move || {
                let last = match keep(&place, Inlet::new(receiver)) {
                    Ok(()) => Frame::new(Kind::Close, number, []),
                    Err(error) => Frame::new(Kind::Refuse, number, cut(&format!("{error:#}"))),
                };
                let _ = replies.blocking_send(last);
            };
            // Without a thread the sender's other end is gone, and with it the conversation.
            let _ = std::thread::Builder::new().name("result".into()).spawn(work);
        }
        Kind::Data => {
            if let Some(conversation) = conversations.get(&number)
                && conversation.send(frame.payload.into()).await.is_err()
            {
                // It has said why by itself.
                conversations.remove(&number);
            }
        }
        Kind::Close | Kind::Refuse => drop(conversations.remove(&number)),
        Kind::Accept => {}
    }
}

/// A reason that fits a frame.
fn cut(why: &str) -> Vec<u8> {
    why.bytes().take(MAX_PAYLOAD).collect()
}

async fn refuse(number: u32, why: &str, replies: &mpsc::Sender<Frame>) {
    let _ = replies.send(Frame::new(Kind::Refuse, number, cut(why))).await;
}

/// Sends a secret, or why there is none.
async fn tell(number: u32, found: Result<Vec<u8>, String>, replies: &mpsc::Sender<Frame>) {
    let bytes = match found {
        Ok(bytes) => bytes,
        Err(why) => return refuse(number, &why, replies).await,
    };
    for piece in bytes.chunks(MAX_PAYLOAD) {
        let _ = replies.send(Frame::new(Kind::Data, number, piece)).await;
    }
    let _ = replies.send(Frame::new(Kind::Close, number, [])).await;
}

fn read(id: &str, secret: &Secret) -> Result<Vec<u8>, String> {
    let bytes = match secret {
        Secret::Variable(name) => {
            use std::os::unix::ffi::OsStringExt as _;
            let value = std::env::var_os(name);
            value.ok_or_else(|| format!("secret {id}: {name} is not set"))?.into_vec()
        }
        Secret::File(path) => {
            let fail = |error: io::Error| {
                format!("secret {id}: open {}: {}", path.display(), words::reason(&error))
            };
            let file = File::open(path).map_err(fail)?;
            let mut bytes = Vec::new();
            let limit = MAX_SECRET as u64 + 1;
            io::Read::read_to_end(&mut io::Read::take(file, limit), &mut bytes).map_err(fail)?;
            bytes
        }
    };
    if bytes.len() > MAX_SECRET {
        return Err(format!("secret {id}: is larger than {} KiB", MAX_SECRET >> 10));
    }
    Ok(bytes)
}

/// Carries bytes between the daemon and an agent.
async fn talk(
    number: u32,
    socket: &Path,
    mut from_daemon: mpsc::Receiver<Bytes>,
    replies: &mpsc::Sender<Frame>,
) -> io::Result<()> {
    let mut agent = UnixStream::connect(socket).await?;
    let _ = replies.send(Frame::new(Kind::Accept, number, [])).await;
    let (mut answers, mut questions) = agent.split();
    let mut buffer = vec![0_u8; 16 << 10];
    let mut asking = true;
    loop {
        tokio::select! {
            data = from_daemon.recv(), if asking => match data {
                Some(data) => questions.write_all(&data).await?,
                None => {
                    asking = false;
                    questions.shutdown().await?;
                }
            },
            count = answers.read(&mut buffer) => {
                let count = count?;
                if count == 0 {
                    let _ = replies.send(Frame::new(Kind::Close, number, [])).await;
                    return Ok(());
                }
                let _ = replies.send(Frame::new(Kind::Data, number, &buffer[..count])).await;
            }
        }
    }
}

/// Puts a result where it belongs, on a thread of its own.
fn keep(place: &Place, mut result: Inlet) -> anyhow::Result<()> {
    match place {
        Place::Directory(path) => {
            std::fs::create_dir_all(path).with_context(|| path.display().to_string())?;
            let directory = path.to_string_lossy().into_owned();
            let route = Route { directory, from: ".".to_owned(), to: ".".to_owned() };
            extract(&mut result, &route, Devices::LeaveOut).map(drop)
        }
        Place::File(path) => {
            let mut whole = || -> io::Result<()> {
                // A device or a pipe is written to, not replaced.
                if path.exists() && !path.is_file() {
                    return io::copy(&mut result, &mut File::create(path)?).map(drop);
                }
                let temporary = format!("{}.{}.tmp", path.display(), std::process::id());
                let written = File::create(&temporary)
                    .and_then(|mut file| io::copy(&mut result, &mut file))
                    .and_then(|_| std::fs::rename(&temporary, path));
                if written.is_err() {
                    let _ = std::fs::remove_file(&temporary);
                }
                written
            };
            whole().with_context(|| path.display().to_string())
        }
        Place::Stdout => {
            let mut buffer = vec![0_u8; 64 << 10];
            loop {
                let count = io::Read::read(&mut result, &mut buffer)?;
                if count == 0 {
                    return Ok(io::stdout().flush()?);
                }
                standard::stdout(&buffer[..count]).context("standard output")?;
            }
        }
    }
}
