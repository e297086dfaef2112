//! Volumes.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use docker_api::volume::{
    VolumeCopyBody, VolumeCreateBody, VolumeListResponse, VolumesPruneReport,
};
use engine::{VolumeCopy, VolumeCreateOptions};

use crate::api::Api;
use crate::http::answer::{Answer, channel, done, json, ok};
use crate::http::call::{Call, Name};
use crate::http::upload;
use crate::render;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/volumes", get(list))
        .route("/volumes/create", post(create))
        .route("/volumes/prune", post(prune))
        .route("/volumes/{name}", get(inspect).delete(remove))
        .route("/volumes/{name}/clone", post(clone))
        .route("/volumes/{name}/snapshot", post(snapshot))
        .route("/volumes/{name}/export", get(export))
        .route("/volumes/{name}/import", post(import))
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

fn copied(body: VolumeCopyBody, pause: bool) -> VolumeCopy {
    let VolumeCopyBody { name, labels, replace, pause: asked } = body;
    VolumeCopy { name, labels, replace, pause: asked.unwrap_or(pause) }
}

async fn clone(State(api): State<Api>, Name(name): Name, mut call: Call) -> Answer {
    let wanted = copied(call.some_json().await?, false);
    let volume = api.engine.volume_clone(&name, wanted).await?;
    Ok(json(StatusCode::CREATED, &render::volume::volume(volume)))
}

async fn snapshot(State(api): State<Api>, Name(name): Name, mut call: Call) -> Answer {
    let body: VolumeCopyBody = call.json().await?.unwrap_or_default();
    let volume = api.engine.volume_snapshot(&name, copied(body, true)).await?;
    Ok(json(StatusCode::CREATED, &render::volume::volume(volume)))
}

async fn export(State(api): State<Api>, Name(name): Name) -> Answer {
    Ok(channel("application/x-tar", api.engine.volume_export(&name).await?))
}

async fn import(State(api): State<Api>, Name(name): Name, mut call: Call) -> Answer {
    let label = |text: &str| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        (key.to_owned(), value.to_owned())
    };
    let labels = call.params.all("label").map(label).collect();
    let wanted = VolumeCopy { name, labels, replace: call.flag("replace"), pause: false };
    let body = call.take_body();
    let volume =
        upload::feed(body, |reader| api.engine.volume_import(wanted, Box::new(reader))).await?;
    Ok(json(StatusCode::CREATED, &render::volume::volume(volume)))
}
