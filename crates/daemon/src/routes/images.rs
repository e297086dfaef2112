//! Images: list, look at, name, remove.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{delete, get, post};

use docker_api::image::{Descriptor, ImagesPruneReport, ManifestSummary, Platform};
use types::{Error, ErrorKind};

use crate::api::Api;
use crate::http::answer::{Answer, Refusal, channel, empty, ok};
use crate::http::call::{Call, Name};
use crate::http::platform;
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
    let ids = found.iter().map(|summary| summary.id.clone()).collect();
    let mut list: Vec<_> =
        found.into_iter().map(|summary| image::summary(summary, call.version)).collect();
    if !call.at_least(51) {
        // They were not counted for lists.
        list.iter_mut().for_each(|summary| summary.containers = -1);
    }
    if call.at_least(48) {
        let targets = api.engine.image_targets(ids).await?;
        for (summary, target) in list.iter_mut().zip(targets) {
            summary.descriptor = target.map(|target| image::descriptor(&target));
        }
    }
    // Who vouches for an image is not known here; the manifests are told along with it.
    let identity = call.at_least(54) && call.flag("identity");
    if call.at_least(47) && call.flag("manifests") || identity {
        for summary in &mut list {
            let id = summary.id.clone();
            summary.manifests = origin(&api, &id, summary.size, true).await?.1;
        }
    }
    ok(&list)
}

/// What an image's name stood for in the registry, and the manifests of that if they are wanted.
async fn origin(
    api: &Api,
    id: &str,
    unpacked: i64,
    wanted: bool,
) -> Result<(Option<Descriptor>, Option<Vec<ManifestSummary>>), Refusal> {
    let (origin, users) = match api.engine.image_origin(id).await {
        Ok((Some(origin), users)) => (origin, users),
        // It came from no registry, or has gone meanwhile.
        Ok((None, _)) => return Ok((None, wanted.then(Vec::new))),
        Err(error) if error.kind == ErrorKind::NotFound => return Ok((None, None)),
        Err(error) => return Err(error.into()),
    };
    let target = image::descriptor(&origin.target);
    if !wanted {
        return Ok((Some(target), None));
    }
    let found = api.engine.image_inspect(id).await?;
    let own = Platform {
        architecture: found.architecture,
        os: found.os,
        variant: found.variant,
        ..Platform::default()
    };
    Ok((Some(target), Some(image::manifests(&origin, &users, unpacked, &own))))
}

/// Insists on the platform that a request names, if its version knows the parameter.
async fn insist(api: &Api, name: &str, call: &Call, minor: u32) -> Result<(), Refusal> {
    if call.at_least(minor)
        && let Some(platform) = platform::only(call.params.all("platform"), platform::written)?
    {
        api.engine.insist_on_platform(name, &platform).await?;
    }
    Ok(())
}

async fn about(State(api): State<Api>, Name(path): Name, call: Call) -> Answer {
    if let Some(name) = path.strip_suffix("/json") {
        return inspect(&api, name, &call).await;
    }
    if let Some(name) = path.strip_suffix("/history") {
        insist(&api, name, &call, 48).await?;
        let found = api.engine.image_history(name).await?;
        let list: Vec<_> = found.into_iter().map(image::history).collect();
        return ok(&list);
    }
    if let Some(name) = path.strip_suffix("/attestations").filter(|_| call.at_least(55)) {
        return attestations(&api, name, &call).await;
    }
    if let Some(name) = path.strip_suffix("/oci") {
        return super::layers::documents(&api, name).await;
    }
    if let Some(name) = path.strip_suffix("/diff") {
        return super::layers::compare(&api, name, call.text("other")).await;
    }
    if let Some(name) = path.strip_suffix("/get") {
        let platform = match call.at_least(48) {
            true => platform::only(call.params.all("platform"), platform::written)?,
            false => None,
        };
        let oci = super::transfer::archive_format(&call)?;
        let pieces = api.engine.save(vec![name.to_owned()], platform, oci).await?;
        return Ok(channel("application/x-tar", pieces));
    }
    Err(Refusal::page_not_found())
}

async fn inspect(api: &Api, name: &str, call: &Call) -> Answer {
    let manifests = call.at_least(48) && call.flag("manifests");
    if call.at_least(49) && manifests && call.some("platform").is_some() {
        let text = "conflicting options: manifests and platform options cannot both be set";
        return Err(Error::invalid(text).into());
    }
    insist(api, name, call, 49).await?;
    let found = api.engine.image_inspect(name).await?;
    let (id, size) = (found.id.to_string(), i64::try_from(found.size).unwrap_or(i64::MAX));
    let mut answer = image::inspect(found, call.version);
    if call.at_least(48) {
        let (target, all) = origin(api, &id, size, manifests).await?;
        // Plain data: writing it as JSON cannot fail.
        if let Some(target) = target {
            answer["Descriptor"] = serde_json::to_value(target).unwrap_or_default();
        }
        if let Some(all) = all {
            answer["Manifests"] = serde_json::to_value(all).unwrap_or_default();
        }
    }
    ok(&answer)
}

/// `GET /images/{name}/attestations`. The store keeps what an image is made of, not what else an
/// index has: as with dockerd's store of layers, nothing can be told.
async fn attestations(api: &Api, name: &str, call: &Call) -> Answer {
    let mut platforms = call.params.all("platform").filter(|text| !text.is_empty());
    if let Some(text) = platforms.next() {
        platform::parse(text)?;
    }
    if platforms.next().is_some() {
        return Err(Error::invalid("multiple platform parameters not supported").into());
    }
    api.engine.image_inspect(name).await?;
    Err(Error::not_implemented("this image store keeps no attestations").into())
}

async fn act(State(api): State<Api>, Name(path): Name, call: Call) -> Answer {
    if let Some(name) = path.strip_suffix("/tag") {
        api.engine.image_tag(name, call.text("repo"), call.text("tag")).await?;
        return empty(StatusCode::CREATED);
    }
    if let Some(name) = path.strip_suffix("/squash") {
        return super::layers::squash(&api, name, &call).await;
    }
    if let Some(name) = path.strip_suffix("/push") {
        return super::registry::push(&api, name, call).await;
    }
    Err(Refusal::page_not_found())
}

async fn remove(State(api): State<Api>, Name(name): Name, call: Call) -> Answer {
    if call.at_least(50) {
        for text in call.params.all("platforms").filter(|text| !text.is_empty()) {
            api.engine.insist_on_platform(&name, &platform::written(text)?).await?;
        }
    }
    let removed = api.engine.image_remove(&name, call.flag("force"), call.flag("noprune")).await?;
    let list: Vec<_> = removed.into_iter().map(image::removal).collect();
    ok(&list)
}

async fn prune(State(api): State<Api>, call: Call) -> Answer {
    let (removed, space_reclaimed) = api.engine.image_prune(&call.filters()?).await?;
    let images_deleted = removed.into_iter().map(image::removal).collect();
    ok(&ImagesPruneReport { images_deleted, space_reclaimed })
}
