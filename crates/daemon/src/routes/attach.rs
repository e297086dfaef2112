//! Attaching to a container, as a raw stream or over a websocket.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use engine::{AttachOptions, Attached, Ending, LogOptions, LogReader};
use tokio::io::AsyncWriteExt;
use types::{Error, Timestamp};

use super::logs::frame;
use crate::api::Api;
use crate::http::answer::{Answer, Refusal};
use crate::http::call::{Call, Name};
use crate::stream::detach::{self, Watch};
use crate::stream::relay::{End, Output, Terms, close, relay};
use crate::stream::websocket;
use crate::takeover::{Client, stream_head};

/// Raw bytes in both directions.
pub(super) const RAW: &str = "application/vnd.docker.raw-stream";
/// Docker's frames towards the client.
pub(super) const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/containers/{id}/attach", post(attach))
        .route("/containers/{id}/attach/ws", get(attach_ws))
}

/// The content type of a taken-over stream. Clients below 1.42, and those that do not upgrade,
/// are told that everything is raw.
pub(super) fn content_type(call: &Call, tty: bool) -> &'static str {
    if tty || !call.at_least(42) || !call.upgrades() { RAW } else { MULTIPLEXED }
}

/// What an attach was asked to do, and has opened.
struct Opened {
    /// What was said so far, if that is wanted.
    past: Option<LogReader>,
    /// What is said from now on, if that is wanted.
    live: Option<(Attached, Ending)>,
    options: AttachOptions,
    tty: bool,
    keys: Vec<u8>,
}

impl Opened {
    fn watch(&self) -> Option<Watch> {
        // A stream without a terminal carries bytes that mean no keys.
        self.tty.then(|| Watch::new(self.keys.clone()))
    }
}

async fn open(
    api: &Api,
    name: &str,
    call: &Call,
    options: AttachOptions,
) -> Result<Opened, Refusal> {
    let text = call.text("detachKeys");
    let keys = detach::parse(text)
        .map_err(|_| Error::invalid(format!("Invalid detach keys ({text}) provided")))?;
    let logs = call.flag("logs") && (options.stdout || options.stderr);
    if logs {
        // Before anything is attached: a client that comes and goes may end the container's input.
        api.engine.keeps_logs(name)?;
    }
    let live =
        if call.flag("stream") { Some(api.engine.attach(name, options).await?) } else { None };
    let past = if logs {
        let (stdout, stderr) = (options.stdout, options.stderr);
        // What is said from now on comes live, and not a second time from the log.
        let until = if live.is_some() { Timestamp::now() } else { Timestamp::NEVER };
        Some(api.engine.logs(name, LogOptions { stdout, stderr, until, ..LogOptions::default() })?)
    } else {
        None
    };
    let tty = match (&live, &past) {
        (Some((live, _)), _) => live.tty,
        (None, Some(past)) => past.tty,
        (None, None) => api.engine.inspect(name, false).await?.record.config.tty,
    };
    Ok(Opened { past, live, options, tty, keys })
}

/// The streams that were asked for.
fn streams(call: &Call) -> AttachOptions {
    let flag = |name| call.flag(name);
    AttachOptions { stdin: flag("stdin"), stdout: flag("stdout"), stderr: flag("stderr") }
}

async fn attach(State(api): State<Api>, Name(name): Name, call: Call) -> Answer {
    let doorway = call.doorway()?;
    let opened = open(&api, &name, &call, streams(&call)).await?;
    let head = stream_head(call.upgrades(), content_type(&call, opened.tty), &api.always);
    let session = async move |mut client: Client| {
        let watch = opened.watch();
        if let Some(mut past) = opened.past {
            client.socket.heard().await;
            while let Some(Ok(line)) = past.receiver.recv().await {
                if client.socket.write_all(&frame(&line, past.tty)).await.is_err() {
                    return;
                }
            }
        }
        let Some((live, ending)) = opened.live else {
            let (reader, writer) = tokio::io::split(client.socket);
            return close(reader, writer).await;
        };
        let stdin = opened.options.stdin;
        let terms = Terms { stdin, keys: watch, output: Output::AsItIs };
        let settled = async {
            ending.seen().await;
            None
        };
        let end = relay(client, live.stream, terms, settled).await;
        say_detached(&api, &name, end);
    };
    match doorway.take(head, session).await {}
}

async fn attach_ws(State(api): State<Api>, Name(name): Name, call: Call) -> Answer {
    let head = websocket::accept(&call.headers, &api.always)
        .map_err(|refusal| Refusal::new(StatusCode::BAD_REQUEST, refusal.to_string()))?;
    let doorway = call.doorway()?;
    let wanted = match call.at_least(42) {
        true => streams(&call),
        // The parameters were there and not looked at.
        false => AttachOptions { stdin: true, stdout: true, stderr: true },
    };
    let opened = open(&api, &name, &call, wanted).await?;
    let text = !call.at_least(28);
    let session = async move |mut client: Client| {
        let watch = opened.watch();
        if let Some(mut past) = opened.past {
            let opcode = websocket::opcode(text);
            while let Some(Ok(line)) = past.receiver.recv().await {
                let frame = websocket::frame::encode(opcode, &line.bytes);
                if client.socket.write_all(&frame).await.is_err() {
                    return;
                }
            }
        }
        let Some((live, ending)) = opened.live else {
            return websocket::goodbye(client).await;
        };
        let stdin = opened.options.stdin;
        let session = websocket::Session { stdin, framed: !live.tty, text, keys: watch };
        let end = websocket::run(client, live.stream, session, ending.seen()).await;
        say_detached(&api, &name, end);
    };
    match doorway.take(head, session).await {}
}

fn say_detached(api: &Api, name: &str, end: End) {
    if end == End::Detached {
        // It fails only when the container is gone, and then nobody needs to know.
        drop(api.engine.detached(name));
    }
}
