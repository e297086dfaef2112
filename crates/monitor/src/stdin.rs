//! A process's standard input: who may write, and what the end of a writer means.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

/// What the end of a client's input leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterEnd {
    /// The process's input is closed, once it has taken what was written.
    Close,
    /// The client is let go, and the process's input stays open: Docker ends an attached session
    /// with its input, unless the input was opened for that one session (`StdinOnce`).
    Detach,
}

/// A process's standard input.
#[derive(Debug, Default)]
pub(crate) struct Stdin {
    /// The pipe's end, or the terminal; `None`: nobody reads.
    sink: Option<Rc<OwnedFd>>,
    /// The end of the first client's input is the end of the process's.
    once: bool,
    /// It is a terminal, which has no end of input that we could pass on.
    terminal: bool,
    /// What the process has not taken yet, from `written` on.
    pending: Vec<u8>,
    written: usize,
    closing: bool,
}

impl Stdin {
    /// Through a non-blocking descriptor.
    pub(crate) fn new(sink: Rc<OwnedFd>, once: bool, terminal: bool) -> Self {
        Self { sink: Some(sink), once, terminal, ..Self::default() }
    }

    /// Whether there is anything to write to.
    pub(crate) fn is_open(&self) -> bool {
        self.sink.is_some() && !self.closing
    }

    /// What the end of a client's input means here.
    pub(crate) fn after_end(&self) -> AfterEnd {
        if self.once && !self.terminal { AfterEnd::Close } else { AfterEnd::Detach }
    }

    /// Whether more may be read from clients: either the process takes it, or it is thrown away.
    pub(crate) fn is_free(&self) -> bool {
        self.pending.len() == self.written
    }

    /// The descriptor to wait for room on, if anything waits for it.
    pub(crate) fn waiting(&self) -> Option<BorrowedFd<'_>> {
        if self.is_free() { None } else { self.sink.as_ref().map(|sink| sink.as_fd()) }
    }

    /// Hands input to the process; what it does not take now is kept.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        if self.is_open() {
            self.pending.extend_from_slice(bytes);
            self.flush();
        }
    }

    /// Hands on what waits, as far as there is room.
    pub(crate) fn flush(&mut self) {
        while let Some(sink) = &self.sink {
            let rest = self.pending.get(self.written..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            match sys::stream::write(sink, rest) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // EPIPE: the process has closed its input. What comes is thrown away.
                Err(_) => self.sink = None,
            }
        }
        self.pending = Vec::new();
        self.written = 0;
        if self.closing {
            self.sink = None;
        }
    }

    /// Closes the process's input when it has taken everything.
    pub(crate) fn close(&mut self) {
        self.closing = true;
        if self.is_free() {
            self.sink = None;
        }
    }

    /// The process has ended.
    pub(crate) fn discard(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn stdin(once: bool) -> (Stdin, std::fs::File) {
        let (reader, writer) = sys::stream::pipe().expect("pipe");
        sys::stream::set_nonblocking(&writer).expect("non-blocking");
        (Stdin::new(Rc::new(writer), once, false), reader.into())
    }

    #[test]
    fn a_full_pipe_keeps_the_rest_and_closes_after_it() {
        let (mut stdin, mut reader) = stdin(true);
        let text = vec![b'x'; 100_000];
        stdin.write(&text);
        assert!(!stdin.is_free());
        assert_eq!(stdin.after_end(), AfterEnd::Close);
        stdin.close();
        stdin.write(b"too late");
        let mut got = vec![0; 70_000];
        let count = reader.read(&mut got).expect("reads");
        stdin.flush();
        assert!(stdin.waiting().is_none(), "all written and closed");
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).expect("reads to the end");
        assert_eq!(count + rest.len(), text.len());
    }

    #[test]
    fn a_process_that_closed_its_input_is_no_obstacle() {
        // As the launcher does.
        sys::signal::ignore(sys::signal::SIGPIPE).expect("ignores");
        let (mut stdin, reader) = stdin(false);
        drop(reader);
        stdin.write(b"for nobody");
        assert!(stdin.is_free());
    }

    #[test]
    fn only_input_for_one_session_ends_with_it() {
        let (reader, writer) = sys::stream::pipe().expect("pipe");
        drop(reader);
        let sink = Rc::new(writer);
        let cases = [(false, false), (false, true), (true, true)];
        for (once, terminal) in cases {
            let stdin = Stdin::new(Rc::clone(&sink), once, terminal);
            assert_eq!(stdin.after_end(), AfterEnd::Detach);
        }
    }
}
