//! The JSON messages of load, import and pull, on a terminal and elsewhere.

use std::collections::HashMap;
use std::io::{IsTerminal as _, Write};

use docker_api::client::JsonStream;
use docker_api::progress::JsonMessage;

use super::human;

/// Shows messages on a writer as they come.
pub(crate) struct Progress<W: Write> {
    out: W,
    terminal: bool,
    /// On which line, counted from the first, each id stands.
    lines: HashMap<String, usize>,
}

impl Progress<std::io::Stdout> {
    /// On standard output.
    pub(crate) fn stdout() -> Self {
        let out = std::io::stdout();
        Self { terminal: out.is_terminal(), out, lines: HashMap::new() }
    }
}

impl Progress<std::io::Stderr> {
    /// On standard error.
    pub(crate) fn stderr() -> Self {
        let out = std::io::stderr();
        Self { terminal: out.is_terminal(), out, lines: HashMap::new() }
    }
}

impl<W: Write> Progress<W> {
    /// Shows all messages; the failure among them ends it.
    pub(crate) async fn show(mut self, mut stream: JsonStream<JsonMessage>) -> anyhow::Result<()> {
        while let Some(message) = stream.next().await? {
            if let Some(error) = message.error_detail {
                anyhow::bail!(error.message);
            }
            if let Some(error) = message.error {
                anyhow::bail!(error);
            }
            // Whoever closed our output still wants it done.
            let _ = self.one(&message);
        }
        Ok(())
    }

    fn one(&mut self, message: &JsonMessage) -> std::io::Result<()> {
        let detail = message.progress_detail.filter(|detail| detail.current > 0);
        if !self.terminal && detail.is_some() {
            return Ok(());
        }
        if let Some(text) = &message.stream {
            self.out.write_all(text.as_bytes())?;
            return self.out.flush();
        }
        let Some(status) = &message.status else { return Ok(()) };
        let bar = detail.map(|detail| bar(detail.current, detail.total)).unwrap_or_default();
        match &message.id {
            Some(id) if self.terminal && !id.is_empty() => {
                let total = self.lines.len();
                let line = *self.lines.entry(id.clone()).or_insert(total);
                let up = self.lines.len() - line;
                if line == total {
                    writeln!(self.out)?;
                }
                // Up to its line, clear it, write, and back down.
                write!(self.out, "\x1b[{up}A\x1b[2K\r{id}: {status} {bar}\x1b[{up}B\r")?;
            }
            Some(id) if !id.is_empty() => writeln!(self.out, "{id}: {status}")?,
            _ => writeln!(self.out, "{status}{bar}")?,
        }
        self.out.flush()
    }
}

#[allow(clippy::cast_precision_loss, reason = "a bar of fifty characters")]
fn bar(current: i64, total: i64) -> String {
    let done = human::size(current, 4);
    if total <= 0 {
        return done;
    }
    let share = (current.clamp(0, total) as f64 / total as f64 * 50.0).round();
    let filled = (0..50).take_while(|at| f64::from(*at) < share).count();
    let head = if filled < 50 { ">" } else { "" };
    let rest = 50 - filled - head.len();
    format!(
        "[{}{head}{}] {done:>8}/{}",
        "=".repeat(filled),
        " ".repeat(rest),
        human::size(total, 4)
    )
}
