//! What is written to a log now, through its rotation.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use proto::launch::LogFile;
use proto::log::{Decoder, Format};
use tokio::io::unix::AsyncFd;
use types::Timestamp;

use super::choose::{Choice, choose};
use super::files::{Files, Rotated};
use super::past::next;
use super::{CHUNK, LOOK, Lines, LogOptions};

#[derive(Debug)]
pub(super) struct Watch(sys::inotify::Inotify);

impl std::os::fd::AsRawFd for Watch {
    fn as_raw_fd(&self) -> i32 {
        self.0.as_fd().as_raw_fd()
    }
}

/// Watches the directory, which sees writes and rotation. `None` when there are too many watches
/// already (fs.inotify.max_user_instances, 128 by default).
pub(super) fn watch(path: &Path) -> Option<AsyncFd<Watch>> {
    use sys::inotify::WatchFlags;
    let watch = sys::inotify::Inotify::new().ok()?;
    let what = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVE;
    watch.watch(path.parent()?, what).ok()?;
    // `register`, which replaces `new`, is unsafe; what it asks for holds: the watch owns its fd.
    #[allow(deprecated, reason = "the replacement is unsafe, which only `sys` may be")]
    AsyncFd::new(Watch(watch)).ok()
}

/// Waits until something has happened to the log, or may have.
pub(super) async fn change(watch: Option<&AsyncFd<Watch>>) {
    let Some(watch) = watch else { return tokio::time::sleep(LOOK).await };
    match watch.readable().await {
        Ok(mut ready) if watch.get_ref().0.drain(|_| {}).is_ok() => ready.clear_ready(),
        _ => tokio::time::sleep(LOOK).await,
    }
}

/// The file that is written now, and how far it has been read.
pub(super) struct Open {
    pub(super) file: Option<File>,
    pub(super) inode: Option<u64>,
    pub(super) offset: u64,
    pub(super) decoder: Decoder,
    pub(super) format: Format,
    /// The time of the last entry.
    pub(super) last: Timestamp,
}

impl Open {
    /// Sends everything that has been written since, over to the next files after rotation; says
    /// whether to go on.
    pub(super) async fn forward(
        &mut self,
        log: &LogFile,
        options: &LogOptions,
        sender: &Lines,
    ) -> io::Result<bool> {
        loop {
            // First whether it was rotated, then the rest of it: what is written in between is
            // in one of both.
            let rotated = self.rotated(&log.path)?;
            if !self.drain(options, sender).await? {
                return Ok(false);
            }
            if !rotated {
                return Ok(true);
            }
            let Files { rotated, current } =
                Files::open(&log.path, log.max_file, self.format, self.inode)?;
            if !self.catch_up(rotated, options, sender).await? {
                return Ok(false);
            }
            let Some(file) = current else { return Ok(true) };
            self.inode = Some(file.metadata()?.ino());
            self.file = Some(file);
            self.offset = 0;
            self.decoder = Decoder::new(self.format);
        }
    }

    /// Sends what is in files that came and were rotated since; nearly always there is none.
    async fn catch_up(
        &mut self,
        rotated: Vec<Rotated>,
        options: &LogOptions,
        sender: &Lines,
    ) -> io::Result<bool> {
        // If it is not there it has been compressed, or removed; then it is known by the time.
        let known = rotated.iter().position(|file| Some(file.inode) == self.inode);
        let newer = known.unwrap_or(rotated.len());
        let read = if known.is_some() { Timestamp::NEVER } else { self.last };
        for file in rotated.into_iter().take(newer).rev() {
            let mut bytes = Vec::new();
            file.reader()?.read_to_end(&mut bytes)?;
            let mut decoder = Decoder::new(self.format);
            decoder.push(&bytes);
            if !self.send(&mut decoder, read, options, sender).await {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn rotated(&self, path: &Path) -> io::Result<bool> {
        let Some(inode) = self.inode else { return Ok(true) };
        match std::fs::metadata(path) {
            Ok(now) => Ok(now.ino() != inode),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn drain(&mut self, options: &LogOptions, sender: &Lines) -> io::Result<bool> {
        let Some(file) = &self.file else { return Ok(true) };
        if file.metadata()?.len() < self.offset {
            // Somebody cut the file: begin again.
            self.offset = 0;
            self.decoder.clear();
        }
        let mut chunk = vec![0; CHUNK];
        loop {
            let Some(file) = &self.file else { return Ok(true) };
            let count = file.read_at(&mut chunk, self.offset)?;
            if count == 0 {
                return Ok(true);
            }
            self.offset += count as u64;
            let mut decoder = std::mem::replace(&mut self.decoder, Decoder::new(self.format));
            decoder.push(&chunk[..count]);
            let more = self.send(&mut decoder, Timestamp::NEVER, options, sender).await;
            self.decoder = decoder;
            if !more {
                return Ok(false);
            }
        }
    }

    /// Sends the entries that are whole and later than `read`; says whether more are wanted.
    async fn send(
        &mut self,
        decoder: &mut Decoder,
        read: Timestamp,
        options: &LogOptions,
        sender: &Lines,
    ) -> bool {
        while let Some(entry) = next(decoder) {
            if !read.is_never() && entry.time <= read {
                continue;
            }
            self.last = entry.time;
            match choose(entry, options) {
                Choice::Send(line) => {
                    if sender.send(Ok(line)).await.is_err() {
                        return false;
                    }
                }
                Choice::Skip => {}
                Choice::Stop => return false,
            }
        }
        true
    }
}
