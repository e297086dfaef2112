//! The user's terminal, and everything about being attached to a container.

pub(crate) mod attach;
pub(crate) mod detach;
pub(crate) mod input;
pub(crate) mod output;
pub(crate) mod prompt;
pub(crate) mod signals;

use std::io::IsTerminal as _;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// Puts standard input's terminal back into its old state when dropped.
pub(crate) struct Raw(Termios);

impl Raw {
    /// Puts standard input's terminal into raw mode; `None` when it is no terminal.
    pub(crate) fn enter() -> Option<Self> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return None;
        }
        let old = tcgetattr(&stdin).ok()?;
        let mut raw = old.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Now, &raw).ok()?;
        Some(Self(old))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // Nothing helps a terminal that is gone.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// Rows and columns of the terminal at standard output; `None` when it is no terminal.
pub(crate) fn size() -> Option<[u32; 2]> {
    let size = tcgetwinsize(std::io::stdout()).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then(|| [size.ws_row.into(), size.ws_col.into()])
}

/// Whether standard input is a terminal.
pub(crate) fn stdin_is_terminal() -> bool {
    std::io::stdin().is_terminal()
}
