//! Plugins, of which there are none: what is asked of one finds none, and what would install one is
//! refused. And BuildKit's way in, which is not there either.

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::{any, delete, get, post};
use serde_json::Value;
use types::Error;
use types::reference::Reference;

use crate::api::Api;
use crate::http::answer::{Answer, Refusal, ok};
use crate::http::call::{Call, Name};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/session", any(no_session))
        .route("/grpc", any(no_session))
        .route("/plugins", get(list))
        .route("/plugins/privileges", get(privileges))
        .route("/plugins/pull", post(pull))
        .route("/plugins/create", post(create))
        .route("/plugins/{name}", delete(no_such_plugin))
        .route("/plugins/{name}/json", get(no_such_plugin))
        .route("/plugins/{name}/enable", post(enable))
        .route("/plugins/{name}/disable", post(no_such_plugin))
        .route("/plugins/{name}/upgrade", post(upgrade))
        .route("/plugins/{name}/push", post(no_such_plugin))
        .route("/plugins/{name}/set", post(set))
}

/// BuildKit's clients fall back when it is not there.
async fn no_session(call: Call) -> Answer {
    if call.upgrades() {
        return Err(Refusal::page_not_found());
    }
    Err(Error::invalid("no upgrade proto in request").into())
}

async fn list(call: Call) -> Answer {
    call.filters()?.allow(&["capability", "enable", "enabled"])?;
    ok(&[(); 0])
}

fn absent(name: &str) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, format!("plugin {name:?} not found"))
}

fn unsupported() -> Refusal {
    Error::not_implemented("plugins are not supported: drivers are built in").into()
}

fn remote(text: &str) -> Result<(), Error> {
    Reference::parse(text).map(drop).map_err(|_| Error::invalid("invalid reference format"))
}

async fn privileges(call: Call) -> Answer {
    remote(call.text("remote"))?;
    Err(unsupported())
}

/// The rights that an installation grants.
async fn granted(call: &mut Call) -> Result<(), Refusal> {
    let body: Result<Option<Vec<Value>>, Refusal> = call.some_json().await;
    let failed = |refusal: Refusal| Refusal {
        message: format!("failed to parse privileges: {}", refusal.message),
        ..refusal
    };
    body.map(drop).map_err(failed)
}

async fn pull(mut call: Call) -> Answer {
    granted(&mut call).await?;
    remote(call.text("remote"))?;
    Err(unsupported())
}

async fn create(call: Call) -> Answer {
    let name = call.text("name");
    remote(name).map_err(|error| {
        Error::invalid(format!("failed to parse reference {name}: {}", error.message))
    })?;
    Err(unsupported())
}

async fn no_such_plugin(Path(name): Path<String>) -> Answer {
    Err(absent(&name))
}

async fn enable(Name(name): Name, call: Call) -> Answer {
    let text = call.text("timeout");
    if text.parse::<i64>().is_err() {
        let message = format!("strconv.Atoi: parsing {text:?}: invalid syntax");
        return Err(Error::invalid(message).into());
    }
    Err(absent(&name))
}

async fn upgrade(Name(name): Name, mut call: Call) -> Answer {
    granted(&mut call).await?;
    remote(call.text("remote"))?;
    let tagged = name.rsplit('/').next().is_some_and(|last| last.contains(':'));
    Err(absent(&if tagged { name } else { format!("{name}:latest") }))
}

async fn set(Name(name): Name, mut call: Call) -> Answer {
    let _: Option<Vec<String>> = call.some_json().await?;
    Err(absent(&name))
}
