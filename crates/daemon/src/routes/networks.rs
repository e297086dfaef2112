//! Networks.

mod spec;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use docker_api::network::{
    NetworkConnectBody, NetworkCreateBody, NetworkCreateResponse, NetworkDisconnectBody,
    NetworksPruneReport,
};
use types::Error;

use crate::api::Api;
use crate::http::answer::{Answer, done, empty, json, ok};
use crate::http::call::{Call, Name};
use crate::render;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/networks", get(list))
        .route("/networks/", get(list))
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
            list.push(render::network::detail(detail, call.version));
        }
    }
    ok(&list)
}

async fn inspect(State(api): State<Api>, Name(name): Name, call: Call) -> Answer {
    if call.some("scope").is_some_and(|scope| scope != "local") {
        return Err(Error::not_found(format!("network {name} not found")).into());
    }
    ok(&render::network::detail(api.engine.network_inspect(&name)?, call.version))
}

async fn create(State(api): State<Api>, mut call: Call) -> Answer {
    let body: NetworkCreateBody = call.some_json().await?;
    let network = api.engine.network_create(spec::spec(body)?).await?;
    let answer = NetworkCreateResponse { id: network.id, warning: String::new() };
    Ok(json(StatusCode::CREATED, &answer))
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
