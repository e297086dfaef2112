//! The JSON messages of pull, push, load, import and the classic build, on a terminal and
//! elsewhere.

use std::io::{IsTerminal as _, Write};

use docker_api::client::JsonStream;
use docker_api::progress::{JsonMessage, ProgressDetail};

use super::human;
use crate::failure::Failure;

/// Shows messages on a writer as they come.
pub(crate) struct Progress<W: Write> {
    out: W,
    /// Rows and columns of the terminal; `None` where there is none.
    screen: Option<(usize, usize)>,
    /// What has a line of its own, from the first line down.
    lines: Vec<String>,
}

impl Progress<std::io::Stdout> {
    /// On standard output.
    pub(crate) fn stdout() -> Self {
        let out = std::io::stdout();
        let screen = out.is_terminal().then(|| screen(&out));
        Self { screen, out, lines: Vec::new() }
    }
}

impl Progress<std::io::Stderr> {
    /// On standard error.
    pub(crate) fn stderr() -> Self {
        let out = std::io::stderr();
        let screen = out.is_terminal().then(|| screen(&out));
        Self { screen, out, lines: Vec::new() }
    }
}

impl Progress<std::io::Sink> {
    /// Nowhere: only the failure counts.
    pub(crate) fn silent() -> Self {
        Self { screen: None, out: std::io::sink(), lines: Vec::new() }
    }
}

fn screen(out: impl std::os::fd::AsFd) -> (usize, usize) {
    match rustix::termios::tcgetwinsize(out) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => (size.ws_row.into(), size.ws_col.into()),
        _ => (24, 80),
    }
}

impl<W: Write> Progress<W> {
    /// Shows all messages; the failure among them ends it.
    pub(crate) async fn show(self, stream: JsonStream<JsonMessage>) -> anyhow::Result<()> {
        self.show_and(stream, |_| {}).await
    }

    /// Shows all messages, and hands over what is meant for programs.
    pub(crate) async fn show_and(
        mut self,
        mut stream: JsonStream<JsonMessage>,
        mut aux: impl FnMut(serde_json::Value),
    ) -> anyhow::Result<()> {
        while let Some(message) = stream.next().await? {
            failure(&message)?;
            if let Some(value) = message.aux {
                aux(value);
                continue;
            }
            // Whoever closed our output still wants it done.
            let _ = self.one(&message);
        }
        Ok(())
    }

    /// Shows one.
    pub(crate) fn one(&mut self, message: &JsonMessage) -> std::io::Result<()> {
        let id = message.id.as_deref().unwrap_or_default();
        let Some((rows, columns)) = self.screen else { return self.plain(id, message) };
        let status = message.status.as_deref().unwrap_or_default();
        let old = message.progress.as_deref().unwrap_or_default();
        if id.is_empty() || (message.progress_detail.is_none() && old.is_empty()) {
            // What follows this stands below it.
            self.lines.clear();
            return self.plain(id, message);
        }
        let bar = match message.progress_detail {
            Some(detail) => bar(detail, columns),
            None => old.to_owned(),
        };
        let at = self.lines.iter().position(|line| line == id);
        let up = self.lines.len() - at.unwrap_or(self.lines.len());
        if at.is_none() {
            self.lines.push(id.to_owned());
            writeln!(self.out)?;
        }
        let up = up.max(1);
        // What has left the screen cannot be reached, and moving there would hit other lines.
        if up >= rows {
            return Ok(());
        }
        let text = human::ellipsis(&format!("{id}: {status} {bar}"), columns.saturating_sub(1));
        let text = text.trim_end();
        // Up to its line, clear it, write, and back down.
        write!(self.out, "\x1b[{up}A\x1b[2K\r{text}\r\x1b[{up}B")?;
        self.out.flush()
    }

    /// Without going back to a line.
    fn plain(&mut self, id: &str, message: &JsonMessage) -> std::io::Result<()> {
        if message.progress_detail.is_some_and(|detail| !measured(detail).is_empty()) {
            return Ok(());
        }
        if !id.is_empty() {
            write!(self.out, "{id}: ")?;
        }
        match (&message.stream, &message.status) {
            (Some(text), _) => self.out.write_all(text.as_bytes())?,
            (None, Some(status)) => writeln!(self.out, "{status}")?,
            (None, None) => {}
        }
        self.out.flush()
    }
}

/// The failure that a message may be.
pub(crate) fn failure(message: &JsonMessage) -> anyhow::Result<()> {
    let (code, text) = match (&message.error_detail, &message.error) {
        (Some(detail), _) => (detail.code, &detail.message),
        (None, Some(text)) => (0, text),
        (None, None) => return Ok(()),
    };
    let text = if code == 401 { "authentication is required" } else { text };
    // A command that ran in a build ends the program with its own status.
    match u8::try_from(code) {
        Ok(status) if status != 0 => Err(Failure::with(status, text)),
        _ => Err(anyhow::Error::msg(text.to_owned())),
    }
}

/// `  3.2MB/12.8MB`; nothing while nothing is known.
fn measured(detail: ProgressDetail) -> String {
    let ProgressDetail { current, total } = detail;
    if current <= 0 && total <= 0 {
        return String::new();
    }
    let done = human::size(current, 4);
    if total <= 0 || current > total {
        return format!("{done:>8}");
    }
    format!("{done:>8}/{}", human::size(total, 4))
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "0 to 50")]
#[allow(clippy::cast_sign_loss, reason = "0 to 50")]
fn bar(detail: ProgressDetail, columns: usize) -> String {
    let measured = measured(detail);
    let ProgressDetail { current, total } = detail;
    // On narrow terminals the numbers say it all.
    if measured.is_empty() || total <= 0 || columns <= 110 {
        return measured;
    }
    let share = current.clamp(0, total) as f64 / total as f64;
    let filled = (share * 50.0) as usize;
    format!("[{}>{}] {measured}", "=".repeat(filled), " ".repeat(50 - filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(screen: Option<(usize, usize)>, messages: &[&str]) -> String {
        let mut progress = Progress { out: Vec::new(), screen, lines: Vec::new() };
        for message in messages {
            let message = serde_json::from_str(message).expect("JSON");
            progress.one(&message).expect("written");
        }
        String::from_utf8(progress.out).expect("text").replace('\x1b', "^")
    }

    const PULL: &[&str] = &[
        r#"{"status":"Pulling from library/x","id":"latest"}"#,
        r#"{"status":"Pulling fs layer","progressDetail":{},"id":"aaa"}"#,
        r#"{"status":"Pulling fs layer","progressDetail":{},"id":"bbb"}"#,
        r#"{"status":"Downloading","progressDetail":{"current":500,"total":1000},"id":"aaa"}"#,
        r#"{"status":"Pull complete","progressDetail":{},"id":"aaa"}"#,
        r#"{"status":"Digest: sha256:0"}"#,
    ];

    #[test]
    fn elsewhere_only_steps_are_told() {
        assert_eq!(
            shown(None, PULL),
            "latest: Pulling from library/x\naaa: Pulling fs layer\nbbb: Pulling fs layer\n\
             aaa: Pull complete\nDigest: sha256:0\n"
        );
    }

    #[test]
    fn on_a_terminal_each_layer_keeps_its_line() {
        let text = shown(Some((24, 120)), PULL);
        let bar = format!("[{}>{}]", "=".repeat(25), " ".repeat(25));
        assert_eq!(
            text,
            format!(
                "latest: Pulling from library/x\n\n^[1A^[2K\raaa: Pulling fs layer\r^[1B\
                 \n^[1A^[2K\rbbb: Pulling fs layer\r^[1B\
                 ^[2A^[2K\raaa: Downloading {bar}     500B/1kB\r^[2B\
                 ^[2A^[2K\raaa: Pull complete\r^[2BDigest: sha256:0\n"
            )
        );
        // Narrow: no bar. Low: what has left the screen is let be.
        let text = shown(Some((2, 80)), PULL);
        assert!(!text.contains("Downloading") && !text.contains("^[2A"), "{text}");
        let text = shown(Some((24, 80)), PULL);
        assert!(text.contains("aaa: Downloading     500B/1kB\r"), "{text}");
    }

    #[test]
    fn failures_end_it_in_their_own_words() {
        let message = JsonMessage::error("no space left on device");
        let error = failure(&message).expect_err("a failure");
        assert_eq!(error.to_string(), "no space left on device");
        let message = r#"{"errorDetail":{"code":17,"message":"it returned a non-zero code: 17"}}"#;
        let error = failure(&serde_json::from_str(message).expect("JSON")).expect_err("a failure");
        assert_eq!(crate::failure::status(&error), 17);
    }
}
