//! Images: list, look at, name, remove.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{delete, get, post};

use docker_api::image::ImagesPruneReport;

use crate::api::Api;
use crate::http::answer::{Answer, Refusal, channel, empty, ok};
use crate::http::call::{Call, Name};
use crate::render::image;

pub(super) fn routes() -> Router<Api> {
    // Names have slashes, so what stands behind them is looked at by hand.
    Router::new()
        .route("/images/json", get(list))
        .route("/images/prune", post(prune))
        .route("/images/{*name}", delete(remove).get(about).post(act))
}

async fn list(State(api): State<Api>, call: Call) -> Answer {
    let mut filters = call.filters()?;
    if !call.at_least(41)
        && let Some(reference) = call.some("filter")
    {
        filters.add("reference", reference);
    }
    let found = api.engine.images(call.flag("all"), &filters, call.flag("shared-size")).await?;
    let list: Vec<_> =
        found.into_iter().map(|summary| image::summary(summary, call.version)).collect();
    ok(&list)
}

async fn about(State(api): State<Api>, Name(path): Name, call: Call) -> Answer {
    if let Some(name) = path.strip_suffix("/json") {
        let found = api.engine.image_inspect(name).await?;
        return ok(&image::inspect(found, call.version));
    }
    if let Some(name) = path.strip_suffix("/history") {
        let found = api.engine.image_history(name).await?;
        let list: Vec<_> = found.into_iter().map(image::history).collect();
        return ok(&list);
    }
    if let Some(name) = path.strip_suffix("/get") {
        let pieces = api.engine.save(vec![name.to_owned()]).await?;
        return Ok(channel("application/x-tar", pieces));
    }
    Err(Refusal::page_not_found())
}

async fn act(State(api): State<Api>, Name(path): Name, call: Call) -> Answer {
    if let Some(name) = path.strip_suffix("/tag") {
        api.engine.image_tag(name, call.text("repo"), call.text("tag")).await?;
        return empty(StatusCode::CREATED);
    }
    if let Some(name) = path.strip_suffix("/push") {
        return super::registry::push(&api, name, call).await;
    }
    Err(Refusal::page_not_found())
}

async fn remove(State(api): State<Api>, Name(name): Name, call: Call) -> Answer {
    let removed = api.engine.image_remove(&name, call.flag("force"), call.flag("noprune")).await?;
    let list: Vec<_> = removed.into_iter().map(image::removal).collect();
    ok(&list)
}

async fn prune(State(api): State<Api>, call: Call) -> Answer {
    let (removed, space_reclaimed) = api.engine.image_prune(&call.filters()?).await?;
    let images_deleted = removed.into_iter().map(image::removal).collect();
    ok(&ImagesPruneReport { images_deleted, space_reclaimed })
}
