//! Files of containers in virtual machines. The host never mounts a disk that a guest has written:
//! who is asked is the machine's agent. For a container that does not run, a machine is started
//! that has its disks and runs nothing.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as Blocking;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use image::archive::PathStat;
use proto::control::{Notice, Reply, Request};
use proto::guest::{FileRequest, User};
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::sync::{OwnedMutexGuard, mpsc};
use types::{Error, ErrorKind};

use super::archive::ArchiveOptions;
use super::attach::stream;
use super::start::machine::DISK;
use super::{Container, Live};
use crate::link::{Link, Notices};
use crate::{ByteStream, Engine, aside, blocking};

/// Pieces of an outgoing archive that wait for a slow reader.
const QUEUE: usize = 8;
/// Bytes of such a piece.
const PIECE: usize = 64 << 10;
/// How long a monitor may take to end its machine.
const END: Duration = Duration::from_secs(5);
/// How long a client has to notice that what it sends is not wanted any more.
const UNWANTED: Duration = Duration::from_secs(1);
/// A machine that sends nothing for so long, when it is its turn, hangs.
const STUCK: Duration = Duration::from_secs(600);
/// What is said of it.
const ENDLESS: &str = "the machine does not end what it sends";
/// A list of changes may be this long at most: it is the guest's.
const MOST_CHANGES: u64 = 64 << 20;

/// A tar is at most so many times as long as the disk whose files it has: names and padding are more
/// than a directory has of them, and a hole has its length. A guest that lies fills no more of ours.
const TAR_OF_DISK: u64 = 2;

/// What a machine has sent.
enum Sent<T> {
    All(T),
    /// More than it can have: the rest is not read.
    TooMuch,
}

/// A machine that can be asked for files.
pub(crate) struct Files {
    link: Arc<Link>,
    /// One that was started for this, with what keeps the container from being started meanwhile.
    own: Option<Box<Own>>,
}

/// What a machine that was started for its files holds.
struct Own {
    engine: Engine,
    container: Arc<Container>,
    live: Live,
    notices: Notices,
    _operation: OwnedMutexGuard<()>,
}

impl Files {
    async fn ask(&self, request: FileRequest, stream: Option<OwnedFd>) -> Result<Reply, Error> {
        self.link.ask(Request::Files(request), stream).await
    }

    /// Asks for data, which come out of a stream whose other end is the machine's. One that sends too much
    /// is not waited for: it may never answer.
    async fn receive<T>(
        &self,
        request: FileRequest,
        theirs: OwnedFd,
        reading: impl Future<Output = Result<Sent<T>, Error>>,
    ) -> Result<Sent<T>, Error> {
        let asked = self.ask(request, Some(theirs));
        tokio::pin!(asked, reading);
        tokio::select! {
            answer = &mut asked => {
                answer?;
                // All of it is on its way.
                let read = tokio::time::timeout(STUCK, reading).await;
                read.unwrap_or_else(|_| Err(Error::system(ENDLESS)))
            }
            read = &mut reading => match read {
                Ok(Sent::TooMuch) => Ok(Sent::TooMuch),
                Ok(all) => asked.await.map(|_| all),
                // Why data end early is in the answer.
                Err(error) => match tokio::time::timeout(UNWANTED, asked).await {
                    Ok(Err(why)) => Err(why),
                    _ => Err(error),
                },
            },
        }
    }

    /// Lets go of it: what it wrote is on its disk afterwards.
    async fn end(self) {
        let Some(mut own) = self.own else { return };
        // An error says that it has ended by itself.
        drop(own.live.link.ask(Request::Abandon, None).await);
        while own.notices.recv().await.is_some() {}
        own.engine.clean_up(&own.container, &own.live.run).await;
    }
}

impl Engine {
    /// The machine of a container: the one it runs in, or one that is started for its files.
    async fn files_of(&self, container: &Arc<Container>) -> Result<Files, Error> {
        if let Ok(live) = container.running() {
            return Ok(Files { link: live.link, own: None });
        }
        container.known().await?;
        let operation = Arc::clone(&container.operation).lock_owned().await;
        container.still_there()?;
        if let Ok(live) = container.running() {
            return Ok(Files { link: live.link, own: None });
        }
        let (engine, subject) = (self.clone(), Arc::clone(container));
        let (socket, run) = blocking(move || {
            let record = subject.record().clone();
            engine.order_files(&record)
        })
        .await?;
        let (link, mut notices) = Link::new(socket)?;
        let live = Live { link: Arc::clone(&link), run: Arc::new(run) };
        let failure = match notices.recv().await {
            Some(Notice::Created { .. }) => {
                let own = Own {
                    engine: self.clone(),
                    container: Arc::clone(container),
                    live,
                    notices,
                    _operation: operation,
                };
                return Ok(Files { link, own: Some(Box::new(own)) });
            }
            Some(Notice::Failed(error)) => error,
            _ => Error::system("the virtual machine for the container's files ended"),
        };
        self.clean_up(container, &live.run).await;
        Err(failure)
    }

    /// Ends the machine that was started for a container's files, if there is one, with what is asked
    /// of it.
    pub(super) async fn end_files(&self, container: &Container) {
        let directory = self.config.monitor_dir(container.id.as_str());
        // None is there yet, or it goes by itself.
        let Ok((link, _notices)) = Link::connect(&directory) else { return };
        // A container that waits for its start refuses.
        drop(tokio::time::timeout(END, link.ask(Request::KillAll, None)).await);
    }

    /// What is at a path of a container.
    pub(super) async fn guest_stat(
        &self,
        container: &Arc<Container>,
        reference: &str,
        path: &str,
    ) -> Result<PathStat, Error> {
        let files = self.files_of(container).await?;
        let stat = stat(&files, reference, path).await;
        files.end().await;
        stat
    }

    /// A tar of what is at a path of a container.
    pub(super) async fn guest_get(
        &self,
        container: &Arc<Container>,
        reference: &str,
        path: &str,
    ) -> Result<(PathStat, ByteStream), Error> {
        let files = self.files_of(container).await?;
        match stat(&files, reference, path).await {
            Ok(stat) => {
                let request = FileRequest::Get { path: path.to_owned(), channel: 0 };
                Ok((stat, send_out(files, request)?))
            }
            Err(error) => {
                files.end().await;
                Err(error)
            }
        }
    }

    /// A tar of all of a container's files.
    pub(super) async fn guest_export(
        &self,
        container: &Arc<Container>,
    ) -> Result<ByteStream, Error> {
        let files = self.files_of(container).await?;
        send_out(files, FileRequest::Export { channel: 0 })
    }

    /// Unpacks a tar into a directory of a container.
    pub(super) async fn guest_put(
        &self,
        container: &Arc<Container>,
        reference: &str,
        path: &str,
        options: ArchiveOptions,
        mut input: Box<dyn Read + Send>,
    ) -> Result<(), Error> {
        let user = container.record().config.user.clone();
        let owner =
            (options.copy_uid_gid && !user.is_empty()).then(|| User { user, ..User::default() });
        let files = self.files_of(container).await?;
        let (ours, theirs) = stream()?;
        let request = FileRequest::Put {
            path: path.to_owned(),
            channel: 0,
            no_overwrite: options.no_overwrite_dir_non_dir,
            owner,
        };
        let sent = aside(move || {
            let failed = |error| Error::system(format!("cannot send: {error}"));
            let ours: Blocking = ours.into_std().map_err(failed)?;
            ours.set_nonblocking(false).map_err(failed)?;
            match std::io::copy(&mut *input, &mut &ours) {
                // The guest does not want the rest: its answer says why.
                Err(error) if is_unwanted(&error) => Ok(()),
                Err(error) => Err(Error::invalid(error.to_string())),
                Ok(_) => Ok(()),
            }
        });
        let (answer, sent) = {
            let asked = files.ask(request, Some(theirs));
            tokio::pin!(asked, sent);
            tokio::select! {
                answer = &mut asked => match answer {
                    Ok(_) => (answer, sent.await),
                    // Nobody takes what a client has yet to send, if it ever sends anything.
                    Err(_) => (answer, tokio::time::timeout(UNWANTED, sent).await.unwrap_or(Ok(()))),
                },
                sent = &mut sent => (asked.await, sent),
            }
        };
        files.end().await;
        let done = answer.map_err(|error| not_found(error, reference, path));
        sent.and(done.map(|_| ()))
    }

    /// How a container's files differ from its image.
    pub(super) async fn guest_changes(
        &self,
        container: &Arc<Container>,
    ) -> Result<Vec<image::Change>, Error> {
        let files = self.files_of(container).await?;
        let (ours, theirs) = stream()?;
        let reading = async move {
            let mut json = Vec::new();
            // It goes with its end: a guest that has more to say would wait for somebody to read it.
            let read = ours.take(MOST_CHANGES + 1).read_to_end(&mut json).await;
            read.map_err(|error| Error::system(format!("cannot read the changes: {error}")))?;
            let fits = json.len() as u64 <= MOST_CHANGES;
            Ok(if fits { Sent::All(json) } else { Sent::TooMuch })
        };
        let received = files.receive(FileRequest::Changes { channel: 0 }, theirs, reading).await;
        files.end().await;
        let Sent::All(json) = received? else {
            return Err(Error::system(format!(
                "the machine's list of changes is longer than {MOST_CHANGES} bytes"
            )));
        };
        let changes: Vec<proto::guest::Change> = serde_json::from_slice(&json)
            .map_err(|error| Error::system(format!("the machine's list of changes: {error}")))?;
        let one = |change: proto::guest::Change| {
            let kind = match change.kind {
                0 => image::ChangeKind::Modified,
                1 => image::ChangeKind::Added,
                2 => image::ChangeKind::Deleted,
                other => {
                    return Err(Error::system(format!("the machine has changes of kind {other}")));
                }
            };
            let path = change.path;
            if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
                return Err(Error::system(format!("the machine has changes of {path:?}")));
            }
            Ok(image::Change { path, kind })
        };
        changes.into_iter().map(one).collect()
    }

    /// Makes a layer of what a container has written; `None`: nothing.
    pub(super) async fn guest_layer(
        &self,
        container: &Arc<Container>,
    ) -> Result<Option<image::HeldLayer>, Error> {
        let files = self.files_of(container).await?;
        let (ours, theirs) = stream()?;
        let disk = self.config.container_dir(container.id.as_str()).join(DISK);
        let size =
            std::fs::metadata(disk).map_or(self.config.machines.disk_size, |disk| disk.len());
        let most = size.saturating_mul(TAR_OF_DISK);
        let engine = self.clone();
        let reading = aside(move || {
            let failed = |error| Error::system(format!("cannot receive: {error}"));
            let ours: Blocking = ours.into_std().map_err(failed)?;
            ours.set_nonblocking(false).map_err(failed)?;
            let mut tar = (&ours).take(most);
            let layer = engine.images.layer_from_tar(&mut tar).map_err(crate::from_image);
            if tar.limit() == 0 { Ok(Sent::TooMuch) } else { layer.map(Sent::All) }
        });
        let received = files.receive(FileRequest::Layer { channel: 0 }, theirs, reading).await;
        files.end().await;
        let Sent::All(layer) = received? else {
            return Err(Error::system(format!(
                "the machine sends more than {most} bytes of files, and its disk has {size}"
            )));
        };
        Ok((!layer.is_empty()).then_some(layer))
    }
}

/// Whether nobody reads what is written; reset is a socket that was closed with bytes in it.
fn is_unwanted(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
    matches!(error.kind(), BrokenPipe | ConnectionReset)
}

async fn stat(files: &Files, reference: &str, path: &str) -> Result<PathStat, Error> {
    match files.ask(FileRequest::Stat { path: path.to_owned() }, None).await? {
        // The name is the guest's, and clients may use it as one of theirs.
        Reply::Stat(Some(stat)) if stat.name != "/" && stat.name.contains('/') => Err(
            Error::system(format!("the machine calls {path} {:?}, which is no name", stat.name)),
        ),
        Reply::Stat(Some(stat)) => Ok(PathStat {
            name: stat.name,
            size: stat.size,
            mode: stat.mode,
            mtime: stat.mtime,
            link_target: stat.link_target,
        }),
        Reply::Stat(None) => Err(missing(reference, path)),
        other => Err(Error::system(format!("the monitor answered a path with {other:?}"))),
    }
}

fn missing(reference: &str, path: &str) -> Error {
    Error::not_found(format!("Could not find the file {path} in container {reference}"))
}

fn not_found(error: Error, reference: &str, path: &str) -> Error {
    if error.kind == ErrorKind::NotFound { missing(reference, path) } else { error }
}

/// Has a machine send an archive, which comes out of the stream; then lets go of it.
fn send_out(files: Files, request: FileRequest) -> Result<ByteStream, Error> {
    let (ours, theirs) = stream()?;
    let (sender, receiver) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let copied = copy(ours, sender.clone());
        let (answer, ()) = tokio::join!(files.ask(request, Some(theirs)), copied);
        files.end().await;
        if let Err(error) = answer {
            // Nobody reads any more: then nobody wants to know.
            drop(sender.send(Err(std::io::Error::other(error.message))).await);
        }
    });
    Ok(receiver)
}

async fn copy(mut from: UnixStream, to: mpsc::Sender<std::io::Result<Bytes>>) {
    let mut piece = vec![0; PIECE];
    loop {
        let sent = match tokio::time::timeout(STUCK, from.read(&mut piece)).await {
            Ok(Ok(count @ 1..)) => to.send(Ok(Bytes::copy_from_slice(&piece[..count]))).await,
            Ok(_) => return,
            Err(_) => {
                drop(to.send(Err(std::io::Error::other(ENDLESS))).await);
                return;
            }
        };
        if sent.is_err() {
            // Dropping our end tells the machine that nobody reads.
            return;
        }
    }
}
