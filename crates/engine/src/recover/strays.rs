//! What no record speaks of: runs and storage of containers whose creation or removal was cut.

use std::collections::BTreeSet;
use std::path::PathBuf;

use proto::control::Request;
use types::{ContainerId, Error};

use super::{names_in, read_run};
use crate::container::contact::Contact;
use crate::{Engine, blocking};

/// How long the end of an unknown container may take.
const STRAY: std::time::Duration = std::time::Duration::from_secs(15);

impl Engine {
    /// Removes what no record speaks of.
    pub(super) async fn remove_strays(&self) {
        let known: BTreeSet<String> =
            self.containers.all().iter().map(|container| container.id.to_string()).collect();
        let strays = |place: PathBuf| {
            let names = names_in(&place).into_iter().filter(|name| !known.contains(name));
            names.filter_map(|name| name.parse::<ContainerId>().ok()).collect::<Vec<_>>()
        };
        for id in strays(self.config.exec_root.join("monitors")) {
            self.remove_stray_run(id).await;
        }
        for id in strays(self.config.data_root.join("containers")) {
            let engine = self.clone();
            let removed = blocking(move || {
                engine.discard_storage(&id);
                Ok(())
            });
            if let Err(error) = removed.await {
                tracing::error!("{error}");
            }
        }
    }

    /// Ends a run whose container is not known (any more).
    async fn remove_stray_run(&self, id: ContainerId) {
        if let Contact::Alive { link, mut notices, .. } = self.contact(&id).await {
            let ended = async {
                // Whichever of the two fits.
                drop(link.ask(Request::Abandon, None).await);
                drop(link.ask(Request::KillAll, None).await);
                while notices.recv().await.is_some() {}
            };
            if tokio::time::timeout(STRAY, ended).await.is_err() {
                tracing::error!(container = id.short(), "its monitor does not end");
            }
        }
        let engine = self.clone();
        let cleaned = blocking(move || {
            let run = read_run(&engine.config.monitor_dir(id.as_str()));
            let mut failures = Vec::new();
            if !run.cgroups_path.is_empty() {
                let reap = proto::launch::Reap {
                    id: id.to_string(),
                    cgroups_path: run.cgroups_path,
                    systemd_cgroup: engine.config.systemd_cgroup,
                };
                match engine.launcher.reap(reap) {
                    Ok(reaped) => failures.extend(reaped.failures),
                    Err(error) => failures.push(error.message),
                }
            }
            let released = run.endpoints.iter().map(|endpoint| engine.networks.release(endpoint));
            failures.extend(released.filter_map(Result::err).map(|error| error.to_string()));
            engine.forget_monitor(&id);
            if failures.is_empty() { Ok(()) } else { Err(Error::system(failures.join("; "))) }
        });
        if let Err(error) = cleaned.await {
            tracing::error!("cannot clean up an unknown container: {error}");
        }
    }
}
