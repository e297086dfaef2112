//! Containers: make, list, look at, change, remove.

mod earlier;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{delete, get, post};
use docker_api::WarningsResponse;
use docker_api::container::{
    Change, ContainersPruneReport, CreateBody, CreateResponse, TopResponse, UpdateBody,
};
use engine::{
    CreateSpec, EnvChanges, ListOptions, MountChanges, PortChanges, RemoveOptions, Update,
};
use types::Error;
use types::container::{RestartPolicy, RestartRule};

use crate::api::Api;
use crate::http::answer::{Answer, done, json, ok};
use crate::http::call::{Call, Name};
use crate::render;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/containers/create", post(create))
        .route("/containers/json", get(list))
        .route("/containers/prune", post(prune))
        .route("/containers/{id}/json", get(inspect))
        .route("/containers/{id}/top", get(top))
        .route("/containers/{id}/changes", get(changes))
        .route("/containers/{id}/rename", post(rename))
        .route("/containers/{id}/update", post(update))
        .route("/containers/{id}", delete(remove))
        .route("/containers/{id}/{alias}", delete(remove_link))
}

async fn create(State(api): State<Api>, mut call: Call) -> Answer {
    let body: Option<CreateBody> = call.some_json().await?;
    let Some(mut body) = body else {
        let message = "config cannot be empty in order to create a container";
        return Err(Error::invalid(message).into());
    };
    let warnings = earlier::create(&mut body, call.version);
    let host = &mut body.host_config;
    if host.resources.pids_limit.is_some_and(|limit| limit <= 0) {
        host.resources.pids_limit = None;
    }
    let spec = CreateSpec {
        config: body.config,
        host: body.host_config,
        networking: body.networking_config,
        platform: call.some("platform").filter(|_| call.at_least(41)).map(str::to_owned),
    };
    let created = api.engine.create(call.some("name"), spec).await?;
    let warnings = created.warnings.into_iter().chain(warnings).collect();
    let answer = CreateResponse { id: created.id.to_string(), warnings };
    Ok(json(StatusCode::CREATED, &answer))
}

async fn list(State(api): State<Api>, call: Call) -> Answer {
    let limit = call.number("limit")?;
    let options = ListOptions {
        all: call.flag("all"),
        // 0 and below mean all of them.
        limit: limit.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0),
        size: call.flag("size"),
        filters: call.filters()?,
    };
    let found = api.engine.list(options).await?;
    let list: Vec<_> =
        found.into_iter().map(|one| render::list::summary(one, call.version)).collect();
    ok(&list)
}

async fn inspect(State(api): State<Api>, Name(name): Name, call: Call) -> Answer {
    let found = api.engine.inspect(&name, call.flag("size")).await?;
    ok(&render::container::inspect(found, call.version))
}

async fn top(State(api): State<Api>, Name(name): Name, call: Call) -> Answer {
    let top = api.engine.top(&name, call.text("ps_args")).await?;
    ok(&TopResponse { titles: top.titles, processes: top.processes })
}

async fn changes(State(api): State<Api>, Name(name): Name) -> Answer {
    let changes = api.engine.changes(&name).await?;
    if changes.is_empty() {
        return ok(&serde_json::Value::Null);
    }
    let list: Vec<_> = changes
        .into_iter()
        .map(|change| Change { path: change.path, kind: change.kind as u8 })
        .collect();
    ok(&list)
}

async fn rename(State(api): State<Api>, Name(name): Name, call: Call) -> Answer {
    api.engine.rename(&name, call.text("name")).await?;
    done()
}

async fn update(State(api): State<Api>, Name(name): Name, mut call: Call) -> Answer {
    let text: serde_json::Value = call.some_json().await?;
    let wrong = |error: serde_json::Error| Error::invalid(format!("invalid JSON: {error}"));
    let mut body: UpdateBody = serde_json::from_value(text.clone()).map_err(wrong)?;
    let emptied = earlier::update(&mut body.resources, &text, call.version);
    let policy = body.restart_policy;
    let restart_policy = if policy.name.is_empty() {
        None
    } else {
        let name = RestartRule::try_from(policy.name);
        let name = name.map_err(Error::invalid)?;
        Some(RestartPolicy { name, maximum_retry_count: policy.maximum_retry_count })
    };
    let ports = PortChanges { add: body.publish_add, remove: body.publish_remove };
    let mounts =
        MountChanges { add: body.mount_add, add_binds: body.bind_add, remove: body.mount_remove };
    let env = EnvChanges { set: body.env_add, remove: body.env_remove };
    let update = Update { resources: body.resources, emptied, restart_policy, ports, mounts, env };
    let warnings = api.engine.update(&name, update).await?;
    ok(&WarningsResponse { warnings })
}

async fn remove(State(api): State<Api>, Name(name): Name, call: Call) -> Answer {
    let options = RemoveOptions {
        force: call.flag("force"),
        volumes: call.flag("v"),
        link: call.flag("link"),
    };
    api.engine.remove(&name, options).await?;
    done()
}

/// Names of legacy links have a slash.
async fn remove_link(
    State(api): State<Api>,
    Path((name, alias)): Path<(String, String)>,
    call: Call,
) -> Answer {
    remove(State(api), Name(format!("{name}/{alias}")), call).await
}

async fn prune(State(api): State<Api>, call: Call) -> Answer {
    let pruned = api.engine.prune_containers(&call.filters()?).await?;
    let (containers_deleted, space_reclaimed) = (pruned.deleted, pruned.space);
    ok(&ContainersPruneReport { containers_deleted, space_reclaimed })
}
