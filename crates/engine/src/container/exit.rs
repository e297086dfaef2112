//! The end of a run: what the monitor told, what it left, and what follows from it.
//!
//! ```text
//!  Notice::Exited ─┐
//!  exit.json      ─┼─► state, event `die`, network released ─► waiters ─► restart or removal
//!  neither: reap  ─┘
//! ```

use std::sync::Arc;

use proto::control::{ExitRecord, Notice};
use proto::launch::Reap;
use types::state::Status;
use types::{Error, Timestamp};

use super::{Container, restart};
use crate::database::{Change, Table};
use crate::link::Notices;
use crate::record::{Record, Run};
use crate::{Engine, blocking};

/// Exit status of a container whose monitor was killed: that of SIGKILL.
const KILLED: i32 = 137;

impl Engine {
    /// Follows a monitor until it has gone.
    pub(crate) async fn supervise(&self, container: Arc<Container>, mut notices: Notices) {
        let mut record = None;
        while let Some(notice) = notices.recv().await {
            match notice {
                Notice::Exited(exit) => {
                    record = Some(exit);
                    break;
                }
                Notice::OutOfMemory => {
                    container.record().state.oom_killed = true;
                    self.tell_container(&container, "oom", &[]);
                }
                Notice::ExecExited { exec, exit_code } => {
                    self.exec_ended(&container, &exec, exit_code);
                }
                Notice::Created { .. } | Notice::Failed(_) => {}
            }
        }
        if let Err(error) = self.ended(&container, record).await {
            tracing::error!(container = container.id.short(), "{error}");
        }
    }

    /// Notes the end of a run and does what follows.
    pub(crate) async fn ended(
        &self,
        container: &Arc<Container>,
        told: Option<ExitRecord>,
    ) -> Result<(), Error> {
        let _operation = container.operation.lock().await;
        let run = container.live().map(|live| live.run);
        let engine = self.clone();
        let subject = Arc::clone(container);
        let exit = blocking(move || Ok(engine.settle(&subject, told, run.as_deref()))).await?;
        container.set_live(None);
        self.stop_health(container);
        self.forget_execs(container);
        let (record, again) = self.note_end(container, &exit);
        let code = exit.exit_code.to_string();
        let seconds = (exit.finished_at.0 - exit.started_at.0).max(0) / 1_000_000_000;
        let duration = seconds.to_string();
        self.tell_container(container, "die", &[("exitCode", &code), ("execDuration", &duration)]);
        for failure in &exit.failures {
            tracing::warn!(container = container.id.short(), "{failure}");
        }
        if exit.dropped > 0 {
            let dropped = exit.dropped;
            tracing::warn!(
                container = container.id.short(),
                "{dropped} bytes of output were dropped"
            );
        }
        if record.host.auto_remove {
            self.announce_end(container, &exit, false);
            return self.remove_locked(container, true).await;
        }
        self.database
            .commit(Change::put(Table::Containers, container.id.as_str(), &record)?)
            .await?;
        // Only now may the monitor's record go: the end is in the database.
        self.forget_monitor(&container.id);
        self.announce_end(container, &exit, again.is_some());
        if let Some(delay) = again {
            self.restart_after(container, delay);
        }
        Ok(())
    }

    /// Finds out how it ended, and gives back what the run held. Blocks.
    fn settle(
        &self,
        container: &Container,
        told: Option<ExitRecord>,
        run: Option<&Run>,
    ) -> ExitRecord {
        let exit = told.or_else(|| self.exit_record(&container.id)).unwrap_or_else(|| {
            let path = run.map(|run| run.cgroups_path.clone());
            self.reap(container, path.as_deref())
        });
        if let Some(run) = run {
            self.release_run(container, run);
            for endpoint in &run.endpoints {
                self.tell_network("disconnect", endpoint, &container.id);
            }
        }
        exit
    }

    /// The record that a monitor has left.
    pub(crate) fn exit_record(&self, id: &types::ContainerId) -> Option<ExitRecord> {
        let path = self.config.monitor_dir(id.as_str()).join("exit.json");
        let bytes = std::fs::read(&path).ok()?;
        match serde_json::from_slice(&bytes) {
            Ok(record) => Some(record),
            Err(error) => {
                tracing::error!("{} cannot be read: {error}", path.display());
                None
            }
        }
    }

    /// Cleans up after a monitor that was killed, and makes up its record.
    pub(crate) fn reap(&self, container: &Container, cgroups_path: Option<&str>) -> ExitRecord {
        let record = container.record().clone();
        let cgroups_path = cgroups_path
            .map_or_else(|| crate::spec::cgroups_path(&self.config, &record), str::to_owned);
        let reaped = self.launcher.reap(Reap {
            id: container.id.to_string(),
            cgroups_path,
            systemd_cgroup: self.config.systemd_cgroup,
        });
        let mut failures =
            vec!["the container's monitor was killed, and the container with it".to_owned()];
        match reaped {
            Ok(reaped) => failures.extend(reaped.failures),
            Err(error) => failures.push(error.message),
        }
        ExitRecord {
            id: container.id.to_string(),
            exit_code: KILLED,
            oom_killed: record.state.oom_killed,
            started_at: record.state.started_at,
            finished_at: Timestamp::now(),
            dropped: 0,
            failures,
        }
    }

    /// Writes the end into the record and decides whether it will run again.
    fn note_end(
        &self,
        container: &Container,
        exit: &ExitRecord,
    ) -> (Record, Option<std::time::Duration>) {
        let mut record = container.record();
        let ran = exit.finished_at.0.saturating_sub(exit.started_at.0);
        let again = {
            let mut restarts = crate::lock(&container.restarts);
            restart::decide(
                &record.host.restart_policy,
                record.stopped_by_user,
                exit.exit_code,
                record.restart_count,
                std::time::Duration::from_nanos(u64::try_from(ran).unwrap_or(0)),
                &mut restarts.delay,
            )
        };
        record.state.status = if again.is_some() { Status::Restarting } else { Status::Exited };
        record.state.pid = 0;
        record.state.exit_code = exit.exit_code;
        record.state.oom_killed |= exit.oom_killed;
        record.state.started_at = exit.started_at;
        record.state.finished_at = exit.finished_at;
        for settings in record.networks.values_mut() {
            super::super::networks::clear(settings);
        }
        (record.clone(), again)
    }

    fn announce_end(&self, container: &Container, exit: &ExitRecord, active: bool) {
        container.progress.send_modify(|progress| {
            progress.active = active;
            progress.ends += 1;
            progress.code = i64::from(exit.exit_code);
            progress.error.clear();
        });
    }
}
