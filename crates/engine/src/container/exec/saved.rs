//! Execs in the monitor's directory, for a daemon that starts again: clients ask it for the status
//! of execs that an earlier one ran.

use std::path::PathBuf;
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

/// An exec on disk.
#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    id: String,
    config: ExecConfig,
    progress: ExecProgress,
    exit_code: Option<i32>,
}

/// What is known now of an exec that has been saved: its process, and its exit status.
fn settle(saved: &Saved, seen: Option<&Seen>) -> (i32, Option<i32>) {
    match (saved.exit_code, seen) {
        (Some(code), _) => (saved.progress.pid, Some(code)),
        (None, Some(seen)) => (seen.pid, seen.exit_code),
        // The monitor has forgotten it, or was never told of it.
        (None, None) if saved.progress.started => (saved.progress.pid, Some(UNKNOWN)),
        (None, None) => (0, None),
    }
}

impl Engine {
    fn exec_file(&self, container: &ContainerId, id: &str) -> PathBuf {
        self.config.monitor_dir(container.as_str()).join(format!("exec-{id}.json"))
    }

    /// Writes an exec down. When that fails it is only not known to the next daemon.
    pub(super) fn save_exec(&self, exec: &Exec) {
        let saved = Saved {
            id: exec.id.clone(),
            config: exec.config.clone(),
            progress: *exec.progress.borrow(),
            exit_code: *exec.done.borrow(),
        };
        let file = self.exec_file(&exec.container, &exec.id);
        let temporary = file.with_extension("new");
        let written = serde_json::to_vec(&saved)
            .map_err(std::io::Error::from)
            .and_then(|json| std::fs::write(&temporary, json))
            .and_then(|()| std::fs::rename(&temporary, &file));
        match written {
            // The container has ended.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!("cannot write {}: {error}", file.display()),
            Ok(()) => {}
        }
    }

    /// What is not there need not go.
    pub(super) fn unsave_exec(&self, container: &Container, id: &str) {
        drop(std::fs::remove_file(self.exec_file(&container.id, id)));
    }

    /// Makes the execs of an earlier daemon known again; `seen` is what the monitor says of them.
    pub(crate) fn recall_execs(&self, container: &Container, seen: &[Seen]) {
        let directory = self.config.monitor_dir(container.id.as_str());
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if !(name.starts_with("exec-") && name.ends_with(".json")) {
                continue;
            }
            let text = std::fs::read(entry.path()).unwrap_or_default();
            let Ok(saved) = serde_json::from_slice::<Saved>(&text) else { continue };
            let (pid, exit_code) = settle(&saved, seen.iter().find(|seen| seen.id == saved.id));
            let exec = Arc::new(Exec {
                id: saved.id,
                container: container.id.clone(),
                config: saved.config,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exec_ends_once_however_its_end_is_known() {
        let saved = |started, exit_code| Saved {
            id: "x".to_owned(),
            config: ExecConfig::default(),
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
}
