//! The end of a run: what the monitor told, what it left, and what follows from it.
//!
//! ```text
//!  Notice::Exited    ─┐
//!  exit.json, reap   ─┼─► network released, state, event `die` ─► waiters ─► restart or removal
//!  neither: reap     ─┘
//! ```

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use proto::control::{ExitRecord, Notice};
use proto::launch::Reap;
use types::state::Status;
use types::{Error, Timestamp};

use super::contact::Contact;
use super::remove::Removal;
use super::{Container, Live, restart};
use crate::link::Notices;
use crate::record::{Record, Run};
use crate::{Engine, blocking};

/// Exit status of a container whose monitor was killed: that of SIGKILL.
const KILLED: i32 = 137;

/// Exit status of a container that ended with the machine, as in Docker.
const LOST: i32 = 255;

/// How long to wait before a monitor is asked again that is there and does not answer.
const SILENCE: Duration = Duration::from_secs(1);

/// How the end of a run came to be known.
#[derive(Debug)]
pub(crate) enum End {
    /// The monitor told it, after it had given everything back.
    Told(ExitRecord),
    /// The monitor has gone: perhaps it left a record, perhaps a cgroup.
    Gone,
    /// The machine has been restarted meanwhile: nothing is left, and nothing is known.
    Lost,
}

impl Engine {
    /// Follows a monitor until it has gone.
    pub(crate) async fn supervise(&self, container: Arc<Container>, mut notices: Notices) {
        let end = loop {
            if let Some(exit) = self.follow(&container, &mut notices).await {
                break End::Told(exit);
            }
            // The connection has ended, and the monitor with it, most probably: but a container
            // that lives must not be cleaned up.
            match self.contact(&container.id).await {
                Contact::Alive { link, notices: new, .. } => {
                    let Some(live) = container.live() else { return };
                    container.set_live(Some(Live { link, run: live.run }));
                    notices = new;
                }
                Contact::Silent => tokio::time::sleep(SILENCE).await,
                Contact::Gone => break End::Gone,
            }
        };
        let run = container.live().map(|live| live.run);
        if let Err(error) = self.ended(&container, end, run).await {
            tracing::error!(container = container.id.short(), "{error}");
        }
    }

    /// Heeds a monitor's notices until it tells the container's end, or the connection ends.
    pub(crate) async fn follow(
        &self,
        container: &Container,
        notices: &mut Notices,
    ) -> Option<ExitRecord> {
        while let Some(notice) = notices.recv().await {
            match notice {
                Notice::Exited(exit) => return Some(exit),
                Notice::OutOfMemory => {
                    container.record().state.oom_killed = true;
                    self.tell_container(container, "oom", &[]);
                }
                Notice::Dropped { bytes } => {
                    tracing::warn!(
                        container = container.id.short(),
                        "output is being dropped, {bytes} bytes so far: the disk is full, or a \
                         client does not read"
                    );
                }
                Notice::ExecExited { exec, exit_code } => {
                    self.exec_ended(container, &exec, exit_code);
                }
                Notice::Created { .. } | Notice::Failed(_) => {}
            }
        }
        None
    }

    /// Notes the end of a run and does what follows. Whatever of it fails, the rest is done.
    pub(crate) async fn ended(
        &self,
        container: &Arc<Container>,
        end: End,
        run: Option<Arc<Run>>,
    ) -> Result<(), Error> {
        let _operation = container.operation.lock().await;
        let engine = self.clone();
        let (subject, held) = (Arc::clone(container), run.clone());
        let settled = blocking(move || Ok(engine.settle(&subject, end, held.as_deref()))).await;
        let exit = settled.unwrap_or_else(|error| {
            let mut exit = made_up(&container.record(), KILLED);
            exit.failures.push(error.message);
            exit
        });
        container.set_live(None);
        container.frozen.store(false, Ordering::SeqCst);
        self.stop_health(container);
        self.forget_execs(container);
        let again = self.decide_restart(container, &exit);
        let code = exit.exit_code.to_string();
        let seconds = (exit.finished_at.0 - exit.started_at.0).max(0) / 1_000_000_000;
        let duration = seconds.to_string();
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
        let removal = container.removes_itself();
        let note = |record: &mut Record| {
            note_end(record, &exit, again.is_some());
            container.progress.send_modify(|progress| progress.noted += 1);
        };
        let written = if removal {
            note(&mut container.record());
            Ok(())
        } else {
            let pending = self.begin_change(container, note);
            match pending {
                Ok(Some(pending)) => pending.done().await,
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            }
        };
        for endpoint in run.iter().flat_map(|run| &run.endpoints) {
            self.tell_network("disconnect", &endpoint.network, &container.id);
        }
        self.tell_container(container, "die", &[("exitCode", &code), ("execDuration", &duration)]);
        if removal {
            self.announce_end(container, &exit, false);
            return self.remove_locked(container, Removal::OfItself).await;
        }
        if written.is_ok() {
            // Only now may the monitor's record go: the end is in the database.
            self.forget_monitor(&container.id);
        }
        self.announce_end(container, &exit, again.is_some());
        if let Some(delay) = again {
            self.restart_after(container, delay);
        }
        written
    }

    /// Finds out how it ended, and gives back what the run held. Blocks.
    fn settle(&self, container: &Container, end: End, run: Option<&Run>) -> ExitRecord {
        let exit = match end {
            End::Told(exit) => exit,
            End::Gone => {
                let left = self.exit_record(&container.id);
                let mut exit = left.unwrap_or_else(|| made_up(&container.record(), KILLED));
                let path = run.map(|run| run.cgroups_path.as_str());
                exit.failures.extend(self.reap(container, path));
                exit
            }
            End::Lost => {
                let mut exit = made_up(&container.record(), LOST);
                // Usually nothing is there. But if somebody has cleared the exec root, or named
                // another, it still runs, and must not run twice.
                exit.failures.extend(self.reap(container, None));
                exit
            }
        };
        if let Some(run) = run {
            self.release_run(container, run);
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

    /// Kills and removes what a monitor may have left; what failed, in words. Nothing to do is
    /// no failure.
    pub(crate) fn reap(&self, container: &Container, cgroups_path: Option<&str>) -> Vec<String> {
        let cgroups_path = cgroups_path.filter(|path| !path.is_empty()).map_or_else(
            || crate::spec::cgroups_path(&self.config, &container.record()),
            str::to_owned,
        );
        let reaped = self.launcher.reap(Reap {
            id: container.id.to_string(),
            cgroups_path,
            systemd_cgroup: self.config.systemd_cgroup,
        });
        reaped.map_or_else(|error| vec![error.message], |reaped| reaped.failures)
    }

    /// Decides whether it will run again, and when.
    fn decide_restart(&self, container: &Container, exit: &ExitRecord) -> Option<Duration> {
        let record = container.record();
        let ran = exit.finished_at.0.saturating_sub(exit.started_at.0);
        let mut restarts = crate::lock(&container.restarts);
        restart::decide(
            &record.host.restart_policy,
            record.stopped_by_user,
            exit.exit_code,
            record.restart_count,
            Duration::from_nanos(u64::try_from(ran).unwrap_or(0)),
            &mut restarts.delay,
        )
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

/// Writes the end into the record.
fn note_end(record: &mut Record, exit: &ExitRecord, again: bool) {
    record.state.status = if again { Status::Restarting } else { Status::Exited };
    record.restart_count += u32::from(again);
    record.state.pid = 0;
    record.state.exit_code = exit.exit_code;
    record.state.oom_killed |= exit.oom_killed;
    record.state.started_at = exit.started_at;
    record.state.finished_at = exit.finished_at;
    for settings in record.networks.values_mut() {
        crate::networks::clear(settings);
    }
}

/// The record of a run whose monitor could not write one.
fn made_up(record: &Record, exit_code: i32) -> ExitRecord {
    let failures = if exit_code == KILLED {
        vec!["the container's monitor was killed, and the container with it".to_owned()]
    } else {
        Vec::new()
    };
    ExitRecord {
        id: record.id.to_string(),
        exit_code,
        oom_killed: record.state.oom_killed,
        started_at: record.state.started_at,
        finished_at: Timestamp::now(),
        dropped: 0,
        failures,
    }
}
