//! Which network a container reaches the rest of the world by and is reached by, and what of an
//! earlier daemon's changes was cut.

use std::os::fd::AsFd;
use std::sync::Arc;

use network::Endpoint;
use types::Error;

use super::connect::network_namespace;
use crate::container::{Container, Live};
use crate::record::{Record, Run};
use crate::{Engine, blocking, from_network};

impl Engine {
    /// Leads each family's default route through the endpoint that is to have it: the first that
    /// leads out, by priority, then by name.
    pub(super) async fn choose_routes(
        &self,
        container: &Container,
        live: &Live,
        record: &Record,
    ) -> Result<(), Error> {
        let mut endpoints = live.run.endpoints.clone();
        let changed = rerouted(&mut endpoints, |endpoint| self.rank(record, endpoint));
        if changed.is_empty() {
            return Ok(());
        }
        let (engine, pid) = (self.clone(), record.state.pid);
        blocking(move || {
            let namespace = network_namespace(pid)?;
            changed.iter().try_for_each(|endpoint| {
                engine.networks.route_through(endpoint, namespace.as_fd()).map_err(from_network)
            })
        })
        .await?;
        self.change_run(container, live, |run| run.endpoints = endpoints)?;
        Ok(())
    }

    /// The place of an endpoint in the order of those that default routes are looked for among.
    fn rank(&self, record: &Record, endpoint: &Endpoint) -> (i64, String) {
        let name = self.networks.find(&endpoint.network).map(|n| n.name).unwrap_or_default();
        let settings = record.networks.get(&name);
        (-settings.map_or(0, |settings| settings.gw_priority), name)
    }

    /// Of some endpoints, the one that ports are to be published by: as in
    /// [`Engine::attachments`], that of the default route, on a bridge.
    fn way_in<'a>(
        &self,
        record: &Record,
        endpoints: impl Iterator<Item = &'a Endpoint>,
    ) -> Option<Endpoint> {
        let mut endpoints: Vec<Endpoint> = endpoints.cloned().collect();
        rerouted(&mut endpoints, |endpoint| self.rank(record, endpoint));
        let way4 = endpoints.iter().find(|endpoint| endpoint.default_route);
        let way = way4.or_else(|| endpoints.iter().find(|endpoint| endpoint.default_route6))?;
        let network = self.networks.find(&way.network).ok()?;
        (network.driver == network::Driver::Bridge).then(|| way.clone())
    }

    /// Publishes the ports of a container by the network that its answers leave by, after that may
    /// have become another one.
    pub(super) async fn choose_way_in(
        &self,
        container: &Container,
        live: &Live,
        record: &Record,
    ) -> Result<(), Error> {
        let ported = live.run.endpoints.iter().find(|e| !e.ports.is_empty()).cloned();
        let way = self.way_in(record, live.run.endpoints.iter());
        match (ported, way) {
            (None, None) => Ok(()),
            (Some(now), Some(way)) if now.id == way.id => Ok(()),
            (Some(now), Some(way)) => self.move_ports(container, live, now, way).await,
            (Some(now), None) => {
                let all = now.ports.iter().flat_map(|ports| ports.each()).collect();
                self.republish_run(container, live, now, all, Vec::new()).await
            }
            (None, Some(way)) => {
                let wanted = crate::ports::of(record)?;
                self.republish_run(container, live, way, Vec::new(), wanted).await
            }
        }
    }

    /// Before an endpoint goes: its ports go to the one that the default route goes to, or are
    /// closed with it.
    pub(super) async fn hand_ports_on(
        &self,
        container: &Container,
        live: &Live,
        record: &Record,
        leaves: &Endpoint,
    ) -> Result<(), Error> {
        let Some(now) = live.run.endpoints.iter().find(|e| e.id == leaves.id).cloned() else {
            return Ok(());
        };
        if now.ports.is_empty() {
            return Ok(());
        }
        let others = live.run.endpoints.iter().filter(|endpoint| endpoint.id != leaves.id);
        match self.way_in(record, others) {
            Some(way) => self.move_ports(container, live, now, way).await,
            None => {
                let all = now.ports.iter().flat_map(|ports| ports.each()).collect();
                self.republish_run(container, live, now, all, Vec::new()).await
            }
        }
    }

    async fn move_ports(
        &self,
        container: &Container,
        live: &Live,
        from: Endpoint,
        to: Endpoint,
    ) -> Result<(), Error> {
        let engine = self.clone();
        let moved =
            blocking(move || engine.networks.move_ports(&from, &to).map_err(from_network)).await?;
        self.change_run(container, live, |run| take_ports(&mut run.endpoints, &moved))?;
        Ok(())
    }

    /// What an earlier daemon left of a container that runs: endpoints in networks that its record
    /// does not ask for are from a connection that was cut, before anybody was told that it is
    /// there or after it was decided that it goes.
    pub(crate) async fn settle_endpoints(
        &self,
        container: &Container,
        run: Arc<Run>,
        pid: i32,
    ) -> Arc<Run> {
        let record = container.record().clone();
        let asked_for = |endpoint: &Endpoint| {
            self.networks.find(&endpoint.network).is_ok_and(|network| {
                record.networks.contains_key(&network.name)
                    || record.networks.contains_key(&network.id)
            })
        };
        let (kept, cut): (Vec<_>, Vec<_>) = run.endpoints.iter().cloned().partition(asked_for);
        for endpoint in &kept {
            let kept = network_namespace(pid).and_then(|namespace| {
                self.networks.keep_inside(endpoint, namespace.as_fd()).map_err(from_network)
            });
            if let Err(error) = kept {
                tracing::error!(container = container.id.short(), "{error}");
            }
        }
        if cut.is_empty() {
            return run;
        }
        let kept = self.settle_ways(&record, kept, &cut, pid).await;
        let run = Run { endpoints: kept, ..(*run).clone() };
        let directory = self.config.monitor_dir(container.id.as_str());
        if let Err(error) = crate::container::start::replace_run(&directory, &run) {
            tracing::error!(container = container.id.short(), "{error}");
        }
        Arc::new(run)
    }
}

impl Engine {
    /// Ends connections that were cut, and leads ports and routes on to what is left. What fails is
    /// logged: nobody asked for it.
    async fn settle_ways(
        &self,
        record: &Record,
        mut kept: Vec<Endpoint>,
        cut: &[Endpoint],
        pid: i32,
    ) -> Vec<Endpoint> {
        let log = |error: Error| tracing::error!(container = record.id.short(), "{error}");
        for endpoint in cut {
            if !endpoint.ports.is_empty()
                && let Some(way) = self.way_in(record, kept.iter())
            {
                let (engine, from) = (self.clone(), endpoint.clone());
                let moved =
                    blocking(move || engine.networks.move_ports(&from, &way).map_err(from_network));
                match moved.await {
                    Ok(moved) => take_ports(&mut kept, &moved),
                    Err(error) => log(error),
                }
            }
            if let Err(error) = self.unplug(endpoint, pid).await {
                log(error);
            }
        }
        let changed = rerouted(&mut kept, |endpoint| self.rank(record, endpoint));
        let engine = self.clone();
        let routed = blocking(move || {
            let namespace = network_namespace(pid)?;
            changed.iter().try_for_each(|endpoint| {
                engine.networks.route_through(endpoint, namespace.as_fd()).map_err(from_network)
            })
        });
        if let Err(error) = routed.await {
            log(error);
        }
        kept
    }
}

/// Writes into endpoints which ports two of them have now.
fn take_ports(endpoints: &mut [Endpoint], (left, now): &(Endpoint, Endpoint)) {
    for endpoint in endpoints {
        for changed in [left, now] {
            if endpoint.id == changed.id {
                endpoint.ports.clone_from(&changed.ports);
            }
        }
    }
}

/// Decides which endpoints have the default routes, and returns those that get one now.
fn rerouted<K: Ord>(endpoints: &mut [Endpoint], rank: impl Fn(&Endpoint) -> K) -> Vec<Endpoint> {
    let way = |endpoints: &[Endpoint], v4: bool| {
        let ways = endpoints.iter().filter(|endpoint| endpoint.leads_out(v4));
        ways.min_by_key(|endpoint| rank(endpoint)).map(|endpoint| endpoint.id.clone())
    };
    let (way4, way6) = (way(endpoints, true), way(endpoints, false));
    let mut changed = Vec::new();
    for endpoint in endpoints {
        let has4 = way4.as_ref() == Some(&endpoint.id);
        let has6 = way6.as_ref() == Some(&endpoint.id);
        let new = (has4 && !endpoint.default_route) || (has6 && !endpoint.default_route6);
        endpoint.default_route = has4;
        endpoint.default_route6 = has6;
        if new {
            changed.push(endpoint.clone());
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(id: &str, v4: Option<&str>, v6: Option<&str>) -> Endpoint {
        let address = |text: Option<&str>| text.map(|text| text.parse().expect("an address"));
        Endpoint {
            id: id.to_owned(),
            network: id.to_owned(),
            container: "c".to_owned(),
            ipv4: None,
            ipv6: None,
            gateway4: address(v4),
            gateway6: address(v6),
            mac: network::Mac([2, 0, 0, 0, 0, 1]),
            interface: "eth0".to_owned(),
            host_link: String::new(),
            on_link: false,
            default_route: false,
            default_route6: false,
            link_local: Vec::new(),
            sysctls: Vec::new(),
            ports: Vec::new(),
        }
    }

    #[test]
    fn each_family_leaves_by_the_first_network_that_leads_out() {
        let mut all = [
            endpoint("a", None, None),
            endpoint("b", Some("10.0.0.1"), None),
            endpoint("c", Some("10.1.0.1"), Some("fd00::1")),
        ];
        let names = |found: Vec<Endpoint>| -> Vec<String> {
            found.into_iter().map(|endpoint| endpoint.id).collect()
        };
        assert_eq!(names(rerouted(&mut all, |e| e.id.clone())), ["b", "c"]);
        assert!(all[1].default_route && !all[1].default_route6);
        assert!(!all[2].default_route && all[2].default_route6);
        assert!(rerouted(&mut all, |e| e.id.clone()).is_empty(), "nothing is new");
        // The last is preferred now.
        assert_eq!(names(rerouted(&mut all, |e| e.id != "c")), ["c"]);
        assert!(!all[1].default_route && all[2].default_route);
    }
}
