//! Logs.

use std::io;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use bytes::Bytes;
use engine::{LogLine, LogOptions, Stream};
use futures_util::StreamExt;
use types::Error;

use super::attach::{MULTIPLEXED, RAW};
use crate::api::Api;
use crate::http::answer::{Answer, received, streaming};
use crate::http::call::{Call, Name};
use crate::stream::frames::{self, Channel};

pub(super) fn routes() -> Router<Api> {
    Router::new().route("/containers/{id}/logs", get(logs))
}

/// A line as it is sent: framed, unless the process has a terminal.
pub(super) fn frame(line: &LogLine, tty: bool) -> Bytes {
    if tty {
        return line.bytes.clone();
    }
    let channel = match line.stream {
        Stream::Stdout => Channel::Stdout,
        Stream::Stderr => Channel::Stderr,
    };
    frames::frame(channel, &line.bytes)
}

async fn logs(State(api): State<Api>, Name(name): Name, call: Call) -> Answer {
    let options = LogOptions {
        follow: call.flag("follow"),
        stdout: call.flag("stdout"),
        stderr: call.flag("stderr"),
        since: call.time("since")?,
        until: call.time("until")?,
        timestamps: call.flag("timestamps"),
        // As dockerd: what is no number means all.
        tail: call.text("tail").parse().ok(),
        details: call.flag("details"),
    };
    if !options.stdout && !options.stderr {
        // dockerd looks at this before it looks for the container.
        let message = "Bad parameters: you must choose at least one stream";
        return Err(Error::invalid(message).into());
    }
    if options.follow {
        call.is_endless();
    }
    let reader = api.engine.logs(&name, options)?;
    let tty = reader.tty;
    let kind = if tty || !call.at_least(42) { RAW } else { MULTIPLEXED };
    let pieces = received(reader.receiver).map(move |line| match line {
        Ok(line) => Ok(frame(&line, tty)),
        Err(error) => {
            tracing::warn!("{error}");
            // The status has been sent: the only way to tell is to end the body unfinished.
            Err(io::Error::other(error.message))
        }
    });
    Ok(streaming(kind, pieces))
}
