//! How a build goes, shown as BuildKit's builds are: a picture that changes on a terminal, lines
//! elsewhere.

mod board;
mod failure;
mod lines;
mod picture;
mod upload;

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use docker_api::build::BuildEvent;

use board::Board;
use lines::Lines;
use picture::Picture;
use upload::Upload;

/// How it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// A picture.
    Terminal,
    /// Lines.
    Plain,
    /// Failures only.
    Quiet,
    /// The events as they come, one JSON object a line.
    Raw,
}

impl Mode {
    /// What `--progress` and `--quiet` mean. `variable` is `BUILDKIT_PROGRESS`.
    pub(super) fn choose(
        given: &str,
        quiet: bool,
        variable: Option<&str>,
        terminal: bool,
    ) -> Result<Self, String> {
        let word = match given {
            "" if quiet => "quiet",
            "" => variable.unwrap_or("auto"),
            given => given,
        };
        if quiet && word != "quiet" {
            return Err("--progress and --quiet cannot be used together".to_owned());
        }
        match word {
            "auto" if terminal => Ok(Self::Terminal),
            "auto" | "plain" => Ok(Self::Plain),
            "tty" if terminal => Ok(Self::Terminal),
            "tty" => Err("--progress=tty needs a terminal as standard error".to_owned()),
            "quiet" | "none" => Ok(Self::Quiet),
            "rawjson" => Ok(Self::Raw),
            other => Err(format!(
                "invalid progress mode {other:?}: use auto, plain, tty, quiet or rawjson"
            )),
        }
    }
}

/// A build on its way, shown on standard error.
pub(super) struct Display {
    board: Board,
    shown: Shown,
    upload: Upload,
    over: bool,
}

enum Shown {
    Picture(Picture),
    Lines(Lines),
    Nothing,
    Raw,
}

impl Display {
    pub(super) fn new(mode: Mode) -> Self {
        let shown = match mode {
            Mode::Terminal => {
                let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
                Shown::Picture(Picture::new(colours))
            }
            Mode::Plain => Shown::Lines(Lines::default()),
            Mode::Quiet => Shown::Nothing,
            Mode::Raw => Shown::Raw,
        };
        Self { board: Board::default(), shown, upload: Upload::default(), over: false }
    }

    /// Whether there is a terminal to paint on.
    pub(super) fn terminal() -> bool {
        std::io::stderr().is_terminal()
    }

    /// A context is being sent; `sent` counts its bytes.
    pub(super) fn sending(&mut self, sent: Arc<AtomicU64>) {
        if !matches!(self.shown, Shown::Raw) {
            self.upload = Upload::of(sent);
        }
    }

    /// Takes an event of the daemon's; lines are written at once.
    pub(super) fn event(&mut self, event: BuildEvent) {
        if let Shown::Raw = self.shown {
            let mut out = Vec::new();
            // An event that was read can be written.
            let _ = serde_json::to_writer(&mut out, &event);
            out.push(b'\n');
            write(&out);
        }
        for own in self.upload.end() {
            self.take(own);
        }
        let event = self.upload.behind(event);
        self.take(event);
    }

    fn take(&mut self, event: BuildEvent) {
        let mut out = Vec::new();
        let step = board::step_of(&event);
        self.board.take(event);
        if let Shown::Lines(lines) = &mut self.shown {
            lines.update(&self.board, step, &mut out);
        }
        write(&out);
    }

    /// Time has passed.
    pub(super) fn tick(&mut self) {
        for own in self.upload.progress() {
            self.take(own);
        }
        let mut out = Vec::new();
        match &mut self.shown {
            Shown::Picture(picture) => picture.paint(&self.board, &mut out),
            Shown::Lines(lines) => lines.tick(&self.board, &mut out),
            Shown::Nothing | Shown::Raw => {}
        }
        write(&out);
    }

    /// The build is over; `cancelled` by the user.
    pub(super) fn end(&mut self, failed: bool, cancelled: bool) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        for own in self.upload.end() {
            self.take(own);
        }
        let mut out = Vec::new();
        if cancelled {
            self.board.cancel();
        }
        if !self.board.is_empty() {
            match &mut self.shown {
                Shown::Picture(picture) => picture.last(&self.board, failed, &mut out),
                Shown::Lines(lines) => lines.last(&self.board, &mut out),
                Shown::Nothing | Shown::Raw => {}
            }
            if !matches!(self.shown, Shown::Raw) {
                failure::describe(&self.board, failed && !cancelled, &mut out);
            }
            if !matches!(self.shown, Shown::Raw | Shown::Nothing) {
                failure::warnings(&self.board, &mut out);
            }
        }
        write(&out);
    }

    /// The image's id and its names, once it is built.
    pub(super) fn built(&self) -> Option<(&str, &[String])> {
        self.board.built.as_ref().map(|(id, names)| (id.as_str(), names.as_slice()))
    }
}

/// Whoever closed standard error still wants the build done.
fn write(text: &[u8]) {
    if !text.is_empty() {
        let mut err = std::io::stderr().lock();
        let _ = err.write_all(text).and_then(|()| err.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_is_what_was_asked_for() {
        let choose = |given, quiet, terminal| Mode::choose(given, quiet, None, terminal);
        assert_eq!(choose("", false, true), Ok(Mode::Terminal));
        assert_eq!(choose("", false, false), Ok(Mode::Plain));
        assert_eq!(choose("auto", false, false), Ok(Mode::Plain));
        assert_eq!(choose("", true, true), Ok(Mode::Quiet));
        assert_eq!(choose("rawjson", false, true), Ok(Mode::Raw));
        assert_eq!(Mode::choose("", false, Some("plain"), true), Ok(Mode::Plain));
        assert!(choose("tty", false, false).is_err());
        assert!(choose("plain", true, false).is_err());
        assert!(choose("loud", false, false).is_err());
    }
}
