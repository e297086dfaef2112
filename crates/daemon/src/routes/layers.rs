//! What images are made of: trees of layers, and the images' own documents.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;

use docker_api::IdResponse;
use docker_api::layers::{ImageChange, ImageDocuments, LayerImage, LayerNode};
use types::Error;

use crate::api::Api;
use crate::http::answer::{Answer, json, ok};
use crate::http::call::Call;

pub(super) fn routes() -> Router<Api> {
    Router::new().route("/images/tree", get(tree))
}

async fn tree(State(api): State<Api>) -> Answer {
    let (nodes, images) = api.engine.image_forest().await?;
    let size = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let image = |id: &types::digest::Digest| {
        let known = images.iter().find(|image| image.id == *id)?;
        Some(LayerImage {
            id: id.to_string(),
            names: known.repo_tags.clone(),
            created: known.created,
            size: size(known.size),
        })
    };
    let nodes: Vec<LayerNode> = nodes
        .iter()
        .map(|node| LayerNode {
            diff_id: node.diff_id.as_ref().map(ToString::to_string).unwrap_or_default(),
            parent: node.parent.and_then(|parent| i64::try_from(parent).ok()).unwrap_or(-1),
            size: size(node.size),
            created_by: node.created_by.clone(),
            images: node.images.iter().filter_map(image).collect(),
        })
        .collect();
    ok(&nodes)
}

/// `GET /images/{name}/oci`.
pub(super) async fn documents(api: &Api, name: &str) -> Answer {
    let found = api.engine.image_documents(name).await?;
    let read = |bytes: &[u8]| {
        serde_json::from_slice(bytes)
            .map_err(|error| Error::system(format!("a document of {name} is damaged: {error}")))
    };
    let manifest = found.manifest.as_deref().map(read).transpose()?;
    ok(&ImageDocuments { config: Some(read(&found.config)?), manifest })
}

/// `GET /images/{name}/diff?other=`.
pub(super) async fn compare(api: &Api, name: &str, other: &str) -> Answer {
    if other.is_empty() {
        return Err(Error::invalid("no other image was named: give its name as ?other=").into());
    }
    let size = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let found = api.engine.image_compare(name, other).await?;
    let changes: Vec<ImageChange> = found
        .into_iter()
        .map(|change| ImageChange {
            path: change.path,
            kind: change.kind as u8,
            old_size: size(change.old_size),
            size: size(change.size),
            what: change.what.into_iter().map(str::to_owned).collect(),
        })
        .collect();
    ok(&changes)
}

/// `POST /images/{name}/squash`.
pub(super) async fn squash(api: &Api, name: &str, call: &Call) -> Answer {
    let target = (call.text("repo"), call.text("tag"));
    let made = api.engine.image_squash(name, call.text("from"), target, call.text("comment"));
    Ok(json(StatusCode::CREATED, &IdResponse { id: made.await?.to_string() }))
}
