//! Files in and out of containers: cp, diff, export.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use image::archive::{IdMap, PathStat, PutOptions};
use oci_spec::runtime::LinuxIdMapping;
use tokio::sync::{OwnedMutexGuard, mpsc};
use types::Error;
use types::state::Status;

use super::{Container, assembled, volumes};
use crate::record::{IdRange, Record};
use crate::spec::users;
use crate::{ByteStream, Engine, aside, blocking, from_image, to_the_end};

/// Pieces of an outgoing archive that wait for a slow reader.
const QUEUE: usize = 8;
/// Bytes of such a piece.
const PIECE: usize = 64 << 10;

/// How files are put into a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArchiveOptions {
    /// Fail where a directory would replace a file, or a file a directory.
    pub no_overwrite_dir_non_dir: bool,
    /// Give them to the container's user instead of the archive's, if it has one of its own.
    pub copy_uid_gid: bool,
}

/// Where a path of a container is found.
struct Place {
    root: OwnedFd,
    path: String,
    ids: IdMap,
    /// Keeps a container that does not run from being started, and others from its files: there
    /// must never be two mounts that can be written to of one upper directory.
    _operation: Option<OwnedMutexGuard<()>>,
}

/// How much of a container that does not run is put together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// What its processes would see.
    Mounts,
    /// Only its root file system.
    Root,
}

/// Longer nobody waits for the end of a container whose first process has ended to be noted.
const NOTED: Duration = Duration::from_secs(10);

impl Engine {
    /// The directory that is the container's root, and the path in it.
    ///
    /// In a running container, its root as its processes see it; otherwise the same, put together.
    async fn place(
        &self,
        container: &Arc<Container>,
        path: &str,
        extent: Extent,
    ) -> Result<Place, Error> {
        let path = path.to_owned();
        loop {
            // Counted before looking: an end after this moment is seen.
            let ends = container.progress.borrow().ends;
            let (pid, remapped) = {
                let record = container.record();
                (record.state.pid, record.remapped)
            };
            if pid != 0 {
                let open = blocking(move || live_root(pid)).await;
                let mut progress = container.progress.subscribe();
                let noted = progress.wait_for(|now| now.ends > ends || now.removed);
                match open {
                    Ok(root) => {
                        return Ok(Place { root, path, ids: id_map(remapped), _operation: None });
                    }
                    // It has just ended, and soon is a container that does not run.
                    Err(error) => {
                        tokio::time::timeout(NOTED, noted).await.map_err(|_| error)?.ok();
                    }
                }
            } else {
                let operation = Arc::clone(&container.operation).lock_owned().await;
                container.still_there()?;
                if container.record().state.pid != 0 {
                    continue;
                }
                let (engine, subject) = (self.clone(), Arc::clone(container));
                // The guard goes along: the work goes on when nobody waits for it any more.
                return blocking(move || {
                    let root = engine.still_root(&subject, extent)?;
                    let _operation = Some(operation);
                    Ok(Place { root, path, ids: IdMap::default(), _operation })
                })
                .await;
            }
        }
    }

    /// The root of a container that does not run. Blocks; the caller holds its `operation`.
    fn still_root(&self, container: &Container, extent: Extent) -> Result<OwnedFd, Error> {
        let record = container.record().clone();
        let root = self.bare_root(&record)?;
        if extent == Extent::Root {
            return Ok(root);
        }
        let directory = self.config.container_dir(record.id.as_str());
        assembled::assemble(root, &record, &directory).map_err(|error| {
            Error::system(format!("cannot put the container's mounts in their places: {error}"))
        })
    }

    /// The root file system of a container that does not run, without anything mounted in it.
    fn bare_root(&self, record: &Record) -> Result<OwnedFd, Error> {
        if record.host.rootfs.is_empty() {
            return self
                .images
                .mount(&record.id, image::MountOptions::default())
                .map_err(from_image);
        }
        let path = Path::new(&record.host.rootfs);
        // A copy of the mount: what is put into it must not show on the host.
        let tree = sys::fs::open_host(path, sys::fs::OFlags::PATH)
            .and_then(|root| sys::mount::clone_tree(root, true));
        tree.map_err(|error| Error::system(format!("cannot open {}: {error}", path.display())))
    }

    /// What is at a path of a container.
    ///
    /// # Errors
    /// Not found.
    pub async fn archive_stat(&self, reference: &str, path: &str) -> Result<PathStat, Error> {
        let container = self.containers.find(reference)?;
        container.refuse_whole("reading or writing its files from outside")?;
        let (engine, path) = (self.clone(), path.to_owned());
        let subject = reference.to_owned();
        if container.record().is_machine() {
            let stat = async move { engine.guest_stat(&container, &subject, &path).await };
            return to_the_end(stat).await;
        }
        let place = self.place(&container, &path, Extent::Mounts).await?;
        blocking(move || {
            image::archive::stat(place.root.as_fd(), &place.path)
                .map_err(|error| not_found(error, &subject, &place.path))
        })
        .await
    }

    /// A tar of what is at a path of a container.
    ///
    /// # Errors
    /// Not found.
    pub async fn archive_get(
        &self,
        reference: &str,
        path: &str,
    ) -> Result<(PathStat, ByteStream), Error> {
        let container = self.containers.find(reference)?;
        container.refuse_whole("reading or writing its files from outside")?;
        let (engine, path) = (self.clone(), path.to_owned());
        let (subject, name) = (Arc::clone(&container), reference.to_owned());
        if container.record().is_machine() {
            let got = async move { engine.guest_get(&subject, &name, &path).await };
            let got = to_the_end(got).await?;
            self.tell_container(&container, "archive-path", &[]);
            return Ok(got);
        }
        let place = self.place(&container, &path, Extent::Mounts).await?;
        let (stat, place) = blocking(move || {
            let stat = image::archive::stat(place.root.as_fd(), &place.path)
                .map_err(|error| not_found(error, &name, &place.path))?;
            Ok((stat, place))
        })
        .await?;
        self.tell_container(&container, "archive-path", &[]);
        let stream = produce(move |output| {
            // With all that it holds.
            let place = place;
            image::archive::get(place.root.as_fd(), &place.path, &place.ids, output)
                .map_err(from_image)
        });
        Ok((stat, stream))
    }

    /// Unpacks a tar into a directory of a container.
    ///
    /// # Errors
    /// Not found; [`types::ErrorKind::Invalid`] for what cannot be unpacked there.
    pub async fn archive_put(
        &self,
        reference: &str,
        path: &str,
        options: ArchiveOptions,
        mut input: Box<dyn Read + Send>,
    ) -> Result<(), Error> {
        let container = self.containers.find(reference)?;
        container.refuse_whole("reading or writing its files from outside")?;
        let read_only = {
            let record = container.record();
            let clean = volumes::clean(path).unwrap_or_else(|_| "/".to_owned());
            let mount = record
                .mounts
                .iter()
                .filter(|mount| Path::new(&clean).starts_with(&mount.destination))
                .max_by_key(|mount| mount.destination.len());
            match mount {
                Some(mount) if !mount.rw => Some("mounted volume is marked read-only"),
                None if record.host.readonly_rootfs => Some("container rootfs is marked read-only"),
                _ => None,
            }
        };
        if let Some(why) = read_only {
            return Err(Error::forbidden(why));
        }
        let (engine, path) = (self.clone(), path.to_owned());
        let (subject, name) = (Arc::clone(&container), reference.to_owned());
        if container.record().is_machine() {
            let put = async move { engine.guest_put(&subject, &name, &path, options, input).await };
            to_the_end(put).await?;
            self.tell_container(&container, "extract-to-dir", &[]);
            return Ok(());
        }
        let place = self.place(&container, &path, Extent::Mounts).await?;
        aside(move || {
            let user = subject.record().config.user.clone();
            let owner = if options.copy_uid_gid && !user.is_empty() {
                let user = users::resolve(place.root.as_fd(), &user, &[])?;
                Some((user.uid, user.gid))
            } else {
                None
            };
            let put = PutOptions {
                no_overwrite_dir_non_dir: options.no_overwrite_dir_non_dir,
                owner,
                top: false,
            };
            image::archive::put(place.root.as_fd(), &place.path, &mut *input, &put, &place.ids)
                .map_err(|error| not_found(error, &name, &place.path))
        })
        .await?;
        self.tell_container(&container, "extract-to-dir", &[]);
        Ok(())
    }

    /// How a container's files differ from its image.
    ///
    /// # Errors
    /// Not found; those of reading the files.
    pub async fn changes(&self, reference: &str) -> Result<Vec<image::Change>, Error> {
        let container = self.containers.find(reference)?;
        container.refuse_whole("reading or writing its files from outside")?;
        if !container.record().host.rootfs.is_empty() {
            return Err(Error::invalid(
                "a container whose root is a plain directory has no image to differ from",
            ));
        }
        let engine = self.clone();
        if container.record().is_machine() {
            return to_the_end(async move { engine.guest_changes(&container).await }).await;
        }
        blocking(move || engine.images.changes(&container.id).map_err(from_image)).await
    }

    /// A tar of a container's whole file system, volumes left out.
    ///
    /// # Errors
    /// Not found.
    pub async fn export(&self, reference: &str) -> Result<ByteStream, Error> {
        let container = self.containers.find(reference)?;
        container.refuse_whole("reading or writing its files from outside")?;
        if container.record().state.status == Status::Removing {
            return Err(Error::conflict(format!(
                "You cannot export container {} which is being removed",
                container.id
            )));
        }
        let engine = self.clone();
        let subject = Arc::clone(&container);
        if container.record().is_machine() {
            let stream = to_the_end(async move { engine.guest_export(&subject).await }).await?;
            self.tell_container(&container, "export", &[]);
            return Ok(stream);
        }
        let place = self.place(&container, "/", Extent::Root).await?;
        self.tell_container(&container, "export", &[]);
        Ok(produce(move |output| {
            let place = place;
            image::archive::export(place.root.as_fd(), &place.ids, output).map_err(from_image)
        }))
    }
}

/// The root of a running container, as its first process sees it.
fn live_root(pid: i32) -> Result<OwnedFd, Error> {
    let path = Path::new("/proc").join(pid.to_string()).join("root");
    let root = sys::fs::Root::open_host(&path);
    let failed = |error| Error::system(format!("cannot open {}: {error}", path.display()));
    root.map(sys::fs::Root::into_fd).map_err(failed)
}

/// The owners of files in a running container, as the host sees them.
fn id_map(remapped: Option<IdRange>) -> IdMap {
    let (uids, gids) = crate::spec::mappings(remapped);
    let triples = |mappings: Option<Vec<LinuxIdMapping>>| {
        let one = |m: &LinuxIdMapping| (m.container_id(), m.host_id(), m.size());
        mappings.iter().flatten().map(one).collect()
    };
    IdMap { uids: triples(uids), gids: triples(gids) }
}

/// Docker's words for a path that is not there.
fn not_found(error: image::Error, container: &str, path: &str) -> Error {
    match error {
        image::Error::NoSuchPath(_) => {
            Error::not_found(format!("Could not find the file {path} in container {container}"))
        }
        other => from_image(other),
    }
}

/// Runs a writer on a thread of its own; what it writes comes out of the stream.
pub(crate) fn produce(
    work: impl FnOnce(&mut dyn Write) -> Result<(), Error> + Send + 'static,
) -> ByteStream {
    let (sender, receiver) = mpsc::channel(QUEUE);
    tokio::spawn(aside(move || {
        let mut output = io::BufWriter::with_capacity(PIECE, Pieces(sender.clone()));
        let outcome = work(&mut output).and_then(|()| {
            output.flush().map_err(|error| Error::system(format!("cannot send: {error}")))
        });
        if let Err(error) = outcome {
            // Nobody reads any more: then nobody wants to know.
            drop(sender.blocking_send(Err(io::Error::other(error.message))));
        }
        Ok(())
    }));
    receiver
}

/// A writer into a stream.
struct Pieces(mpsc::Sender<io::Result<Bytes>>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .blocking_send(Ok(Bytes::copy_from_slice(bytes)))
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
