//! Which network a container reaches the rest of the world by, and what of an earlier daemon's
//! changes was cut.

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
        let rank = |endpoint: &Endpoint| {
            let name = self.networks.find(&endpoint.network).map(|n| n.name).unwrap_or_default();
            let settings = record.networks.get(&name);
            (-settings.map_or(0, |settings| settings.gw_priority), name)
        };
        let mut endpoints = live.run.endpoints.clone();
        let changed = rerouted(&mut endpoints, rank);
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
        for endpoint in &cut {
            if let Err(error) = self.unplug(endpoint, pid).await {
                tracing::error!(container = container.id.short(), "{error}");
            }
        }
        let run = Run { endpoints: kept, ..(*run).clone() };
        let directory = self.config.monitor_dir(container.id.as_str());
        if let Err(error) = crate::container::start::replace_run(&directory, &run) {
            tracing::error!(container = container.id.short(), "{error}");
        }
        Arc::new(run)
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
