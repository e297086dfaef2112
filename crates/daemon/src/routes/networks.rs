//! Networks.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use docker_api::network::{
    IpamConfig, NetworkConnectBody, NetworkCreateBody, NetworkCreateResponse,
    NetworkDisconnectBody, NetworksPruneReport,
};
use engine::{NetworkSpec, SubnetSpec};
use types::Error;

use crate::api::Api;
use crate::http::answer::{Answer, done, empty, json, ok};
use crate::http::call::{Call, Name};
use crate::render;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/networks", get(list))
        .route("/networks/create", post(create))
        .route("/networks/prune", post(prune))
        .route("/networks/{id}", get(inspect).delete(remove))
        .route("/networks/{id}/connect", post(connect))
        .route("/networks/{id}/disconnect", post(disconnect))
}

async fn list(State(api): State<Api>, call: Call) -> Answer {
    let found = api.engine.network_list(&call.filters()?)?;
    if call.at_least(28) {
        let list: Vec<_> = found.into_iter().map(render::network::network).collect();
        return ok(&list);
    }
    // Before 1.28 lists showed the containers as well.
    let mut list = Vec::new();
    for network in found {
        // One may have been removed since.
        if let Ok(detail) = api.engine.network_inspect(&network.id) {
            list.push(render::network::detail(detail));
        }
    }
    ok(&list)
}

async fn inspect(State(api): State<Api>, Name(name): Name, call: Call) -> Answer {
    if call.some("scope").is_some_and(|scope| scope != "local") {
        return Err(Error::not_found(format!("network {name} not found")).into());
    }
    ok(&render::network::detail(api.engine.network_inspect(&name)?))
}

async fn create(State(api): State<Api>, mut call: Call) -> Answer {
    let body: NetworkCreateBody = call.some_json().await?;
    let network = api.engine.network_create(spec(body)?).await?;
    let answer = NetworkCreateResponse { id: network.id, warning: String::new() };
    Ok(json(StatusCode::CREATED, &answer))
}

/// What a client asks for, in the engine's terms.
fn spec(body: NetworkCreateBody) -> Result<NetworkSpec, Error> {
    let absent = |what: &str| Err(Error::not_implemented(format!("{what} are not supported")));
    if body.ingress || body.scope == "swarm" || body.scope == "global" {
        return absent("swarm networks");
    }
    if body.config_only || body.config_from.is_some_and(|from| !from.network.is_empty()) {
        return absent("configuration-only networks");
    }
    if body.enable_ipv4 == Some(false) {
        return absent("networks without IPv4");
    }
    let ipam = body.ipam.unwrap_or_default();
    if !matches!(ipam.driver.as_str(), "" | "default") {
        return absent("address management drivers other than \"default\"");
    }
    let subnets: Result<Vec<_>, _> = ipam.config.into_iter().map(subnet).collect();
    Ok(NetworkSpec {
        name: body.name,
        driver: body.driver,
        internal: body.internal,
        attachable: body.attachable,
        ipv6: body.enable_ipv6.unwrap_or(false),
        subnets: subnets?,
        options: body.options,
        ipam_options: ipam.options.unwrap_or_default(),
        labels: body.labels,
    })
}

fn subnet(config: IpamConfig) -> Result<SubnetSpec, Error> {
    fn read<T: std::str::FromStr>(what: &str, text: &str) -> Result<Option<T>, Error> {
        if text.is_empty() {
            return Ok(None);
        }
        let wrong = |_| Error::invalid(format!("invalid {what} {text}: invalid CIDR or address"));
        text.parse().map(Some).map_err(wrong)
    }
    let mut aux = std::collections::BTreeMap::new();
    for (name, text) in config.auxiliary_addresses {
        if let Some(address) = read("auxiliary address", &text)? {
            aux.insert(name, address);
        }
    }
    Ok(SubnetSpec {
        subnet: read("subnet", &config.subnet)?,
        range: read("ip-range", &config.ip_range)?,
        gateway: read("gateway address", &config.gateway)?,
        aux,
    })
}

async fn remove(State(api): State<Api>, Name(name): Name) -> Answer {
    api.engine.network_remove(&name).await?;
    done()
}

async fn connect(State(api): State<Api>, Name(name): Name, mut call: Call) -> Answer {
    let body: NetworkConnectBody = call.some_json().await?;
    let settings = body.endpoint_config.unwrap_or_default();
    api.engine.network_connect(&name, &body.container, settings).await?;
    empty(StatusCode::OK)
}

async fn disconnect(State(api): State<Api>, Name(name): Name, mut call: Call) -> Answer {
    let body: NetworkDisconnectBody = call.some_json().await?;
    api.engine.network_disconnect(&name, &body.container, body.force).await?;
    empty(StatusCode::OK)
}

async fn prune(State(api): State<Api>, call: Call) -> Answer {
    let networks_deleted = api.engine.network_prune(&call.filters()?).await?.deleted;
    ok(&NetworksPruneReport { networks_deleted })
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::ErrorKind;

    fn read(body: &str) -> Result<NetworkSpec, Error> {
        spec(serde_json::from_str(body).expect("JSON"))
    }

    #[test]
    fn what_a_client_asks_for_is_understood() {
        let spec = read(
            r#"{"Name":"n","Driver":"bridge","EnableIPv6":true,"Internal":true,
                "IPAM":{"Driver":"default","Config":[{"Subnet":"10.9.0.0/24",
                "IPRange":"10.9.0.0/25","Gateway":"10.9.0.1",
                "AuxiliaryAddresses":{"a":"10.9.0.9","b":""}}]},"Options":{"o":"1"}}"#,
        )
        .expect("valid");
        assert!(spec.ipv6 && spec.internal);
        assert_eq!(spec.options["o"], "1");
        let [subnet] = spec.subnets.as_slice() else { panic!("one subnet: {spec:?}") };
        assert_eq!(subnet.subnet.map(|cidr| cidr.to_string()).as_deref(), Some("10.9.0.0/24"));
        assert_eq!(subnet.aux.len(), 1);
    }

    #[test]
    fn what_is_not_there_or_makes_no_sense_is_refused() {
        for (body, kind) in [
            (r#"{"Name":"n","Ingress":true}"#, ErrorKind::NotImplemented),
            (r#"{"Name":"n","Scope":"swarm"}"#, ErrorKind::NotImplemented),
            (r#"{"Name":"n","ConfigOnly":true}"#, ErrorKind::NotImplemented),
            (r#"{"Name":"n","EnableIPv4":false}"#, ErrorKind::NotImplemented),
            (r#"{"Name":"n","IPAM":{"Driver":"dhcp"}}"#, ErrorKind::NotImplemented),
            (r#"{"Name":"n","IPAM":{"Config":[{"Subnet":"x"}]}}"#, ErrorKind::Invalid),
            (r#"{"Name":"n","IPAM":{"Config":[{"Gateway":"10.0.0.300"}]}}"#, ErrorKind::Invalid),
        ] {
            assert_eq!(read(body).expect_err("refused").kind, kind, "{body}");
        }
    }
}
