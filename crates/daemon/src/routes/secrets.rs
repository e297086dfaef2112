//! Secrets and configs without a swarm. Docker's own endpoints of these names are in `absent`.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use docker_api::secret::{Kept, KeptCreateResponse, KeptSpec, RotateKeyResponse};
use engine::KeptKind;
use types::Error;

use crate::api::Api;
use crate::http::answer::{Answer, done, json, ok};
use crate::http::call::{Call, Name};

pub(super) fn routes() -> Router<Api> {
    let mut router = Router::new().route("/isopod/secrets/rotate-key", post(rotate_key));
    for kind in [KeptKind::Secret, KeptKind::Config] {
        let noun = format!("/isopod/{}s", kind.as_str());
        router = router
            .route(&noun, get(move |api, call| list(kind, api, call)))
            .route(&format!("{noun}/create"), post(move |api, call| create(kind, api, call)))
            .route(
                &format!("{noun}/{{name}}"),
                get(move |api, name| inspect(kind, api, name))
                    .delete(move |api, name| remove(kind, api, name)),
            );
    }
    router
}

fn kept(found: engine::Kept, data: &[u8]) -> Kept {
    Kept {
        id: found.id,
        created_at: found.created,
        spec: KeptSpec { name: found.name, labels: found.labels, data: BASE64.encode(data) },
    }
}

async fn list(kind: KeptKind, State(api): State<Api>, call: Call) -> Answer {
    let found = api.engine.kept(kind, &call.filters()?)?;
    ok(&found.into_iter().map(|found| kept(found, &[])).collect::<Vec<_>>())
}

async fn create(kind: KeptKind, State(api): State<Api>, mut call: Call) -> Answer {
    let KeptSpec { name, labels, data } = call.some_json().await?;
    let content = BASE64
        .decode(&data)
        .map_err(|error| Error::invalid(format!("the data is no base64: {error}")))?;
    let made = api.engine.keep(kind, name, labels, content).await?;
    Ok(json(StatusCode::CREATED, &KeptCreateResponse { id: made.id }))
}

async fn inspect(kind: KeptKind, State(api): State<Api>, Name(name): Name) -> Answer {
    let found = api.engine.kept_one(kind, &name)?;
    let data = match kind {
        KeptKind::Secret => Vec::new(),
        KeptKind::Config => api.engine.config_content(&found.id)?,
    };
    ok(&kept(found, &data))
}

async fn remove(kind: KeptKind, State(api): State<Api>, Name(name): Name) -> Answer {
    api.engine.forget(kind, &name).await?;
    done()
}

async fn rotate_key(State(api): State<Api>) -> Answer {
    ok(&RotateKeyResponse { count: api.engine.rotate_key().await? as u64 })
}
