//! What belongs to swarms, which this engine forms none of: the answers are those of a dockerd that
//! is outside of one, down to what is wrong with a request before that matters.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post, put};
use serde_json::{Map, Value};
use types::Error;

use crate::api::Api;
use crate::http::answer::{Answer, Refusal};
use crate::http::call::Call;

const NO_MANAGER: &str = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.";
const OUTSIDE: &str = "This node is not part of a swarm";

pub(super) fn routes() -> Router<Api> {
    let mut router = Router::new()
        .route("/swarm", get(no_manager))
        .route("/swarm/init", post(form))
        .route("/swarm/join", post(form))
        .route("/swarm/leave", post(leave))
        .route("/swarm/update", post(update_swarm))
        .route("/swarm/unlockkey", get(no_manager))
        .route("/swarm/unlock", post(with_body))
        .route("/nodes", get(no_manager))
        .route("/nodes/{id}", get(no_manager).delete(no_manager))
        .route("/nodes/{id}/update", post(update_node))
        .route("/services/{id}/update", post(update_service))
        .route("/services/{id}/logs", get(logs))
        .route("/tasks", get(no_manager))
        .route("/tasks/{id}", get(no_manager))
        .route("/tasks/{id}/logs", get(logs))
        .route("/secrets/{id}/update", post(update_secret))
        .route("/configs/{id}/update", post(update_config))
        .route("/volumes/{name}", put(cluster_volume));
    for noun in ["services", "secrets", "configs"] {
        router = router
            .route(&format!("/{noun}"), get(no_manager))
            .route(&format!("/{noun}/create"), post(with_body))
            .route(&format!("/{noun}/{{id}}"), get(no_manager).delete(no_manager));
    }
    router
}

async fn no_manager(State(_): State<Api>) -> Answer {
    Err(Error::unavailable(NO_MANAGER).into())
}

/// The body of a request, which is some object.
async fn object(call: &mut Call) -> Result<Map<String, Value>, Refusal> {
    let body: Option<Map<String, Value>> = call.some_json().await?;
    Ok(body.unwrap_or_default())
}

async fn with_body(mut call: Call) -> Answer {
    object(&mut call).await?;
    Err(Error::unavailable(NO_MANAGER).into())
}

async fn form(mut call: Call) -> Answer {
    let body = object(&mut call).await?;
    let address = body.get("ListenAddr").and_then(Value::as_str).unwrap_or_default();
    if address.is_empty() {
        return Err(Error::invalid("invalid ListenAddr \"\": invalid empty address").into());
    }
    let message = "this engine does not form swarms: run services as containers, or with Compose";
    Err(Error::not_implemented(message).into())
}

async fn leave(State(_): State<Api>) -> Answer {
    Err(Error::unavailable(OUTSIDE).into())
}

/// The `version` that an update is meant for.
fn version_of(call: &Call, noun: &str, explains: bool) -> Result<(), Error> {
    let text = call.text("version");
    if text.parse::<u64>().is_ok() {
        return Ok(());
    }
    Err(Error::invalid(if explains {
        format!(
            "invalid {noun} version '{text}': strconv.ParseUint: parsing {text:?}: invalid syntax"
        )
    } else {
        format!("invalid {noun} version")
    }))
}

async fn update(mut call: Call, noun: &str, explains: bool) -> Answer {
    object(&mut call).await?;
    version_of(&call, noun, explains)?;
    Err(Error::unavailable(NO_MANAGER).into())
}

async fn update_swarm(call: Call) -> Answer {
    update(call, "swarm", true).await
}

async fn update_node(call: Call) -> Answer {
    update(call, "node", true).await
}

async fn update_service(call: Call) -> Answer {
    update(call, "service", true).await
}

async fn update_secret(call: Call) -> Answer {
    update(call, "secret", false).await
}

async fn update_config(call: Call) -> Answer {
    update(call, "config", false).await
}

async fn logs(call: Call) -> Answer {
    if !call.flag("stdout") && !call.flag("stderr") {
        let message = "Bad parameters: you must choose at least one stream";
        return Err(Error::invalid(message).into());
    }
    Err(Error::unavailable(NO_MANAGER).into())
}

/// Since 1.42 volumes of a cluster can be changed.
async fn cluster_volume(call: Call) -> Answer {
    if !call.at_least(42) {
        return Err(Refusal::page_not_found());
    }
    let message = "volume update only valid for cluster volumes, but swarm is unavailable";
    Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message))
}
