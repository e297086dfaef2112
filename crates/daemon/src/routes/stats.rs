//! How much a container uses: once, or every second.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use engine::{Engine, StatsSample};
use futures_util::stream;
use tokio::time::{Instant, sleep_until};
use types::Error;

use crate::api::Api;
use crate::http::answer::{Answer, json_lines, ok};
use crate::http::call::{Call, Name};
use crate::http::version::Version;
use crate::render;

/// Time between two readings.
const PERIOD: Duration = Duration::from_secs(1);

pub(super) fn routes() -> Router<Api> {
    Router::new().route("/containers/{id}/stats", get(stats))
}

async fn stats(State(api): State<Api>, Name(name): Name, call: Call) -> Answer {
    let streams = call.params.flag_or("stream", true);
    // Without it, one reading takes a second, so that clients can tell a rate.
    let one_shot = call.at_least(41) && call.flag("one-shot");
    if streams && one_shot {
        let message = "cannot have stream=true and one-shot=true";
        return Err(Error::invalid(message).into());
    }
    let first = api.engine.stats(&name).await?;
    if !streams {
        if one_shot || first.sample.is_none() {
            return ok(&render::stats::reading(&first, None, call.version));
        }
        tokio::time::sleep(PERIOD).await;
        let second = api.engine.stats(&name).await?;
        return ok(&render::stats::reading(&second, Some(&first), call.version));
    }
    call.is_endless();
    // By its id: it may be renamed meanwhile.
    let id = first.id.to_string();
    let begin = Readings {
        engine: api.engine,
        id,
        version: call.version,
        next: Instant::now(),
        first: Some(first),
        last: None,
    };
    Ok(json_lines(stream::unfold(begin, Readings::next)))
}

/// The readings of one stream.
struct Readings {
    engine: Engine,
    id: String,
    version: Version,
    next: Instant,
    first: Option<StatsSample>,
    last: Option<StatsSample>,
}

impl Readings {
    /// The next reading; the end when the container is gone.
    async fn next(mut self) -> Option<(docker_api::stats::StatsResponse, Self)> {
        let now = match self.first.take() {
            Some(first) => first,
            None => {
                sleep_until(self.next).await;
                self.engine.stats(&self.id).await.ok()?
            }
        };
        self.next = Instant::now() + PERIOD;
        let reading = render::stats::reading(&now, self.last.as_ref(), self.version);
        self.last = Some(now);
        Some((reading, self))
    }
}
