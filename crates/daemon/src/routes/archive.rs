//! Files in and out of containers.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use docker_api::archive::PathStat;
use engine::ArchiveOptions;
use types::Error;

use crate::api::Api;
use crate::http::answer::{Answer, Refusal, channel, empty};
use crate::http::call::{Call, Name};
use crate::http::upload;
use crate::render::container::path_stat;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/containers/{id}/archive", get(read).head(stat).put(write))
        .route("/containers/{id}/export", get(export))
}

fn path(call: &Call) -> Result<&str, Error> {
    call.some("path").ok_or_else(|| Error::invalid("bad parameter: path cannot be empty"))
}

fn with_stat(mut response: Response, stat: &PathStat) -> Answer {
    let value = HeaderValue::try_from(stat.to_header())
        .map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    response.headers_mut().insert("x-docker-container-path-stat", value);
    Ok(response)
}

async fn stat(State(api): State<Api>, Name(name): Name, call: Call) -> Answer {
    let found = api.engine.archive_stat(&name, path(&call)?).await?;
    with_stat(StatusCode::OK.into_response(), &path_stat(found))
}

async fn read(State(api): State<Api>, Name(name): Name, call: Call) -> Answer {
    let (found, pieces) = api.engine.archive_get(&name, path(&call)?).await?;
    with_stat(channel("application/x-tar", pieces), &path_stat(found))
}

async fn write(State(api): State<Api>, Name(name): Name, mut call: Call) -> Answer {
    let options = ArchiveOptions {
        no_overwrite_dir_non_dir: call.flag("noOverwriteDirNonDir"),
        copy_uid_gid: call.flag("copyUIDGID"),
    };
    let body = call.take_body();
    let path = path(&call)?;
    upload::feed(body, |reader| api.engine.archive_put(&name, path, options, Box::new(reader)))
        .await?;
    empty(StatusCode::OK)
}

async fn export(State(api): State<Api>, Name(name): Name) -> Answer {
    Ok(channel("application/octet-stream", api.engine.export(&name).await?))
}
