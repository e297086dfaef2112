//! Reading the logs that monitors write: from any record on, backwards for a tail, and following
//! what is written now through rotation.
//!
//! A monitor closes its log before it tells that its container has ended. So whoever has seen the
//! end, and reads once more, has read everything.

mod choose;
mod files;
mod follow;
mod past;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proto::launch::{Log, LogFile};
use proto::log::Format;
use tokio::sync::mpsc;
use types::{Error, Timestamp};

use super::{Container, start};
use crate::{Engine, aside};

use follow::watch;

pub use proto::log::Stream;

/// Bytes read at once.
const CHUNK: usize = 64 << 10;
/// Lines that wait for a slow reader.
const QUEUE: usize = 64;
/// How often a log is looked at that cannot be watched.
const LOOK: Duration = Duration::from_millis(200);

/// Which lines are wanted, and how.
#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    /// Go on with what is written later, until the container ends.
    pub follow: bool,
    /// Lines of standard output.
    pub stdout: bool,
    /// Lines of standard error.
    pub stderr: bool,
    /// From then on; never: from the beginning.
    pub since: Timestamp,
    /// Until then; never: to the end.
    pub until: Timestamp,
    /// With the time in front of each.
    pub timestamps: bool,
    /// Only the last so many.
    pub tail: Option<u64>,
    /// With attributes in front of each.
    pub details: bool,
}

/// A piece of a log, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Which stream it was written to.
    pub stream: Stream,
    /// The bytes, with time and attributes if they were wanted.
    pub bytes: Bytes,
}

/// A log that is being read.
#[derive(Debug)]
pub struct LogReader {
    /// The process has a terminal: send the bytes without frames.
    pub tty: bool,
    /// The lines; closed at the end.
    pub receiver: mpsc::Receiver<Result<LogLine, Error>>,
}

impl Engine {
    /// Reads a container's log.
    ///
    /// # Errors
    /// [`types::ErrorKind::NotImplemented`] when the driver keeps none;
    /// [`types::ErrorKind::Invalid`] when no stream is wanted.
    pub fn logs(&self, reference: &str, options: LogOptions) -> Result<LogReader, Error> {
        let container = self.containers.find(reference)?;
        if !options.stdout && !options.stderr {
            return Err(Error::invalid("Bad parameters: you must choose at least one stream"));
        }
        let (file, format) = self.readable_log(&container)?;
        let tty = container.record().config.tty;
        // Whoever has an answer may remove the container before anything of its log has been read.
        let early = std::fs::File::open(&file.path).ok();
        let (sender, receiver) = mpsc::channel(QUEUE);
        let log = Kept { file, format, early };
        tokio::spawn(read(container, log, options, sender));
        Ok(LogReader { tty, receiver })
    }

    /// Whether there is a log that can be read.
    ///
    /// # Errors
    /// [`types::ErrorKind::NotImplemented`] when the driver keeps none.
    pub fn keeps_logs(&self, reference: &str) -> Result<(), Error> {
        self.readable_log(&*self.containers.find(reference)?).map(drop)
    }

    /// A container's log, if it can be read.
    fn readable_log(&self, container: &Container) -> Result<(LogFile, Format), Error> {
        let directory = self.config.container_dir(container.id.as_str());
        match start::log(&directory, &container.record()) {
            Log::None => {
                Err(Error::not_implemented("configured logging driver does not support reading"))
            }
            Log::JsonFile(file) => Ok((file, Format::Json)),
            Log::Local(file) => Ok((file, Format::Local)),
        }
    }

    /// Where a container's log is, for inspect.
    pub(crate) fn log_path(&self, record: &crate::Record) -> String {
        let directory = self.config.container_dir(record.id.as_str());
        match start::log(&directory, record) {
            Log::JsonFile(file) => file.path.to_string_lossy().into_owned(),
            // Docker hides where the other drivers keep theirs.
            Log::Local(_) | Log::None => String::new(),
        }
    }
}

/// A log, and its current file as it was when it was asked for.
struct Kept {
    file: LogFile,
    format: Format,
    early: Option<std::fs::File>,
}

type Lines = mpsc::Sender<Result<LogLine, Error>>;

async fn read(container: Arc<Container>, log: Kept, options: LogOptions, sender: Lines) {
    if let Err(error) = read_all(&container, log, options, &sender).await {
        let error = Error::system(format!("cannot read the log: {error}"));
        // Nobody reads any more: fine.
        drop(sender.send(Err(error)).await);
    }
}

/// Sends the past, and with `follow` what comes, until there is nothing more or nobody reads.
async fn read_all(
    container: &Container,
    Kept { file, format, early }: Kept,
    options: LogOptions,
    sender: &Lines,
) -> std::io::Result<()> {
    // Watched before the past is read, so that nothing falls in between.
    if options.follow {
        container.settled().await;
    }
    let follow = options.follow && container.live().is_some();
    let mut progress = container.progress.subscribe();
    let ends = progress.borrow().ends;
    let watch = if follow { watch(&file.path) } else { None };
    let past = {
        let (path, options, sender) = (file.path.clone(), options.clone(), sender.clone());
        aside(move || Ok(past::past(&path, file.max_file, format, early, &options, &sender)))
    };
    let Some(mut open) = past.await.map_err(|error| std::io::Error::other(error.message))?? else {
        return Ok(());
    };
    let mut last = !follow;
    loop {
        let ended = progress.borrow_and_update().ends > ends || container.live().is_none();
        last |= ended;
        if follow && !open.forward(&file, &options, sender).await? || last {
            return Ok(());
        }
        tokio::select! {
            () = follow::change(watch.as_ref()) => {}
            changed = progress.changed() => last |= changed.is_err(),
            () = sender.closed() => return Ok(()),
            // What has been written by then is looked for once more.
            () = sleep_until(options.until) => last = true,
        }
    }
}

/// Sleeps until a moment; for ever if there is none.
async fn sleep_until(time: Timestamp) {
    if time.is_never() {
        return std::future::pending().await;
    }
    let left = u64::try_from(time.0 - Timestamp::now().0).unwrap_or(0);
    tokio::time::sleep(Duration::from_nanos(left)).await;
}

#[cfg(test)]
mod tests;
