//! Questions on the terminal.

use std::io::{self, Write as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::failure::Failure;

/// Asks for a line.
pub(crate) fn line(question: &str) -> io::Result<String> {
    let mut out = io::stdout();
    out.write_all(question.as_bytes())?;
    out.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    answer.truncate(answer.trim_end_matches(['\n', '\r']).len());
    Ok(answer.trim().to_owned())
}

/// Asks for a line that is not shown while it is typed.
pub(crate) async fn secret(question: &str) -> anyhow::Result<String> {
    let silent = Silent::enter();
    let mut out = io::stdout();
    out.write_all(question.as_bytes())?;
    out.flush()?;
    // Somebody who gives up should find the terminal as it was, so the signal is caught.
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut answer = String::new();
        let read = io::stdin().read_line(&mut answer).map(|_| answer);
        let _ = sender.send(read);
    });
    let read = tokio::select! {
        read = receiver => read?,
        _ = tokio::signal::ctrl_c() => {
            drop(silent);
            writeln!(out)?;
            return Err(Failure::silent(130));
        }
    };
    drop(silent);
    // The key that ended the line was not shown either.
    writeln!(out)?;
    let mut answer = read?;
    answer.truncate(answer.trim_end_matches(['\n', '\r']).len());
    Ok(answer)
}

/// Shows again what is typed when dropped.
struct Silent(Option<Termios>);

impl Silent {
    fn enter() -> Self {
        let stdin = io::stdin();
        let Ok(old) = tcgetattr(&stdin) else { return Self(None) };
        let mut silent = old.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        match tcsetattr(&stdin, OptionalActions::Now, &silent) {
            Ok(()) => Self(Some(old)),
            Err(_) => Self(None),
        }
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        if let Some(old) = &self.0 {
            // Nothing helps a terminal that is gone.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, old);
        }
    }
}
