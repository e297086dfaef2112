//! Execs in the monitor's directory, for a daemon that starts again: clients ask it for the status
//! of execs that an earlier one ran.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proto::control::ExecState as Seen;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use types::ContainerId;

use super::{Exec, ExecConfig, ExecProgress};
use crate::Engine;
use crate::container::Container;

/// The status of an exec whose end nobody remembers: as if it had been killed.
const UNKNOWN: i32 = 137;

/// Beyond this the journal is written anew when an exec is forgotten.
const LONG: u64 = 1 << 20;

/// What the journal says of an exec; a later line replaces what it names of an earlier one.
#[derive(Debug, Serialize, Deserialize)]
struct Saved<C> {
    id: String,
    /// Only in the first line.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    config: Option<C>,
    progress: ExecProgress,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
}

fn none<C>() -> Option<C> {
    None
}

impl<'a> Saved<&'a ExecConfig> {
    fn line(exec: &'a Exec, whole: bool) -> std::io::Result<Vec<u8>> {
        let saved = Self {
            id: exec.id.clone(),
            config: whole.then_some(&exec.config),
            progress: *exec.progress.borrow(),
            exit_code: *exec.done.borrow(),
        };
        let mut line = serde_json::to_vec(&saved)?;
        line.push(b'\n');
        Ok(line)
    }
}

/// Reads a journal. A line that a crash cut is as if it had not been written.
fn read(journal: &[u8]) -> Vec<Saved<ExecConfig>> {
    let mut all: Vec<Saved<ExecConfig>> = Vec::new();
    for line in journal.split(|byte| *byte == b'\n') {
        let Ok(saved) = serde_json::from_slice::<Saved<ExecConfig>>(line) else { continue };
        match all.iter().position(|known| known.id == saved.id) {
            Some(at) => {
                let mut known = all.remove(at);
                known.progress = saved.progress;
                let ended = known.exit_code.is_none() && saved.exit_code.is_some();
                known.exit_code = saved.exit_code;
                // In the order in which they have ended, as in the engine.
                all.insert(if ended { all.len() } else { at }, known);
            }
            None if saved.config.is_some() => all.push(saved),
            None => {}
        }
    }
    all
}

/// What is known now of an exec that has been saved: its process, and its exit status.
fn settle<C>(saved: &Saved<C>, seen: Option<&Seen>) -> (i32, Option<i32>) {
    match (saved.exit_code, seen) {
        (Some(code), _) => (saved.progress.pid, Some(code)),
        (None, Some(seen)) => (seen.pid, seen.exit_code),
        // The monitor has forgotten it, or was never told of it.
        (None, None) if saved.progress.started => (saved.progress.pid, Some(UNKNOWN)),
        (None, None) => (0, None),
    }
}

impl Engine {
    /// One file for all execs of a container, which only grows: to make and to free a file for
    /// each step of each exec costs more than the step.
    fn exec_journal(&self, container: &ContainerId) -> PathBuf {
        self.config.monitor_dir(container.as_str()).join("execs.jsonl")
    }

    /// Writes down what is new of an exec: all of it, or how far it has come. When that fails it
    /// is only not known to the next daemon.
    pub(super) fn save_exec(&self, container: &Container, exec: &Exec, whole: bool) {
        let file = self.exec_journal(&container.id);
        // Nobody else may write while the journal is replaced.
        let _known = crate::lock(&container.execs);
        let written = Saved::line(exec, whole).and_then(|line| {
            let mut journal = OpenOptions::new().append(true).create(true).open(&file)?;
            journal.write_all(&line)
        });
        note(written, &file);
    }

    /// Writes the journal anew, when it is long, with those execs that are still known.
    pub(super) fn shorten_exec_journal(&self, container: &Container) {
        let file = self.exec_journal(&container.id);
        if !std::fs::metadata(&file).is_ok_and(|found| found.len() > LONG) {
            return;
        }
        let known = crate::lock(&container.execs);
        let mut journal = Vec::new();
        for exec in known.iter().filter_map(|id| self.exec(id).ok()) {
            journal.extend(Saved::line(&exec, true).unwrap_or_default());
        }
        let temporary = file.with_extension("new");
        let written =
            std::fs::write(&temporary, journal).and_then(|()| std::fs::rename(&temporary, &file));
        note(written, &file);
    }

    /// Makes the execs of an earlier daemon known again; `seen` is what the monitor says of them.
    pub(crate) fn recall_execs(&self, container: &Container, seen: &[Seen]) {
        let journal = std::fs::read(self.exec_journal(&container.id)).unwrap_or_default();
        for saved in read(&journal) {
            let (pid, exit_code) = settle(&saved, seen.iter().find(|seen| seen.id == saved.id));
            let exec = Arc::new(Exec {
                id: saved.id,
                container: container.id.clone(),
                config: saved.config.unwrap_or_default(),
                progress: watch::Sender::new(ExecProgress { pid, ..saved.progress }),
                done: watch::Sender::new(saved.exit_code),
            });
            self.know_exec(container, &exec);
            if let Some(code) = exit_code {
                // Does nothing if it is not news.
                self.exec_ended(container, &exec.id, code);
            }
        }
    }
}

fn note(written: std::io::Result<()>, file: &Path) {
    match written {
        // The container has ended.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!("cannot write {}: {error}", file.display()),
        Ok(()) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exec_ends_once_however_its_end_is_known() {
        let saved = |started, exit_code| Saved::<ExecConfig> {
            id: "x".to_owned(),
            config: None,
            progress: ExecProgress { started, pid: 7 },
            exit_code,
        };
        let seen = |exit_code| Seen { id: "x".to_owned(), pid: 8, exit_code };
        assert_eq!(settle(&saved(true, Some(3)), None), (7, Some(3)));
        assert_eq!(settle(&saved(true, Some(3)), Some(&seen(Some(4)))), (7, Some(3)));
        assert_eq!(settle(&saved(true, None), Some(&seen(Some(4)))), (8, Some(4)));
        assert_eq!(settle(&saved(true, None), Some(&seen(None))), (8, None), "it runs");
        assert_eq!(settle(&saved(true, None), None), (7, Some(UNKNOWN)));
        assert_eq!(settle(&saved(false, None), None), (0, None), "nobody has started it");
    }
    #[test]
    fn the_last_whole_line_counts() {
        let journal = br#"{"id":"a","config":{},"progress":{"started":false,"pid":0}}
{"id":"b","config":{},"progress":{"started":false,"pid":0}}
{"id":"a","progress":{"started":true,"pid":9}}
{"id":"c","progress":{"started":true,"pid":1}}
{"id":"a","progress":{"started":true,"pid":9},"exit_code":4}
{"id":"b","progress":{"started":true,"p"#;
        let found: Vec<_> =
            read(journal).into_iter().map(|s| (s.id, s.progress.pid, s.exit_code)).collect();
        assert_eq!(found, [("b".to_owned(), 0, None), ("a".to_owned(), 9, Some(4))]);
    }
}
