//! A container's log: output cut into records, written to a file that is rotated.
//!
//! Nothing here blocks the container: what cannot be written (a full disk) is dropped and
//! counted, and the next record is tried again. A record is written whole or not at all.

mod file;
mod split;

use std::io;
use std::path::PathBuf;

use proto::launch::Log as Config;
use proto::log::{Encoder, Format, MAX_RECORD, Record, Stream};
use types::Timestamp;

use file::LogFile;
use split::Splitter;

/// Encoded records are written when there are so many bytes of them.
const BATCH: usize = 32 << 10;

/// Why a log cannot be begun.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the log {path}: {source}", path = path.display())]
pub(crate) struct OpenError {
    path: PathBuf,
    source: io::Error,
}

/// A container's log.
#[derive(Debug, Default)]
pub(crate) struct Log {
    sink: Option<Sink>,
    stdout: Splitter,
    stderr: Splitter,
}

#[derive(Debug)]
struct Sink {
    file: LogFile,
    encoder: Encoder,
    /// Records that are not in the file yet, and how many bytes of output they stand for.
    batch: Vec<u8>,
    output: usize,
    dropped: usize,
}

impl Log {
    /// Opens the log for appending.
    pub(crate) fn open(config: &Config) -> Result<Self, OpenError> {
        let (format, file) = match config {
            Config::None => return Ok(Self::default()),
            Config::JsonFile(file) => (Format::Json, file),
            Config::Local(file) => (Format::Local, file),
        };
        let encoder = Encoder::new(format, &file.attributes);
        let file = LogFile::open(file, format)
            .map_err(|source| OpenError { path: file.path.clone(), source })?;
        let sink = Sink { file, encoder, batch: Vec::new(), output: 0, dropped: 0 };
        Ok(Self { sink: Some(sink), ..Self::default() })
    }

    /// Takes output. Returns how many bytes of output could not be kept.
    pub(crate) fn write(&mut self, stream: Stream, bytes: &[u8]) -> usize {
        let Some(sink) = &mut self.sink else { return 0 };
        let splitter = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        splitter.push(bytes, |text, partial| sink.record(stream, text, partial));
        sink.flush();
        std::mem::take(&mut sink.dropped)
    }

    /// A stream has ended: its last line may lack a newline.
    pub(crate) fn end(&mut self, stream: Stream) -> usize {
        let Some(sink) = &mut self.sink else { return 0 };
        let splitter = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        splitter.finish(|text, partial| sink.record(stream, text, partial));
        sink.flush();
        std::mem::take(&mut sink.dropped)
    }

    /// Ends both streams and closes the file. Returns how many bytes could not be kept.
    pub(crate) fn close(&mut self) -> usize {
        let dropped = self.end(Stream::Stdout) + self.end(Stream::Stderr);
        if let Some(sink) = self.sink.take() {
            sink.file.close();
        }
        dropped
    }

    /// Gives back memory that is not needed now.
    pub(crate) fn release(&mut self) {
        if let Some(sink) = &mut self.sink {
            sink.batch = Vec::new();
        }
    }

    /// Hears of a child's end: it may have been compressing.
    pub(crate) fn child_ended(&mut self, pid: i32) {
        if let Some(sink) = &mut self.sink {
            sink.file.child_ended(pid);
        }
    }
}

impl Sink {
    fn record(&mut self, stream: Stream, text: &[u8], partial: bool) {
        if self.file.is_full_with(self.batch.len()) {
            self.flush();
            self.file.rotate();
        }
        let record = Record { time: Timestamp::now(), stream, text, partial };
        debug_assert!(text.len() < MAX_RECORD);
        self.encoder.encode(&record, &mut self.batch);
        self.output += text.len() + usize::from(!partial);
        if self.batch.len() >= BATCH {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if !self.batch.is_empty() && self.file.append(&self.batch).is_err() {
            self.dropped += self.output;
        }
        self.batch.clear();
        self.output = 0;
    }
}

#[cfg(test)]
mod tests;
