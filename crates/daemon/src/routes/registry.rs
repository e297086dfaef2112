//! Registries: logins, searches, what they have, and pushes to them.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use docker_api::image::{Descriptor, Platform};
use docker_api::registry::{AuthResponse, DistributionInspect, SearchResult};
use engine::{Credentials, PushRequest, TransferStep};
use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;
use types::Error;
use types::reference::{InvalidReference, Reference};

use crate::api::Api;
use crate::http::answer::{Answer, Refusal, json_lines, ok, received};
use crate::http::call::{Call, Name};
use crate::http::platform;
use crate::render::transfer;

pub(super) fn routes() -> Router<Api> {
    // Names have slashes, so what stands behind them is looked at by hand.
    Router::new()
        .route("/auth", post(auth))
        .route("/images/search", get(search))
        .route("/distribution/{*name}", get(distribution))
}

/// Who the client is to the registry. What cannot be read is nobody, as with dockerd.
pub(super) fn credentials(call: &Call) -> Option<Credentials> {
    let header = call.headers.get("x-registry-auth")?.to_str().ok()?;
    Credentials::decode_header(header).ok().flatten()
}

/// The answer of an operation that tells what it does. Until it has told anything, its failure
/// still decides the status.
pub(super) async fn told(mut steps: mpsc::Receiver<Result<TransferStep, Error>>) -> Answer {
    let first = steps.recv().await.unwrap_or_else(|| Err(Error::system("nothing was done")))?;
    Ok(lines(first, steps))
}

fn lines(first: TransferStep, rest: mpsc::Receiver<Result<TransferStep, Error>>) -> Response {
    let steps = stream::iter([Ok(first)]).chain(received(rest));
    json_lines(steps.flat_map(|step| stream::iter(transfer::lines(step))))
}

async fn auth(State(api): State<Api>, mut call: Call) -> Answer {
    let credentials: Credentials = call.some_json().await?;
    let login = api.engine.login(&credentials).await?;
    ok(&AuthResponse { status: login.status, identity_token: login.identity_token })
}

/// `POST /images/{name}/push`. A tag in the name is not looked at.
pub(super) async fn push(api: &Api, name: &str, mut call: Call) -> Answer {
    let invalid = |error: InvalidReference| Error::invalid(error.to_string());
    let repository = Reference::parse(name).map_err(invalid)?;
    if repository.digest().is_some() {
        return Err(Error::invalid("cannot push a digest reference").into());
    }
    let credentials = match call.headers.contains_key("x-registry-auth") {
        true => credentials(&call),
        // The oldest clients send them in the body.
        false => Some(old_credentials(&mut call).await?),
    };
    let platform = match call.some("platform").filter(|_| call.at_least(46)) {
        None => None,
        Some(text) => Some(platform::written(text)?),
    };
    let tag = call.some("tag").map(str::to_owned);
    told(api.engine.push(PushRequest { repository, tag, platform, credentials })).await
}

async fn old_credentials(call: &mut Call) -> Result<Credentials, Refusal> {
    let missing = |reason: &str| {
        let text = format!("Bad parameters and missing X-Registry-Auth: {reason}");
        Refusal::from(Error::invalid(text))
    };
    match call.json::<Credentials>().await {
        Ok(Some(credentials)) => Ok(credentials),
        Ok(None) => Err(missing("EOF")),
        Err(refusal) => Err(missing(&refusal.message)),
    }
}

async fn search(State(api): State<Api>, call: Call) -> Answer {
    let term = call.text("term");
    let (limit, filters) = (call.number("limit")?, call.filters()?);
    let found = api.engine.search(term, limit, &filters, credentials(&call)).await?;
    let list: Vec<SearchResult> = found
        .into_iter()
        .map(|hit| SearchResult {
            star_count: hit.star_count,
            is_official: hit.is_official,
            name: hit.name,
            is_automated: hit.is_automated,
            description: hit.description,
        })
        .collect();
    ok(&list)
}

async fn distribution(State(api): State<Api>, Name(path): Name, call: Call) -> Answer {
    let name = path.strip_suffix("/json").ok_or_else(Refusal::page_not_found)?;
    let found = api.engine.registry_image(name, credentials(&call)).await?;
    let platforms = found.platforms.into_iter().map(|platform| Platform {
        architecture: platform.architecture,
        os: platform.os,
        os_version: platform.os_version,
        os_features: platform.os_features,
        variant: platform.variant,
    });
    ok(&DistributionInspect {
        descriptor: Descriptor {
            media_type: found.descriptor.media_type,
            digest: found.descriptor.digest.to_string(),
            size: i64::try_from(found.descriptor.size).unwrap_or(i64::MAX),
            ..Descriptor::default()
        },
        platforms: platforms.collect(),
    })
}
