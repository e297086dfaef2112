//! Further processes in running containers.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use docker_api::IdResponse;
use docker_api::exec::{ExecCreateBody, ExecStartBody};
use engine::ExecConfig;
use tokio::io::AsyncWriteExt;
use types::Error;

use super::attach::content_type;
use super::lifecycle::size;
use crate::api::Api;
use crate::http::answer::{Answer, empty, json, ok};
use crate::http::call::{Call, Name};
use crate::render;
use crate::stream::detach::{self, Watch};
use crate::stream::frames::{self, Channel};
use crate::stream::relay::{Output, Terms, close, relay};
use crate::takeover::{Client, stream_head};

/// How long to wait for the exit status after the last output: clients take one that is not there
/// yet for success.
const STATUS: Duration = Duration::from_secs(10);
/// The same on a terminal, where perhaps only the client's input has ended, and with it the stream.
const STATUS_OR_DETACHED: Duration = Duration::from_secs(1);

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/containers/{id}/exec", post(create))
        .route("/exec/{id}/start", post(start))
        .route("/exec/{id}/resize", post(resize))
        .route("/exec/{id}/json", get(inspect))
}

async fn create(State(api): State<Api>, Name(name): Name, mut call: Call) -> Answer {
    let body: ExecCreateBody = call.some_json().await?;
    let keys = &body.detach_keys;
    detach::parse(keys)
        .map_err(|_| Error::invalid(format!("Invalid escape keys ({keys}) provided")))?;
    let console_size = body.console_size.filter(|_| call.at_least(42)).unwrap_or_default();
    let config = ExecConfig {
        attach_stdin: body.attach_stdin,
        attach_stdout: body.attach_stdout,
        attach_stderr: body.attach_stderr,
        tty: body.tty,
        cmd: body.cmd.0,
        env: body.env,
        user: body.user,
        working_dir: body.working_dir,
        privileged: body.privileged,
        detach_keys: body.detach_keys,
        console_size,
    };
    let id = api.engine.exec_create(&name, config).await?;
    Ok(json(StatusCode::CREATED, &IdResponse { id }))
}

async fn start(State(api): State<Api>, Name(id): Name, mut call: Call) -> Answer {
    let body: ExecStartBody = call.json().await?.unwrap_or_default();
    let state = api.engine.exec_inspect(&id)?;
    let console_size = body.console_size.filter(|_| call.at_least(42));
    if console_size.is_some() && !body.tty {
        return Err(Error::invalid("console size is only supported when TTY is enabled").into());
    }
    if body.detach {
        api.engine.exec_start(&id, true, console_size).await?;
        return empty(StatusCode::OK);
    }
    // What can be known before the connection changes is told as a status.
    api.engine.exec_ready(&id).await?;
    let doorway = call.doorway()?;
    let head = stream_head(call.upgrades(), content_type(&call, body.tty), &api.always);
    let config = state.config;
    let wants_status = call.flag("status") && !body.tty;
    // The process starts after the head is out: clients whose HTTP library reads ahead (Python's)
    // lose output that comes in one piece with the head.
    let session = async move |client: Client| {
        let attached = match api.engine.exec_start(&id, false, console_size).await {
            Ok(Some(attached)) => attached,
            Ok(None) => return say(client, body.tty, "the exec has no streams", None).await,
            Err(error) => {
                let state = api.engine.exec_inspect(&id).ok().filter(|_| wants_status);
                let status = state.and_then(|state| state.exit_code);
                return say(client, body.tty, &error.message, status).await;
            }
        };
        let keys = detach::parse(&config.detach_keys).ok().filter(|_| config.tty);
        // Clients ask for the exit status as soon as the stream ends. The output may end long
        // before the process does, so there is an end to this patience.
        let detaches = config.tty && config.attach_stdin;
        let limit = if detaches { STATUS_OR_DETACHED } else { STATUS };
        let ended = async {
            let status = tokio::time::timeout(limit, api.engine.exec_wait(&id)).await;
            status.ok()?.ok().filter(|_| wants_status)
        };
        // Whether there are frames is said by the start, as with dockerd, also where it disagrees
        // with the exec.
        let output = match (config.tty, body.tty) {
            (true, false) => Output::Framed,
            (false, true) => Output::Unframed,
            _ => Output::AsItIs,
        };
        let terms = Terms { stdin: config.attach_stdin, keys: keys.map(Watch::new), output };
        relay(client, attached.stream, terms, ended).await;
    };
    match doorway.take(head, session).await {}
}

/// Says in the stream why there is nothing else in it. As with dockerd, clients print it and then
/// ask for the exit status, which is 126 or 127, unless they wanted it right away.
async fn say(mut client: Client, tty: bool, message: &str, status: Option<i32>) {
    let mut text = format!("{}\r\n", docker_api::plain(message)).into_bytes();
    if !tty {
        text = frames::frame(Channel::Stdout, &text).to_vec();
    }
    if let Some(status) = status {
        text.extend_from_slice(&frames::frame(Channel::Status, &status.to_be_bytes()));
    }
    client.socket.heard().await;
    if client.socket.write_all(&text).await.is_ok() {
        let (reader, writer) = tokio::io::split(client.socket);
        close(reader, writer).await;
    }
}

async fn resize(State(api): State<Api>, Name(id): Name, call: Call) -> Answer {
    let (rows, cols) = size(&call)?;
    api.engine.exec_resize(&id, rows, cols).await?;
    empty(StatusCode::OK)
}

async fn inspect(State(api): State<Api>, Name(id): Name) -> Answer {
    ok(&render::exec::inspect(api.engine.exec_inspect(&id)?))
}
