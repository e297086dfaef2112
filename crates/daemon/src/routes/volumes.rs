//! Volumes.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use docker_api::volume::{VolumeCreateBody, VolumeListResponse, VolumesPruneReport};
use engine::VolumeCreateOptions;

use crate::api::Api;
use crate::http::answer::{Answer, done, json, ok};
use crate::http::call::{Call, Name};
use crate::render;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/volumes", get(list))
        .route("/volumes/create", post(create))
        .route("/volumes/prune", post(prune))
        .route("/volumes/{name}", get(inspect).delete(remove))
}

async fn list(State(api): State<Api>, call: Call) -> Answer {
    let found = api.engine.volume_list(&call.filters()?)?;
    let volumes = found.into_iter().map(render::volume::volume).collect();
    ok(&VolumeListResponse { volumes, warnings: Vec::new() })
}

async fn create(State(api): State<Api>, mut call: Call) -> Answer {
    let body: VolumeCreateBody = call.json().await?.unwrap_or_default();
    let options = VolumeCreateOptions {
        name: body.name,
        driver: body.driver,
        driver_opts: body.driver_opts,
        labels: body.labels,
    };
    let volume = api.engine.volume_create(options).await?;
    Ok(json(StatusCode::CREATED, &render::volume::volume(volume)))
}

async fn inspect(State(api): State<Api>, Name(name): Name) -> Answer {
    ok(&render::volume::volume(api.engine.volume_inspect(&name)?))
}

async fn remove(State(api): State<Api>, Name(name): Name, call: Call) -> Answer {
    let force = call.flag("force");
    let engine = api.engine.clone();
    // Removing a directory tree may take its time.
    let removal = tokio::task::spawn_blocking(move || engine.volume_remove(&name, force));
    removal.await.map_err(|error| types::Error::system(error.to_string()))??;
    done()
}

async fn prune(State(api): State<Api>, call: Call) -> Answer {
    // Before 1.42 named volumes went as well.
    let all = !call.at_least(42);
    let pruned = api.engine.volume_prune(&call.filters()?, all).await?;
    let (volumes_deleted, space_reclaimed) = (pruned.deleted, pruned.space);
    ok(&VolumesPruneReport { volumes_deleted, space_reclaimed })
}
