//! What Docker's API has no words for: checking the store.

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use docker_api::check::{CheckLine, CheckOutcome, CheckProblem, CheckSubject};
use engine::CheckEvent;
use futures_util::StreamExt;
use types::Error;

use crate::api::Api;
use crate::http::answer::{Answer, json_lines, received};
use crate::http::call::Call;

pub(super) fn routes() -> Router<Api> {
    Router::new().route("/system/check", post(check))
}

async fn check(State(api): State<Api>, call: Call) -> Answer {
    let steps = api.engine.check_images(call.flag("repair"));
    Ok(json_lines(received(steps).map(line)))
}

fn line(event: Result<CheckEvent, Error>) -> CheckLine {
    match event {
        Ok(CheckEvent::Step(engine::CheckStep::Checking { subject: what, done, total })) => {
            CheckLine::Checking { subject: subject(what), done, total }
        }
        Ok(CheckEvent::Step(engine::CheckStep::Found(found))) => CheckLine::Found(problem(found)),
        Ok(CheckEvent::Report(report)) => CheckLine::Report {
            images: report.images as u64,
            layers: report.layers as u64,
            blobs: report.blobs as u64,
            bytes: report.bytes,
            problems: report.problems.len() as u64,
            solved: report.problems.iter().filter(|problem| problem.is_solved()).count() as u64,
        },
        Err(error) => CheckLine::Failed { message: error.message },
    }
}

fn problem(found: engine::CheckProblem) -> CheckProblem {
    let outcome = match found.outcome {
        engine::CheckOutcome::Reported(offer) => CheckOutcome::Reported(offer),
        engine::CheckOutcome::Repaired(how) => CheckOutcome::Repaired(how),
        engine::CheckOutcome::Dropped(images) => CheckOutcome::Dropped(images),
        engine::CheckOutcome::Removed => CheckOutcome::Removed,
        engine::CheckOutcome::Hopeless(why) => CheckOutcome::Hopeless(why),
        engine::CheckOutcome::Failed(why) => CheckOutcome::Failed(why),
    };
    CheckProblem {
        subject: subject(found.subject),
        fault: found.fault,
        images: found.images,
        containers: found.containers,
        outcome,
    }
}

fn subject(found: engine::CheckSubject) -> CheckSubject {
    match found {
        engine::CheckSubject::Image(id) => CheckSubject::Image(id.to_string()),
        engine::CheckSubject::Layer(diff_id) => CheckSubject::Layer(diff_id.to_string()),
        engine::CheckSubject::Blob(digest) => CheckSubject::Blob(digest.to_string()),
        engine::CheckSubject::File(path) => CheckSubject::File(path),
    }
}
