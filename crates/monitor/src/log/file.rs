//! The file a log is in, and its predecessors: `PATH.1` is the last one, `PATH.2` the one before.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use proto::launch::LogFile as Config;
use proto::log::{Format, Tail};

/// How long the end of a log waits for the compression of its last predecessor.
const COMPRESSION_LIMIT: Duration = Duration::from_secs(5);

/// The file that is written now.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    max_size: Option<u64>,
    max_file: u32,
    compress: bool,
    file: File,
    size: u64,
    /// A child of ours that compresses `PATH.1`.
    compressing: Option<i32>,
}

impl LogFile {
    /// Opens the file, and cuts off a torn record that a crash has left at its end: what is
    /// appended would be taken for its rest.
    pub(super) fn open(config: &Config, format: Format) -> io::Result<Self> {
        let mut file = open(&config.path)?;
        let length = file.metadata()?.len();
        let mut tail = Tail::new(format, length, 0);
        while let Some(range) = tail.want() {
            let mut block = Vec::new();
            file.seek(SeekFrom::Start(range.start))?;
            (&file).take(range.end - range.start).read_to_end(&mut block)?;
            tail.feed(&block);
        }
        if tail.end() < length {
            file.set_len(tail.end())?;
        }
        Ok(Self {
            path: config.path.clone(),
            max_size: config.max_size,
            max_file: config.max_file,
            compress: config.compress,
            file,
            size: tail.end(),
            compressing: None,
        })
    }

    /// Whether the file will have reached its size when `more` bytes are in it.
    pub(super) fn is_full_with(&self, more: usize) -> bool {
        self.max_size.is_some_and(|max| self.size + more as u64 >= max)
    }

    /// Appends all of it or nothing.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match sys::stream::write(&self.file, rest) {
                Ok(0) => return self.undo(io::ErrorKind::WriteZero.into()),
                Ok(count) => rest = &rest[count..],
                Err(error) => return self.undo(error),
            }
        }
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Takes half a record back. Needs no room on the disk.
    fn undo(&mut self, error: io::Error) -> io::Result<()> {
        self.file.set_len(self.size)?;
        Err(error)
    }

    /// Begins a new file, if the compression of the last one is done; otherwise this one grows on.
    /// When something fails the log goes on in the file that is open.
    pub(super) fn rotate(&mut self) {
        if self.compressing.is_some() {
            return;
        }
        if self.max_file < 2 {
            // There is no other file: begin this one again.
            if self.file.set_len(0).is_ok() {
                self.size = 0;
            }
            return;
        }
        for step in shifts(&self.path, self.max_file) {
            // ENOENT: there have not been so many yet.
            let _ = match step {
                Shift::Remove(path) => std::fs::remove_file(path),
                Shift::Rename(from, to) => std::fs::rename(from, to),
            };
        }
        let rotated = numbered(&self.path, 1, false);
        if std::fs::rename(&self.path, &rotated).is_err() {
            return;
        }
        match open(&self.path) {
            Ok(file) => {
                self.file = file;
                self.size = 0;
                if self.compress {
                    self.start_compressing(&rotated);
                }
            }
            Err(_) => {
                // The open one is to be found under its own name again.
                let _ = std::fs::rename(&rotated, &self.path);
            }
        }
    }

    /// Compresses in a child of its own: a hundred milliseconds and a few hundred kilobytes that
    /// neither the container nor this process shall feel.
    fn start_compressing(&mut self, rotated: &Path) {
        match sys::role::fork() {
            Ok(Some(pid)) => self.compressing = Some(pid),
            Ok(None) => {
                // Whoever waits for the end of one of the monitor's sockets must not wait for us.
                let _ = sys::role::close_others(&[]);
                let done = std::panic::catch_unwind(|| compress(rotated)).is_ok_and(|r| r.is_ok());
                sys::process::exit_now(i32::from(!done));
            }
            // It stays as it is, which readers understand as well.
            Err(_) => {}
        }
    }

    /// Hears of a child's end.
    pub(super) fn child_ended(&mut self, pid: i32) {
        if self.compressing == Some(pid) {
            self.compressing = None;
        }
    }

    /// Ends the log. Waits a little for a compression, so that whoever removes or opens the log
    /// next finds it at rest.
    pub(super) fn close(self) {
        let Some(pid) = self.compressing else { return };
        let Ok(pidfd) = sys::process::pidfd_open(pid) else { return };
        let _ = sys::poll::readable_within(&pidfd, COMPRESSION_LIMIT);
        let _ = sys::process::wait_pidfd_nohang(&pidfd);
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o640);
    options.open(path)
}

/// `PATH.N` or `PATH.N.gz`.
fn numbered(path: &Path, number: u32, compressed: bool) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}{}", if compressed { ".gz" } else { "" }));
    name.into()
}

/// A step of making room for a new `PATH.1`.
#[derive(Debug, PartialEq, Eq)]
enum Shift {
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

/// What to do, oldest first. Compressed ones and others may be mixed, after the option changed or
/// a compression failed.
fn shifts(path: &Path, max_file: u32) -> Vec<Shift> {
    let mut steps = Vec::new();
    let oldest = max_file - 1;
    for compressed in [false, true] {
        steps.push(Shift::Remove(numbered(path, oldest, compressed)));
    }
    for number in (1..oldest).rev() {
        for compressed in [false, true] {
            let to = numbered(path, number + 1, compressed);
            steps.push(Shift::Rename(numbered(path, number, compressed), to));
        }
    }
    steps
}

/// Replaces a file by its compressed self. No fsync: a log that a crash of the machine tears is
/// torn anyway, and readers cope.
fn compress(path: &Path) -> io::Result<()> {
    let mut source = File::open(path)?;
    let mut target = path.as_os_str().to_owned();
    target.push(".gz");
    let mut unfinished = target.clone();
    unfinished.push(".tmp");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o640);
    let written = options.open(&unfinished).and_then(|file| {
        let mut encoder = GzEncoder::new(file, Compression::default());
        io::copy(&mut source, &mut encoder)?;
        encoder.finish()
    });
    let replaced = written.and_then(|_| std::fs::rename(&unfinished, &target));
    match replaced {
        Ok(()) => std::fs::remove_file(path),
        Err(error) => {
            let _ = std::fs::remove_file(&unfinished);
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_and_the_others_move_up() {
        let steps = shifts(Path::new("/l/x.log"), 3);
        let path = |text: &str| PathBuf::from(text);
        assert_eq!(
            steps,
            [
                Shift::Remove(path("/l/x.log.2")),
                Shift::Remove(path("/l/x.log.2.gz")),
                Shift::Rename(path("/l/x.log.1"), path("/l/x.log.2")),
                Shift::Rename(path("/l/x.log.1.gz"), path("/l/x.log.2.gz")),
            ]
        );
        assert_eq!(shifts(Path::new("x"), 2).len(), 2);
    }
}
