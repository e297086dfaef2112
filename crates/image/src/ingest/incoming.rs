//! The compressed bytes of a layer on their way to the unpacker, kept as they pass.

use std::io::{self, Read, Write};

use super::LayerStep;
use crate::blobs::Upload;
use crate::error::Error;

/// Often enough for a bar that moves.
const STEP: u64 = 512 << 10;

/// Why reading ended before its time.
#[derive(Debug)]
pub(super) enum Failure {
    /// The sender failed, or ended early.
    Input(io::Error),
    /// The sender goes on behind the announced end.
    TooLong(u64),
    /// What came cannot be written.
    Disk(io::Error),
}

/// First what is here already, then what comes; that is written to the upload.
pub(super) struct Incoming<'a, B> {
    before: B,
    input: &'a mut (dyn Read + Send),
    upload: &'a mut Upload,
    done: u64,
    told: u64,
    total: u64,
    failure: Option<Failure>,
    ended: bool,
    progress: &'a mut (dyn FnMut(LayerStep) + Send),
}

impl<'a, B: Read> Incoming<'a, B> {
    pub(super) fn new(
        before: B,
        input: &'a mut (dyn Read + Send),
        upload: &'a mut Upload,
        total: u64,
        progress: &'a mut (dyn FnMut(LayerStep) + Send),
    ) -> Self {
        let (done, told, failure, ended) = (0, 0, None, false);
        Self { before, input, upload, done, told, total, failure, ended, progress }
    }

    pub(super) fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// Reads on to the announced end after bytes that made no sense, so that their digest can say
    /// whether they are the right ones.
    pub(super) fn drain(&mut self, error: &Error) {
        if !super::is_about_content(error) {
            return;
        }
        let mut buffer = vec![0; 64 << 10];
        while self.failure.is_none() && self.read(&mut buffer).is_ok_and(|n| n > 0) {}
    }

    /// The error that tells best why a layer did not come: what is wrong with the sender explains
    /// what the unpacker says.
    pub(super) fn explain(&mut self, error: Error) -> Error {
        match &mut self.failure {
            // The caller keeps what came, and has to know that it may go on: hence the same kind.
            Some(Failure::Input(source)) => {
                Error::Input(io::Error::new(source.kind(), source.to_string()))
            }
            Some(Failure::TooLong(limit)) => {
                Error::TooLarge { what: "the layer's blob", limit: *limit }
            }
            Some(Failure::Disk(source)) => {
                let source = io::Error::new(source.kind(), source.to_string());
                Error::Io { step: "write a blob", source }
            }
            None => error,
        }
    }

    fn fail(&mut self, failure: Failure) -> io::Error {
        let shown = match &failure {
            Failure::Input(error) | Failure::Disk(error) => {
                io::Error::new(error.kind(), error.to_string())
            }
            Failure::TooLong(_) => io::Error::other("more bytes than were announced"),
        };
        self.failure = Some(failure);
        shown
    }

    fn passed(&mut self, n: usize) {
        self.done += n as u64;
        let (done, total) = (self.done, self.total);
        if done - self.told >= STEP || done == total {
            self.told = done;
            (self.progress)(LayerStep::Read { done, total });
        }
    }

    /// Asks the sender for what should be nothing.
    fn end(&mut self) -> io::Result<usize> {
        if self.ended {
            return Ok(0);
        }
        match self.input.read(&mut [0]) {
            Ok(0) => {
                self.ended = true;
                (self.progress)(LayerStep::Complete);
                Ok(0)
            }
            Ok(_) => Err(self.fail(Failure::TooLong(self.total))),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => Err(self.fail(Failure::Input(error))),
        }
    }
}

impl<B: Read> Read for Incoming<'_, B> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        match self.before.read(buffer) {
            Ok(0) => {}
            Ok(n) => {
                self.passed(n);
                return Ok(n);
            }
            Err(error) => return Err(self.fail(Failure::Disk(error))),
        }
        let left = usize::try_from(self.total.saturating_sub(self.done)).unwrap_or(usize::MAX);
        if left == 0 {
            return self.end();
        }
        let want = buffer.len().min(left);
        match self.input.read(&mut buffer[..want]) {
            Ok(0) => {
                let text = format!("it ended after {} of {} bytes", self.done, self.total);
                let error = io::Error::new(io::ErrorKind::UnexpectedEof, text);
                Err(self.fail(Failure::Input(error)))
            }
            Ok(n) => {
                if let Err(error) = self.upload.write_all(&buffer[..n]) {
                    return Err(self.fail(Failure::Disk(error)));
                }
                self.passed(n);
                Ok(n)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => Err(self.fail(Failure::Input(error))),
        }
    }
}
