//! What happens, as it happens.

use std::collections::VecDeque;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use docker_api::event::EventMessage;
use engine::{EventOptions, EventStream};
use futures_util::stream;
use tokio::time::{Instant, sleep_until};
use types::event::Event;
use types::{Error, Timestamp};

use crate::api::Api;
use crate::http::answer::{Answer, json_lines};
use crate::http::call::Call;

pub(super) fn routes() -> Router<Api> {
    Router::new().route("/events", get(events))
}

async fn events(State(api): State<Api>, call: Call) -> Answer {
    let now = Timestamp::now();
    let since = call.time("since")?;
    let until = call.time("until")?;
    if !until.is_never() && until < since {
        let (since, until) = (call.text("since"), call.text("until"));
        let message = format!("`since` time ({since}) cannot be after `until` time ({until})");
        return Err(Error::invalid(message).into());
    }
    let options = EventOptions { since, until, filters: call.filters()? };
    let mut listening = api.engine.events(options)?;
    let past = std::mem::take(&mut listening.past).into();
    let end = if until.is_never() {
        End::Never
    } else if until <= now {
        End::Past
    } else {
        let left = u64::try_from(until.0 - now.0).unwrap_or(0);
        End::At(Instant::now() + Duration::from_nanos(left))
    };
    call.is_endless();
    let begin = Listener { past, listening, end };
    Ok(json_lines(stream::unfold(begin, Listener::next)))
}

/// When a stream of events ends.
enum End {
    Never,
    Past,
    At(Instant),
}

struct Listener {
    past: VecDeque<Event>,
    listening: EventStream,
    end: End,
}

impl Listener {
    async fn next(mut self) -> Option<(EventMessage, Self)> {
        let event = match self.past.pop_front() {
            Some(event) => event,
            None => match self.end {
                End::Past => return None,
                End::Never => self.listening.next().await?,
                End::At(deadline) => tokio::select! {
                    event = self.listening.next() => event?,
                    () = sleep_until(deadline) => return None,
                },
            },
        };
        Some((EventMessage::from(event), self))
    }
}
