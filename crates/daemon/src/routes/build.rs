//! Builds, their sessions, and the build cache.

mod request;

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use base64::Engine as _;
use docker_api::build::{BuildEvent, BuildResult};
use docker_api::disk::BuildPruneReport;
use docker_api::progress::JsonMessage;
use engine::builder::classic::Printer;
use engine::builder::progress::{Event, Listener};
use engine::builder::worker::Session;
use engine::builder::{Failure, Input, Outcome};
use engine::{BuildRequest, CacheKeep, Credentials};
use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;
use types::Error;

use crate::api::Api;
use crate::http::answer::{Answer, Refusal, done, json_lines, ok, received, status};
use crate::http::call::Call;
use crate::http::upload;
use crate::render::build as render;
use crate::session::Answering;
use crate::takeover::stream_head;

/// How many lines may wait for the client.
const WAITING: usize = 256;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/build", post(build))
        .route("/build/session", post(session))
        .route("/build/cancel", post(cancel))
        .route("/build/prune", post(prune))
}

/// What is sent, before it is known whether it is a status or a stream.
enum Line {
    Message(JsonMessage),
    /// It failed before anything was told.
    Refused(Refusal),
}

async fn build(State(api): State<Api>, mut call: Call) -> Answer {
    let request = request::read(&call)?;
    let credentials = credentials(&call)?;
    let session: Option<Arc<dyn Session>> = match call.some("session") {
        None => None,
        Some(name) => {
            let session = api.sessions.find(name).await?;
            let runtime = tokio::runtime::Handle::current();
            Some(Arc::new(Answering { session, runtime }))
        }
    };
    let input = match call.some("remote") {
        Some("client-session") => {
            let message = "this daemon has no BuildKit session: set DOCKER_BUILDKIT=0";
            return Err(Error::invalid(message).into());
        }
        Some(address) => Input::Remote(address.to_owned()),
        None => Input::Stream(Box::new(upload::detached(call.take_body()))),
    };
    let (events, quiet) = (call.text("progress") == "events", call.flag("q"));
    let name = call.text("buildid").to_owned();
    let build = BuildRequest { request, input, session, credentials, name };
    let (lines, mut receiver) = mpsc::channel(WAITING);
    call.is_endless();
    tokio::spawn(async move {
        let teller: Arc<dyn Listener> = if events {
            Arc::new(Events(lines.clone()))
        } else {
            Arc::new(Text::new(lines.clone(), quiet))
        };
        let built = tokio::select! {
            built = api.engine.build(build, Arc::clone(&teller)) => built,
            // The client has gone: so does the build, when its future is dropped.
            () = lines.closed() => return,
        };
        let last = match built {
            Ok(outcome) if events => finished_events(&outcome),
            Ok(outcome) => finished_text(&outcome, quiet),
            Err(failure) => failed(&failure, events),
        };
        for line in last {
            // Nobody reads any more: it is done all the same.
            drop(lines.send(line).await);
        }
    });
    // Nothing is told before the Dockerfile has been read: until then it can be a status.
    match receiver.recv().await {
        Some(Line::Refused(refusal)) => Err(refusal),
        None => Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the build has no end")),
        Some(Line::Message(first)) => {
            let rest = received(receiver).filter_map(|line| async move {
                match line {
                    Line::Message(message) => Some(message),
                    Line::Refused(refusal) => Some(JsonMessage::error(refusal.message)),
                }
            });
            Ok(json_lines(stream::iter([first]).chain(rest)))
        }
    }
}

fn credentials(call: &Call) -> Result<HashMap<String, Credentials>, Error> {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    let Some(header) = call.headers.get("x-registry-config") else { return Ok(HashMap::new()) };
    let wrong = || Error::invalid("invalid X-Registry-Config header");
    let text = header.to_str().map_err(|_| wrong())?.trim();
    let bytes = URL_SAFE.decode(text).or_else(|_| STANDARD.decode(text)).map_err(|_| wrong())?;
    if bytes.is_empty() {
        return Ok(HashMap::new());
    }
    let all: Option<HashMap<String, Credentials>> =
        serde_json::from_slice(&bytes).map_err(|_| wrong())?;
    Ok(all.unwrap_or_default())
}

/// Events as our own client wants them.
struct Events(mpsc::Sender<Line>);

impl Listener for Events {
    fn tell(&self, event: Event) {
        if let Some(event) = render::event(event) {
            // An error says that the client has gone, which ends the build elsewhere.
            drop(self.0.blocking_send(Line::Message(render::aux(&event))));
        }
    }
}

/// The classic builder's text.
struct Text {
    lines: mpsc::Sender<Line>,
    printer: std::sync::Mutex<Printer>,
}

impl Text {
    fn new(lines: mpsc::Sender<Line>, quiet: bool) -> Self {
        Self { lines, printer: std::sync::Mutex::new(Printer::new(quiet)) }
    }
}

impl Listener for Text {
    fn tell(&self, event: Event) {
        // Held while the text is sent, so that pieces keep their order.
        let mut printer = self.printer.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for text in printer.feed(&event) {
            // An error says that the client has gone, which ends the build elsewhere.
            drop(self.lines.blocking_send(Line::Message(JsonMessage::stream(text))));
        }
    }
}

fn finished_events(outcome: &Outcome) -> Vec<Line> {
    let id = outcome.image.as_ref().map(ToString::to_string).unwrap_or_default();
    let event = BuildEvent::Built { id, names: outcome.names.clone() };
    vec![Line::Message(render::aux(&event))]
}

fn finished_text(outcome: &Outcome, quiet: bool) -> Vec<Line> {
    let Some(id) = &outcome.image else { return Vec::new() };
    if quiet {
        return vec![Line::Message(JsonMessage::stream(format!("{id}\n")))];
    }
    let aux = JsonMessage {
        aux: serde_json::to_value(BuildResult { id: id.to_string() }).ok(),
        ..JsonMessage::default()
    };
    let mut lines = vec![aux, JsonMessage::stream(format!("Successfully built {}\n", id.short()))];
    lines.extend(
        outcome
            .names
            .iter()
            .map(|name| JsonMessage::stream(format!("Successfully tagged {name}\n"))),
    );
    lines.into_iter().map(Line::Message).collect()
}

fn failed(failure: &Failure, events: bool) -> Vec<Line> {
    // Only one of the two is sent: the first if nothing was before, see `build`.
    let mut lines = Vec::new();
    if failure.is_early() {
        let message = match (&failure.place, events) {
            (Some(place), true) => format!("{}\n{failure}", place.excerpt.trim_end()),
            _ => failure.to_string(),
        };
        return vec![Line::Refused(Refusal::new(status(failure.kind()), message))];
    }
    if let Some(place) = &failure.place {
        lines.push(match events {
            true => render::aux(&render::source(place)),
            false => JsonMessage::stream(place.excerpt.clone()),
        });
    }
    lines.push(render::failure(failure));
    lines.into_iter().map(Line::Message).collect()
}

async fn session(State(api): State<Api>, call: Call) -> Answer {
    let name = call.some("id").unwrap_or_default().to_owned();
    if name.is_empty() || name.len() > 128 {
        return Err(Error::invalid("a session needs an id of at most 128 bytes").into());
    }
    if api.sessions.has(&name) {
        return Err(Error::conflict(format!("the session {name:?} is open already")).into());
    }
    let doorway = call.doorway()?;
    let head = stream_head(call.upgrades(), "application/octet-stream", &api.always);
    let sessions = api.sessions.clone();
    match doorway.take(head, move |client| async move { sessions.serve(name, client).await }).await {}
}

async fn cancel(State(api): State<Api>, call: Call) -> Answer {
    api.engine.cancel_build(call.text("id"))?;
    done()
}

async fn prune(State(api): State<Api>, call: Call) -> Answer {
    let number = |name: &str| -> Result<u64, Error> {
        Ok(u64::try_from(call.number(name)?.unwrap_or(0)).unwrap_or(0))
    };
    // It had another name before 1.48, which 1.52 no longer knows.
    let mut keep = CacheKeep::default();
    if !call.at_least(52) {
        keep.reserved = number("keep-storage")?;
    }
    if call.at_least(48) {
        keep.reserved = keep.reserved.max(number("reserved-space")?);
        keep.most = number("max-used-space")?;
        keep.free = number("min-free-space")?;
    }
    let (caches_deleted, space_reclaimed) =
        api.engine.build_prune(&call.filters()?, call.flag("all"), keep).await?;
    ok(&BuildPruneReport { caches_deleted, space_reclaimed })
}
