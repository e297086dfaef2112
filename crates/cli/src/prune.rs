//! What every `prune` has in common: the question, the filters, the report.

use crate::failure::Failure;
use crate::options::filter;
use crate::session::Session;
use crate::show::human;

/// The options of every `prune`.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Flags {
    /// Remove only those that fit: until=, label=, label!=
    #[arg(long, value_parser = filter::parse)]
    pub(crate) filter: Vec<(String, String)>,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// What has been removed.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Stands above the list: `Deleted Images:`.
    heading: &'static str,
    lines: Vec<String>,
    space: u64,
}

impl Report {
    /// So much has been removed, and so many bytes are free again.
    pub(crate) fn new(heading: &'static str, lines: Vec<String>, space: u64) -> Self {
        Self { heading, lines, space }
    }

    /// Lists it; nothing when nothing has been removed.
    pub(crate) fn list(&self, session: &Session) {
        if self.lines.is_empty() {
            return;
        }
        let lines: String = self.lines.iter().map(|line| format!("{line}\n")).collect();
        session.text(&format!("{}\n{lines}\n", self.heading));
    }

    /// Lists it and says how many bytes are free again.
    pub(crate) fn show(&self, session: &Session) {
        self.list(session);
        total(session, self.space);
    }

    /// How many bytes are free again.
    pub(crate) fn space(&self) -> u64 {
        self.space
    }
}

/// The last line.
pub(crate) fn total(session: &Session, space: u64) {
    let space = i64::try_from(space).unwrap_or(i64::MAX);
    session.line(&format!("Total reclaimed space: {}", human::size(space, 4)));
}

impl Flags {
    /// Asks, unless told not to. `warning` says what it will do.
    ///
    /// # Errors
    /// The answer was no, which ends the program well.
    pub(crate) fn sure(&self, session: &Session, warning: &str) -> anyhow::Result<()> {
        let question = || format!("WARNING! {warning}\nAre you sure you want to continue?");
        if self.force || session.confirm(&question())? {
            return Ok(());
        }
        Err(Failure::silent(0))
    }
}
