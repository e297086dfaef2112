//! What this engine does not have: swarms and plugins. Answers are those of a dockerd outside a
//! swarm, or say plainly what is missing.

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::{any, delete, get, post};
use types::Error;

use crate::api::Api;
use crate::http::answer::{Answer, Refusal, ok};

const NO_MANAGER: &str = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.";

pub(super) fn routes() -> Router<Api> {
    let mut router = Router::new()
        .route("/session", any(no_session))
        .route("/grpc", any(no_session))
        .route("/swarm", get(no_manager))
        .route("/swarm/init", post(no_swarm))
        .route("/swarm/join", post(no_swarm))
        .route("/swarm/leave", post(not_in_a_swarm))
        .route("/swarm/update", post(no_manager))
        .route("/swarm/unlockkey", get(no_manager))
        .route("/swarm/unlock", post(no_manager))
        .route("/plugins", get(plugins))
        .route("/plugins/privileges", get(no_plugins))
        .route("/plugins/pull", post(no_plugins))
        .route("/plugins/create", post(no_plugins))
        .route("/plugins/{name}", delete(no_such_plugin))
        .route("/plugins/{name}/json", get(no_such_plugin))
        .route("/plugins/{name}/{action}", post(no_such_plugin));
    for noun in ["services", "nodes", "tasks", "secrets", "configs"] {
        router = router
            .route(&format!("/{noun}"), get(no_manager))
            .route(&format!("/{noun}/create"), post(no_manager))
            .route(&format!("/{noun}/{{id}}"), get(no_manager).delete(no_manager))
            .route(&format!("/{noun}/{{id}}/update"), post(no_manager))
            .route(&format!("/{noun}/{{id}}/logs"), get(no_manager));
    }
    router
}

/// BuildKit's clients try this first and fall back when it is not there.
async fn no_session() -> Answer {
    Err(Refusal::page_not_found())
}

async fn no_manager() -> Answer {
    Err(Error::unavailable(NO_MANAGER).into())
}

async fn no_swarm() -> Answer {
    Err(Error::not_implemented("this engine does not form swarms").into())
}

async fn not_in_a_swarm() -> Answer {
    Err(Error::unavailable("This node is not part of a swarm").into())
}

async fn plugins() -> Answer {
    ok(&[(); 0])
}

async fn no_plugins() -> Answer {
    Err(Error::not_implemented("plugins are not supported").into())
}

async fn no_such_plugin(Path(parts): Path<Vec<String>>) -> Answer {
    let name = parts.first().cloned().unwrap_or_default();
    Err(Refusal::new(StatusCode::NOT_FOUND, format!("plugin {name:?} not found")))
}
