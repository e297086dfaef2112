//! Links of running containers that somebody removed: each container gets another one.

use std::sync::Arc;

use network::{Endpoint, Sandbox};
use types::Error;

use super::connect::network_namespace;
use crate::{Engine, blocking, from_network};

impl Engine {
    /// From now on no container that runs stays without its network.
    pub(crate) fn restore_links(&self) {
        let Some(lost) = self.networks.lost() else { return };
        let (engine, runtime) = (Arc::downgrade(&self.inner), tokio::runtime::Handle::current());
        // It ends with the engine.
        let work = move || {
            for endpoint in lost {
                let Some(inner) = engine.upgrade() else { return };
                let engine = Engine { inner };
                runtime.spawn(async move { engine.restore_link(&endpoint).await });
            }
        };
        let started = std::thread::Builder::new()
            .name("lost-links".to_owned())
            .stack_size(128 << 10)
            .spawn(work);
        if let Err(error) = started {
            tracing::error!("links that others remove are not made again: {error}");
        }
    }

    async fn restore_link(&self, lost: &Endpoint) {
        let Ok(container) = self.containers.find(&lost.container) else { return };
        // Whoever stops it, or takes it off the network, goes first.
        let _operation = container.operation.lock().await;
        let Some(live) = container.live() else { return };
        let same = |e: &&Endpoint| e.id == lost.id && e.host_link == lost.host_link;
        let Some(mut endpoint) = live.run.endpoints.iter().find(same).cloned() else { return };
        let (engine, pid) = (self.clone(), container.record().state.pid);
        let plugged = blocking(move || {
            // Without a process it has just ended.
            let Ok(namespace) = network_namespace(pid) else { return Ok(None) };
            let mut sandbox = Sandbox::adopt(namespace);
            let anew = engine.networks.plug_anew(&mut endpoint, &mut sandbox);
            Ok(anew.map_err(from_network)?.then_some(endpoint))
        });
        let changed = plugged.await.and_then(|plugged| {
            let Some(now) = plugged else { return Ok(false) };
            self.change_run(&container, &live, |run| {
                for known in run.endpoints.iter_mut().filter(|known| known.id == now.id) {
                    known.clone_from(&now);
                }
            })?;
            Ok::<_, Error>(true)
        });
        let container = container.id.short();
        match changed {
            Ok(true) => tracing::warn!(container, "somebody removed its link: made anew"),
            Ok(false) => {}
            Err(error) => tracing::error!(container, "its link cannot be made anew: {error}"),
        }
    }
}
