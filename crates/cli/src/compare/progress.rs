//! One line that says what is going on, where somebody watches.

use std::io::{IsTerminal as _, Write as _};

/// The line on standard error, if that is a terminal.
pub(super) struct Progress {
    shown: bool,
}

impl Progress {
    /// Looks whether somebody watches.
    pub(super) fn new() -> Self {
        Self { shown: std::io::stderr().is_terminal() }
    }

    /// Replaces the line.
    pub(super) fn say(&self, text: &str) {
        if self.shown {
            // Back to the line's start, and nothing of the old one behind the new one.
            let _ = write!(std::io::stderr().lock(), "\r\x1b[2KMeasuring: {text}");
        }
    }

    /// Takes the line away.
    pub(super) fn clear(&self) {
        if self.shown {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[2K");
        }
    }
}
