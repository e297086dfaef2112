//! What a process and its guest say besides the protocol, for error messages: the last of it, and
//! never much of it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Kept of each stream.
const KEPT: usize = 8 << 10;
/// Lines that a message shows.
const LINES: usize = 6;

/// The end of a stream that is read without waiting.
#[derive(Debug)]
pub struct Tail {
    fd: OwnedFd,
    kept: Vec<u8>,
    ended: bool,
}

impl Tail {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self { fd, kept: Vec::new(), ended: false }
    }

    /// Reads what is there, but not for ever.
    pub fn read(&mut self) {
        for _ in 0..16 {
            if self.ended {
                return;
            }
            self.kept.reserve(KEPT);
            match sys::stream::read(&self.fd, &mut self.kept) {
                Ok(0) => self.ended = true,
                Ok(_) => {
                    let excess = self.kept.len().saturating_sub(KEPT);
                    self.kept.drain(..excess);
                }
                // WouldBlock, or nothing that reading again would mend.
                Err(error) => {
                    self.ended = error.kind() != std::io::ErrorKind::WouldBlock;
                    return;
                }
            }
        }
    }

    /// Nothing more will come.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// The last lines that are not empty, made harmless for a terminal.
    pub fn text(&mut self) -> String {
        self.read();
        last_lines(&self.kept)
    }
}

impl AsFd for Tail {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn last_lines(bytes: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(bytes)
        .chars()
        .map(|c| if c.is_control() && c != '\n' { ' ' } else { c })
        .collect();
    // Empty places of a template are warned of, and whatever else is not why something fails.
    let tells = |line: &&str| !line.is_empty() && !line.contains(": warning: ");
    let lines: Vec<&str> = text.lines().map(str::trim).filter(tells).collect();
    // What comes after it is where the kernel was, not why.
    if let Some(panic) = lines.iter().rfind(|line| line.contains("Kernel panic")) {
        return (*panic).to_owned();
    }
    lines[lines.len().saturating_sub(LINES)..].join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_harmless() {
        let text: String = (0..20).map(|n| format!("line {n}\x1b[2J\r\n\n")).collect();
        let last = last_lines(text.as_bytes());
        assert!(last.starts_with("line 14 [2J; line 15"), "{last}");
        assert!(last.ends_with("line 19 [2J"), "{last}");
    }

    #[test]
    fn warnings_are_no_reasons() {
        let text = "qemu: warning: hub 0 is not connected\nqemu: no such thing\n";
        assert_eq!(last_lines(text.as_bytes()), "qemu: no such thing");
        let text = "[1.0] Kernel panic - not syncing: no init\n[1.1] Call Trace:\n";
        assert_eq!(last_lines(text.as_bytes()), "[1.0] Kernel panic - not syncing: no init");
    }

    #[test]
    fn a_stream_without_end_is_not_kept() {
        let (reader, writer) = sys::stream::pipe().expect("pipe");
        sys::stream::set_nonblocking(&reader).expect("non-blocking");
        let mut tail = Tail::new(reader);
        for _ in 0..100 {
            sys::stream::write(&writer, &[b'x'; 1024]).expect("write");
            tail.read();
        }
        assert!(tail.kept.len() <= KEPT);
        assert!(!tail.ended());
        drop(writer);
        tail.read();
        assert!(tail.ended());
    }
}
