//! Starting, stopping and waiting for containers.

use std::convert::Infallible;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use bytes::Bytes;
use docker_api::container::{WaitError, WaitResponse};
use engine::WaitCondition;
use futures_util::stream;
use hyper::body::Body as _;
use types::Error;

use crate::api::Api;
use crate::http::answer::{Answer, Refusal, done, empty, ok, streaming};
use crate::http::call::{Call, Name};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/containers/{id}/start", post(start))
        .route("/containers/{id}/stop", post(stop))
        .route("/containers/{id}/restart", post(restart))
        .route("/containers/{id}/kill", post(kill))
        .route("/containers/{id}/pause", post(pause))
        .route("/containers/{id}/unpause", post(unpause))
        .route("/containers/{id}/wait", post(wait))
        .route("/containers/{id}/resize", post(resize))
}

async fn start(State(api): State<Api>, Name(name): Name, mut call: Call) -> Answer {
    // Very old clients sent the host configuration here; dockerd lets up to 7 bytes pass.
    if call.take_body().size_hint().upper().is_none_or(|length| length > 7) {
        let message = "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24";
        return Err(Refusal::new(StatusCode::BAD_REQUEST, message));
    }
    if call.some("checkpoint").is_some() {
        return Err(Error::not_implemented("checkpoints are not supported").into());
    }
    api.engine.start(&name).await?;
    done()
}

/// The seconds that a stop may take. dockerd takes what is no number for no answer.
fn timeout(call: &Call) -> Result<Option<i64>, Error> {
    call.number("t")
}

/// The signal of a stop, which clients below 1.42 cannot choose.
fn stop_signal(call: &Call) -> Option<&str> {
    call.some("signal").filter(|_| call.at_least(42))
}

async fn stop(State(api): State<Api>, Name(name): Name, call: Call) -> Answer {
    api.engine.stop(&name, stop_signal(&call), timeout(&call)?).await?;
    done()
}

async fn restart(State(api): State<Api>, Name(name): Name, call: Call) -> Answer {
    api.engine.restart(&name, stop_signal(&call), timeout(&call)?).await?;
    done()
}

async fn kill(State(api): State<Api>, Name(name): Name, call: Call) -> Answer {
    api.engine.kill(&name, call.some("signal")).await?;
    done()
}

async fn pause(State(api): State<Api>, Name(name): Name) -> Answer {
    api.engine.pause(&name).await?;
    done()
}

async fn unpause(State(api): State<Api>, Name(name): Name) -> Answer {
    api.engine.unpause(&name).await?;
    done()
}

async fn wait(State(api): State<Api>, Name(name): Name, call: Call) -> Answer {
    // Before 1.30 there was no choice.
    let condition = match call.text("condition").to_ascii_lowercase().as_str() {
        _ if !call.at_least(30) => WaitCondition::NotRunning,
        "" | "not-running" => WaitCondition::NotRunning,
        "next-exit" => WaitCondition::NextExit,
        "removed" => WaitCondition::Removed,
        other => return Err(Error::invalid(format!("invalid condition: {other:?}")).into()),
    };
    let waiter = api.engine.wait_begin(&name, condition).await?;
    let outcome = async move {
        let outcome = waiter.outcome().await;
        WaitResponse {
            status_code: outcome.code,
            // dockerd tells of a failed start only those who ask how the container is; others
            // hear of it from the start itself, and clients would print it twice. Who waits for a
            // removal is told why there is none.
            error: outcome
                .error
                .filter(|_| condition != WaitCondition::NextExit)
                .map(|message| WaitError { message }),
        }
    };
    if !call.at_least(30) {
        return ok(&outcome.await);
    }
    // The head goes out at once: it tells the client that the wait has begun, so that it may
    // start the container without missing its end.
    call.is_endless();
    let body = stream::once(async move {
        let mut text = serde_json::to_vec(&outcome.await).unwrap_or_default();
        text.push(b'\n');
        Ok::<_, Infallible>(Bytes::from(text))
    });
    Ok(streaming("application/json", body))
}

/// A terminal's size from the parameters `h` and `w`.
pub(super) fn size(call: &Call) -> Result<(u16, u16), Error> {
    let side = |name| {
        let value = call.number(name)?.unwrap_or(0);
        u16::try_from(value).map_err(|_| {
            Error::invalid(format!("invalid resize {name}: {value} is not between 0 and 65535"))
        })
    };
    Ok((side("h")?, side("w")?))
}

async fn resize(State(api): State<Api>, Name(name): Name, call: Call) -> Answer {
    let (rows, cols) = size(&call)?;
    api.engine.resize(&name, rows, cols).await?;
    empty(StatusCode::OK)
}
