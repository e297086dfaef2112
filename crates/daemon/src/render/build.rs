//! Builds in the API's shapes.

use docker_api::build::{BuildEvent, BuildStep};
use docker_api::disk::BuildCache;
use docker_api::progress::{ErrorDetail, JsonMessage};
use engine::builder::cache::Record;
use engine::builder::progress::{Event, StepInfo, StepKind};
use engine::builder::{Failure, Place};
use types::Timestamp;

use crate::http::version::Version;

/// An event for our own client; nothing for what only the classic text has.
pub(crate) fn event(event: Event) -> Option<BuildEvent> {
    let at = Timestamp::now();
    Some(match event {
        Event::Plan(steps) => BuildEvent::Plan { steps: steps.into_iter().map(step).collect() },
        Event::Started(step) => BuildEvent::Started { step, at },
        Event::Progress { step, part } => BuildEvent::Progress {
            step,
            item: part.item,
            status: part.status,
            current: part.current,
            total: part.total,
        },
        Event::Log { step, stream, data } => {
            let data = String::from_utf8_lossy(&data).into_owned();
            BuildEvent::Log { step, stream, data }
        }
        Event::Finished { step, cached, .. } => BuildEvent::Finished { step, cached, at },
        Event::Failed { step, message, cancelled } => {
            BuildEvent::Failed { step, message, cancelled, at }
        }
        Event::Warning { message, place: (line, column) } => {
            BuildEvent::Warning { message, line, column }
        }
        Event::Unused(names) => {
            let message = format!("one or more build-args were not consumed: {names:?}");
            BuildEvent::Warning { message, line: 0, column: 0 }
        }
        Event::Running { .. } | Event::Triggers { .. } => return None,
    })
}

fn step(info: StepInfo) -> BuildStep {
    let kind = match info.kind {
        StepKind::Internal | StepKind::Argument => "internal",
        StepKind::Base => "pull",
        StepKind::Instruction | StepKind::Trigger => "step",
        StepKind::Export => "export",
    };
    BuildStep {
        number: info.number,
        kind: kind.to_owned(),
        stage: info.stage,
        name: info.name,
        index: info.index,
        of: info.of,
        line: info.line,
    }
}

/// An event as a line.
pub(crate) fn aux(event: &BuildEvent) -> JsonMessage {
    JsonMessage { aux: serde_json::to_value(event).ok(), ..JsonMessage::default() }
}

/// Where a failure is.
pub(crate) fn source(place: &Place) -> BuildEvent {
    BuildEvent::Source {
        file: place.file.clone(),
        line: place.span.start.line,
        column: place.span.start.column,
        excerpt: place.lines.clone(),
    }
}

/// The failure that ends the stream.
pub(crate) fn failure(failure: &Failure) -> JsonMessage {
    let message = failure.to_string();
    JsonMessage {
        error_detail: Some(ErrorDetail {
            code: failure.code().map_or(0, i64::from),
            message: message.clone(),
        }),
        error: Some(message),
        ..JsonMessage::default()
    }
}

/// A record of the cache.
pub(crate) fn cache(record: Record, version: Version) -> BuildCache {
    let several = version.at_least(42);
    BuildCache {
        parent: record.parent.clone().filter(|_| !several).unwrap_or_default(),
        id: record.id,
        parents: record.parent.into_iter().filter(|_| several).collect(),
        kind: record.kind.as_str().to_owned(),
        description: record.description,
        in_use: record.in_use,
        shared: record.shared,
        size: i64::try_from(record.size).unwrap_or(i64::MAX),
        created_at: record.created,
        last_used_at: Some(record.last_used),
        usage_count: i64::try_from(record.uses).unwrap_or(i64::MAX),
    }
}
