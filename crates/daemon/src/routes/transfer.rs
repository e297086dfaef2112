//! Images in and out of the store: load, save, import, commit, pull.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use docker_api::IdResponse;
use docker_api::progress::JsonMessage;
use engine::{CommitRequest, ImportRequest, PullRequest};
use futures_util::stream;
use tokio::sync::mpsc;
use types::Error;
use types::container::ContainerConfig;
use types::digest::Digest;
use types::reference::{InvalidReference, Reference};

use super::registry;
use crate::api::Api;
use crate::http::answer::{Answer, channel, json, json_lines, received};
use crate::http::call::Call;
use crate::http::{platform, upload};
use crate::render::image;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/images/load", post(load))
        .route("/images/get", get(save))
        .route("/images/create", post(create))
        .route("/commit", post(commit))
}

/// How many signs of progress may wait for the client.
const WAITING: usize = 64;

async fn load(State(api): State<Api>, mut call: Call) -> Answer {
    let quiet = call.flag("quiet");
    let platform = platform::only(call.params.all("platform"), platform::either)?;
    let reader = upload::detached(call.take_body());
    let (lines, receiver) = mpsc::channel::<JsonMessage>(WAITING);
    tokio::spawn(async move {
        let (progress, mut steps) = mpsc::channel(WAITING);
        let tell = async {
            while let Some(step) = steps.recv().await {
                if let Some(line) = image::progress(step).filter(|_| !quiet) {
                    // Progress is for those who look.
                    drop(lines.try_send(line));
                }
            }
        };
        let load = api.engine.load(Box::new(reader), platform, Some(progress));
        let (loaded, ()) = tokio::join!(load, tell);
        let last = match loaded {
            Ok(images) => images.iter().flat_map(image::loaded).collect(),
            // The status has been sent, so the error goes where the progress went.
            Err(error) => vec![JsonMessage::error(error.message)],
        };
        for line in last {
            // Nobody reads any more: the images are loaded all the same.
            drop(lines.send(line).await);
        }
    });
    Ok(json_lines(received(receiver)))
}

async fn save(State(api): State<Api>, call: Call) -> Answer {
    let names = call.params.all("names").flat_map(|names| names.split(',')).map(str::to_owned);
    let names: Vec<String> = names.filter(|name| !name.is_empty()).collect();
    if names.is_empty() {
        return Err(Error::invalid("no image was named: give its name as ?names=").into());
    }
    let platform = match call.at_least(48) {
        true => platform::only(call.params.all("platform"), platform::either)?,
        false => None,
    };
    let oci = archive_format(&call)?;
    Ok(channel("application/x-tar", api.engine.save(names, platform, oci).await?))
}

/// Whether an OCI image layout is asked for (`format`, Isopod's own).
pub(super) fn archive_format(call: &Call) -> Result<bool, Error> {
    match call.text("format") {
        "" | "docker" => Ok(false),
        "oci" => Ok(true),
        other => Err(Error::invalid(format!("unknown format {other:?}: use docker or oci"))),
    }
}

async fn create(State(api): State<Api>, call: Call) -> Answer {
    match (call.some("fromImage"), call.some("fromSrc")) {
        (Some(name), _) => pull(&api, name, &call).await,
        (None, Some("-")) => import(&api, call).await,
        (None, Some(address)) => {
            let request = ImportRequest {
                address: address.to_owned(),
                repository: call.text("repo").to_owned(),
                tag: call.text("tag").to_owned(),
                changes: call.params.all("changes").map(str::to_owned).collect(),
                message: remark(&call, address),
                platform: call.some("platform").map(str::to_owned),
            };
            registry::told(api.engine.import_from(request)).await
        }
        (None, None) => Err(Error::invalid("neither fromImage nor fromSrc was given").into()),
    }
}

async fn pull(api: &Api, name: &str, call: &Call) -> Answer {
    let request = PullRequest {
        reference: pulled(name, call.text("tag"))?,
        platform: call.some("platform").map(str::to_owned),
        credentials: registry::credentials(call),
    };
    registry::told(api.engine.pull(request)).await
}

/// What is to be pulled. A tag beside the name goes before one in it, and may be a digest; with
/// neither, all tags are meant.
fn pulled(name: &str, tag: &str) -> Result<Reference, Error> {
    let invalid = |error: InvalidReference| Error::invalid(error.to_string());
    let name = Reference::parse(name.strip_suffix(':').unwrap_or(name)).map_err(invalid)?;
    if tag.is_empty() || name.digest().is_some() {
        return Ok(name);
    }
    match tag.parse::<Digest>() {
        Ok(digest) => Ok(name.with_digest(digest)),
        Err(_) => name.with_tag(tag).map_err(invalid),
    }
}

/// What the image says of its making.
fn remark(call: &Call, source: &str) -> String {
    match call.text("message") {
        "" => format!("Imported from {source}"),
        message => message.to_owned(),
    }
}

async fn import(api: &Api, mut call: Call) -> Answer {
    let body = call.take_body();
    let changes = call.params.all("changes").map(str::to_owned).collect();
    let message = remark(&call, "-");
    let platform = call.some("platform").map(str::to_owned);
    let id = upload::feed(body, |reader| {
        let (repository, tag) = (call.text("repo"), call.text("tag"));
        api.engine.import(Box::new(reader), repository, tag, changes, message, platform)
    })
    .await?;
    Ok(json_lines(stream::iter([JsonMessage::status(id)])))
}

async fn commit(State(api): State<Api>, mut call: Call) -> Answer {
    let config: Option<ContainerConfig> = call.json::<Option<_>>().await?.flatten();
    let text = |name| call.text(name).to_owned();
    let request = CommitRequest {
        repository: text("repo"),
        tag: text("tag"),
        comment: text("comment"),
        author: text("author"),
        pause: call.params.flag_or("pause", true),
        changes: call.params.all("changes").flat_map(str::lines).map(str::to_owned).collect(),
        config,
    };
    let id = api.engine.commit(call.text("container"), request).await?;
    Ok(json(StatusCode::CREATED, &IdResponse { id }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_beside_the_name_counts_and_may_be_a_digest() {
        let digest = format!("sha256:{}", "1".repeat(64));
        let of = |name: &str, tag: &str| {
            pulled(name, tag).map(|found| found.familiar()).map_err(|error| error.message)
        };
        assert_eq!(of("busybox", ""), Ok("busybox".to_owned()));
        assert_eq!(of("busybox", "1"), Ok("busybox:1".to_owned()));
        assert_eq!(of("busybox:2", "1"), Ok("busybox:1".to_owned()));
        assert_eq!(of("busybox:2", ""), Ok("busybox:2".to_owned()));
        assert_eq!(of("busybox:", ""), Ok("busybox".to_owned()));
        assert_eq!(of("r:5000/x", &digest), Ok(format!("r:5000/x@{digest}")));
        assert_eq!(of(&format!("x@{digest}"), "1"), Ok(format!("x@{digest}")));
        assert_eq!(of("x", "a b"), Err("invalid tag format".to_owned()));
        assert!(of("UPPER", "").is_err());
    }
}
