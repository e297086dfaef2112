//! What is known of machines beyond containers: templates, and snapshots of disks.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{delete, get, post};
use docker_api::machine::{DiskSnapshot, SnapshotBody, TemplateBuilt};
use types::resources::Resources;

use crate::api::Api;
use crate::http::answer::{Answer, done, ok};
use crate::http::call::{Call, Name};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/isopod/machines/templates/build", post(build_template))
        .route("/isopod/machines/snapshots", get(snapshots))
        .route("/isopod/machines/snapshots/create", post(snapshot))
        .route("/isopod/machines/snapshots/{name}", delete(remove_snapshot))
}

async fn build_template(State(api): State<Api>, call: Call) -> Answer {
    let number = |name| call.params.number(name).map(|number| number.unwrap_or(0));
    let limits = Resources {
        memory: number("memory")?,
        nano_cpus: number("nanocpus")?,
        ..Resources::default()
    };
    let architecture = call.some("architecture").unwrap_or_default();
    ok(&TemplateBuilt { name: api.engine.build_template(architecture, limits).await? })
}

async fn snapshots(State(api): State<Api>) -> Answer {
    let found = api.engine.snapshots().await?.into_iter().map(|found| DiskSnapshot {
        name: found.name,
        created: found.created,
        size: found.size,
        taken: found.taken,
        base: found.base.to_string_lossy().into_owned(),
    });
    ok(&found.collect::<Vec<_>>())
}

async fn snapshot(State(api): State<Api>, mut call: Call) -> Answer {
    let SnapshotBody { machine, name } = call.some_json().await?;
    api.engine.snapshot(&machine, &name).await?;
    Ok(crate::http::answer::json(StatusCode::CREATED, &SnapshotBody { machine, name }))
}

async fn remove_snapshot(State(api): State<Api>, Name(name): Name) -> Answer {
    api.engine.remove_snapshot(&name).await?;
    done()
}
