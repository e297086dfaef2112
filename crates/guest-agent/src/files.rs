//! Files in and out of the container. Each request is done by a process of its own, so that the
//! agent goes on and a tar that never ends holds up nobody.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use image::archive::{self, IdMap, PutOptions};
use proto::guest::{Change, Failure, FileRequest, FileStat, Reply};
use types::Error;

use crate::agent::{Agent, Fatal, failure as plain};
use crate::container::identify;

/// An outcome is a sentence or a few numbers.
const MOST_OUTCOME: u64 = 1 << 20;

/// A process that reads or writes files.
#[derive(Debug)]
pub(crate) struct Job {
    /// The number of its request.
    pub(crate) number: u32,
    pub(crate) pid: i32,
    /// Where it says how it went; its end is the end of the job.
    pub(crate) outcome: OwnedFd,
    said: Vec<u8>,
}

/// Where the files are.
struct Place {
    root: PathBuf,
    layers: Option<(PathBuf, PathBuf)>,
}

impl Agent {
    /// Begins with a request; the answer comes when it has been done.
    pub(crate) fn files(
        &mut self,
        number: u32,
        request: FileRequest,
    ) -> Option<Result<Reply, Failure>> {
        match self.begin_job(number, request) {
            Ok(()) => None,
            Err(error) => Some(Err(plain(error))),
        }
    }

    fn begin_job(&mut self, number: u32, request: FileRequest) -> Result<(), Error> {
        let place = self.place(&request)?;
        let failed = |error: io::Error| Error::system(format!("cannot begin: {error}"));
        let (outcome, says) = sys::stream::pipe().map_err(failed)?;
        let data = match request.channel() {
            None => None,
            Some(channel) => {
                let (reader, writer) = sys::stream::pipe().map_err(failed)?;
                Some(if matches!(request, FileRequest::Put { .. }) {
                    self.link.pour(channel, writer).map_err(failed)?;
                    reader
                } else {
                    self.link.draw(channel, reader).map_err(failed)?;
                    writer
                })
            }
        };
        match sys::role::fork() {
            Ok(Some(pid)) => {
                sys::stream::set_nonblocking(&outcome).map_err(failed)?;
                self.jobs.push(Job { number, pid, outcome, said: Vec::new() });
                Ok(())
            }
            Ok(None) => {
                // In the child: what it does not need would be kept open by it.
                let keep: Vec<_> = data.iter().chain([&says]).map(AsFd::as_fd).collect();
                let _ = sys::role::close_others(&keep);
                let result = work(&request, &place, data.as_ref());
                let said = serde_json::to_vec(&result).unwrap_or_default();
                let all = write_all(&says, &said);
                sys::process::exit_now(i32::from(all.is_err()))
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn place(&self, request: &FileRequest) -> Result<Place, Error> {
        let root = self.root.as_ref();
        let root = root.ok_or_else(|| Error::conflict("the machine has no root file system"))?;
        let bare = matches!(
            request,
            FileRequest::Export { .. } | FileRequest::Changes { .. } | FileRequest::Layer { .. }
        );
        let layers = match request {
            FileRequest::Changes { .. } | FileRequest::Layer { .. } => {
                Some(root.upper_and_below().map_err(|error| {
                    Error::system(format!("the container's layers cannot be told apart: {error}"))
                })?)
            }
            _ => None,
        };
        let running = self.container.as_ref().filter(|container| container.is_running());
        let root = match running {
            Some(container) if !bare => container.root_path(),
            _ => root.path().to_owned(),
        };
        Ok(Place { root, layers })
    }

    /// Hears what a job has to say.
    pub(crate) fn proceed_with_job(&mut self, number: u32) -> Result<(), Fatal> {
        let Some(at) = self.jobs.iter().position(|job| job.number == number) else {
            return Ok(());
        };
        let job = &mut self.jobs[at];
        let mut buffer = [0; 4096];
        match sys::stream::read_into(&job.outcome, &mut buffer) {
            Ok(count @ 1..) if (job.said.len() as u64) < MOST_OUTCOME => {
                job.said.extend_from_slice(buffer.get(..count).unwrap_or_default());
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            _ => {
                let job = self.jobs.remove(at);
                let result: Result<Reply, Error> = serde_json::from_slice(&job.said)
                    .unwrap_or_else(|_| Err(Error::system("the work on the files was killed")));
                self.reply(number, result.map_err(plain))
            }
        }
    }
}

fn write_all(fd: &OwnedFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = sys::stream::write(fd, bytes)?;
        bytes = bytes.get(count..).unwrap_or_default();
    }
    Ok(())
}

/// Does it.
fn work(request: &FileRequest, place: &Place, data: Option<&OwnedFd>) -> Result<Reply, Error> {
    let failed = |error: io::Error| Error::system(format!("the container's files: {error}"));
    let root = sys::fs::Root::open_host(&place.root).map_err(failed)?;
    let stream = data.map(|fd| fd.try_clone().map(File::from)).transpose().map_err(failed)?;
    let fd = root.as_fd();
    let ids = IdMap::default();
    let stream = || stream.as_ref().ok_or_else(|| Error::invalid("the request has no channel"));
    match request {
        FileRequest::Stat { path } => match archive::stat(fd, path) {
            Ok(stat) => Ok(Reply::Stat(Some(FileStat {
                name: stat.name,
                size: stat.size,
                mode: stat.mode,
                mtime: stat.mtime,
                link_target: stat.link_target,
            }))),
            Err(image::Error::NoSuchPath(_)) => Ok(Reply::Stat(None)),
            Err(error) => Err(of_image(error)),
        },
        FileRequest::Get { path, .. } => {
            write(stream()?, |output| archive::get(fd, path, &ids, output))
        }
        FileRequest::Export { .. } => write(stream()?, |output| archive::export(fd, &ids, output)),
        FileRequest::Put { path, no_overwrite, owner, .. } => {
            let owner = match owner {
                Some(user) => {
                    let mut process = oci_spec::runtime::Process::default();
                    let found = identify(&mut process, &root, user)?;
                    Some((found.uid, found.gid))
                }
                None => None,
            };
            let options = PutOptions { no_overwrite_dir_non_dir: *no_overwrite, owner, top: false };
            let mut input = stream()?;
            archive::put(fd, path, &mut input, &options, &ids).map_err(of_image)?;
            // What follows the tar is read, so that its sender is not told that nobody reads.
            io::copy(&mut input, &mut io::sink()).map_err(failed)?;
            Ok(Reply::Done)
        }
        FileRequest::Changes { .. } | FileRequest::Layer { .. } => {
            let layers = place.layers.as_ref();
            let (upper, below) = layers.ok_or_else(|| Error::system("there are no layers"))?;
            let upper = sys::fs::Root::open_host(upper).map_err(failed)?;
            let below = sys::fs::Root::open_host(below).map_err(failed)?;
            if matches!(request, FileRequest::Layer { .. }) {
                return write(stream()?, |output| {
                    archive::layer(upper.as_fd(), below.as_fd(), output)
                });
            }
            let changes = image::changes_between(upper, below).map_err(of_image)?;
            let changes: Vec<Change> = changes
                .into_iter()
                .map(|change| Change { kind: change.kind as u8, path: change.path })
                .collect();
            let mut output = BufWriter::new(stream()?);
            serde_json::to_writer(&mut output, &changes)
                .map_err(|error| Error::system(error.to_string()))?;
            output.flush().map_err(failed)?;
            Ok(Reply::Done)
        }
    }
}

fn write(
    stream: &File,
    work: impl FnOnce(&mut dyn Write) -> image::Result<()>,
) -> Result<Reply, Error> {
    let mut output = BufWriter::with_capacity(64 << 10, stream);
    work(&mut output).map_err(of_image)?;
    let flushed = output.flush();
    flushed.map_err(|error| Error::system(format!("cannot send: {error}")))?;
    Ok(Reply::Done)
}

fn of_image(error: image::Error) -> Error {
    Error { kind: error.kind(), message: error.to_string() }
}
