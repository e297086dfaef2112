//! What happens, as it happens.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::routing::get;
use bytes::Bytes;
use docker_api::event::EventMessage;
use engine::{EventOptions, EventStream};
use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep_until};
use types::event::Event;
use types::{Error, Timestamp};

use crate::api::Api;
use crate::http::answer::{Answer, json_lines, streaming};
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
    let (format, legacy) = (Format::negotiate(&call), !call.at_least(52));
    let messages = stream::unfold(begin, Listener::next).map(move |mut event| {
        if !legacy {
            event.status.clear();
            event.id.clear();
            event.from.clear();
        }
        event
    });
    Ok(match format {
        Format::Json => json_lines(messages),
        other => streaming(other.media_type(), messages.map(move |event| other.write(&event))),
    })
}

/// How a stream of events is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// Objects, one a line.
    Json,
    /// The same by its newer name.
    JsonLines,
    /// The same by its older name.
    NewlineDelimited,
    /// RFC 7464: a record separator before each.
    Sequence,
}

impl Format {
    /// What the client likes best of what there is in its version of the API.
    fn negotiate(call: &Call) -> Self {
        if !call.at_least(52) {
            return Self::Json;
        }
        let mut best = (0.0, Self::Json);
        let headers = call.headers.get_all(header::ACCEPT).iter();
        for range in headers.filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let format = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
                "application/jsonl" if call.at_least(53) => Self::JsonLines,
                "application/x-ndjson" => Self::NewlineDelimited,
                "application/json-seq" => Self::Sequence,
                "application/json" => Self::Json,
                _ => continue,
            };
            let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok());
            let weight: f32 = weight.unwrap_or(1.0);
            if weight > best.0 {
                best = (weight, format);
            }
        }
        best.1
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::JsonLines => "application/jsonl",
            Self::NewlineDelimited => "application/x-ndjson",
            Self::Sequence => "application/json-seq",
        }
    }

    fn write(self, event: &EventMessage) -> Result<Bytes, Infallible> {
        let mut text = if self == Self::Sequence { vec![0x1e] } else { Vec::new() };
        // Plain data: writing it as JSON cannot fail.
        text.extend(serde_json::to_vec(event).unwrap_or_default());
        text.push(b'\n');
        Ok(Bytes::from(text))
    }
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
