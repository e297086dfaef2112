//! Pulls and pushes as the lines that clients print.

use docker_api::progress::{JsonMessage, ProgressDetail};
use docker_api::registry::PushResult;
use engine::{LayerState, TransferStep};
use types::Error;

use super::list::signed;

/// The lines of a step, or of the error that ends everything.
pub(crate) fn lines(step: Result<TransferStep, Error>) -> Vec<JsonMessage> {
    match step {
        Ok(TransferStep::Line(text)) => vec![JsonMessage::status(text)],
        Ok(TransferStep::Tag { tag, text }) => {
            vec![JsonMessage { id: Some(tag), ..JsonMessage::status(text) }]
        }
        Ok(TransferStep::Layer { id, state }) => vec![layer(id, state)],
        Ok(TransferStep::Importing { done, total }) => {
            let detail = ProgressDetail { current: signed(done), total: signed(total) };
            vec![JsonMessage { id: None, ..JsonMessage::about("", "Importing", detail) }]
        }
        Ok(TransferStep::Pushed { tag, digest, size }) => {
            let line = format!("{tag}: digest: {digest} size: {size}");
            let result = PushResult { tag, digest: digest.to_string(), size: signed(size) };
            let aux = JsonMessage {
                progress_detail: Some(ProgressDetail::default()),
                // Plain data: writing it as JSON cannot fail.
                aux: serde_json::to_value(result).ok(),
                ..JsonMessage::default()
            };
            vec![JsonMessage::status(line), aux]
        }
        Err(error) => vec![JsonMessage::error(error.message)],
    }
}

fn layer(id: String, state: LayerState) -> JsonMessage {
    let none = ProgressDetail::default();
    let some = |done, total| ProgressDetail { current: signed(done), total: signed(total) };
    let (text, detail) = match state {
        LayerState::AlreadyExists => ("Already exists".to_owned(), none),
        LayerState::Wanted => ("Pulling fs layer".to_owned(), none),
        LayerState::Waiting => ("Waiting".to_owned(), none),
        LayerState::Downloading { done, total } => ("Downloading".to_owned(), some(done, total)),
        LayerState::Verifying => ("Verifying Checksum".to_owned(), none),
        LayerState::Downloaded => ("Download complete".to_owned(), none),
        LayerState::Extracting { done, total } => ("Extracting".to_owned(), some(done, total)),
        LayerState::Pulled => ("Pull complete".to_owned(), none),
        LayerState::Preparing => ("Preparing".to_owned(), none),
        LayerState::Present => ("Layer already exists".to_owned(), none),
        LayerState::Mounted(from) => (format!("Mounted from {from}"), none),
        LayerState::Pushing { done, total } => ("Pushing".to_owned(), some(done, total)),
        LayerState::Pushed => ("Pushed".to_owned(), none),
    };
    JsonMessage::about(id, text, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::digest::Digest;

    fn text(step: TransferStep) -> Vec<String> {
        let line = |line: &JsonMessage| serde_json::to_string(line).expect("JSON");
        lines(Ok(step)).iter().map(line).collect()
    }

    #[test]
    fn lines_are_dockers() {
        let layer = |state| TransferStep::Layer { id: "0123456789ab".to_owned(), state };
        assert_eq!(
            text(layer(LayerState::Wanted)),
            [r#"{"status":"Pulling fs layer","progressDetail":{},"id":"0123456789ab"}"#]
        );
        let found = text(layer(LayerState::Downloading { done: 5, total: 10 }));
        assert!(found[0].starts_with(
            r#"{"status":"Downloading","progressDetail":{"current":5,"total":10},"progress":"[=="#
        ));
        let tag = TransferStep::Tag { tag: "1".to_owned(), text: "Pulling from x".to_owned() };
        assert_eq!(text(tag), [r#"{"status":"Pulling from x","id":"1"}"#]);
        let digest = Digest::from_sha256([0x11; 32]);
        let found = text(TransferStep::Pushed { tag: "1".to_owned(), digest, size: 7 });
        assert!(found[0].contains("1: digest: sha256:1111") && found[0].contains(" size: 7"));
        assert!(found[1].starts_with(r#"{"progressDetail":{},"aux":{"#), "{found:?}");
        assert!(found[1].contains(r#""Tag":"1""#) && found[1].contains(r#""Size":7"#));
        let error = lines(Err(Error::not_found("no")));
        assert_eq!(
            serde_json::to_string(&error[0]).expect("JSON"),
            r#"{"errorDetail":{"message":"no"},"error":"no"}"#
        );
    }
}
