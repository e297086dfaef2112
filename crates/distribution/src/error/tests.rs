use types::ErrorKind;
use types::reference::Reference;

use super::*;
use crate::challenge;

fn refused(status: u16, body: &str, header: &str) -> Error {
    let challenges = challenge::parse(header);
    Error::Refused(Box::new(Refusal::read(status, body.as_bytes(), &challenges, None)))
}

fn pulled(error: &Error) -> types::Error {
    error.for_pull(&Reference::parse("nobody/nothing:1").expect("valid"))
}

#[test]
fn denied_pulls_are_worded_as_docker_words_them() {
    let error = refused(
        401,
        r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#,
        r#"Bearer realm="https://a/t",scope="x",error="insufficient_scope""#,
    );
    // Docker keeps the first of several errors for the message.
    let error = pulled(&error);
    assert_eq!(error.kind, ErrorKind::NotFound);
    let words = "pull access denied for nobody/nothing, repository does not exist or may require \
                 'docker login': denied: requested access to the resource is denied";
    assert_eq!(error.message, words);
    assert_eq!(pulled(&refused(403, "", "")).message, words);
}

#[test]
fn unknown_manifests_are_worded_as_docker_words_them() {
    let body = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{"Tag":"1"}}]}"#;
    let error = refused(404, body, "");
    assert!(error.is_not_found());
    let error = pulled(&error);
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert_eq!(
        error.message,
        "manifest for nobody/nothing:1 not found: manifest unknown: manifest unknown"
    );
}

#[test]
fn other_statuses_say_what_they_are() {
    let said = |status, body: &str| {
        let error = refused(status, body, "");
        (error.kind(), error.to_string())
    };
    assert_eq!(
        said(401, ""),
        (ErrorKind::Unauthorized, "unauthorized: authentication required".into())
    );
    assert_eq!(
        said(401, r#"{"details":"incorrect username or password"}"#),
        (ErrorKind::Unauthorized, "unauthorized: incorrect username or password".into())
    );
    assert_eq!(
        said(429, r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}"#),
        (ErrorKind::Unavailable, "toomanyrequests: slow down".into())
    );
    assert_eq!(
        said(500, "<html>oops</html>"),
        (ErrorKind::System, "received unexpected HTTP status: 500 Internal Server Error".into())
    );
    assert_eq!(
        said(404, "<html>\u{1b}[31m"),
        (
            ErrorKind::NotFound,
            r#"error parsing HTTP 404 response body: unexpected content: "<html> [31m""#.into()
        )
    );
    assert_eq!(said(599, "").1, "received unexpected HTTP status: 599");
}

proptest::proptest! {
    #[test]
    fn any_answer_has_words(status in 400u16..600, body: Vec<u8>) {
        let refusal = Refusal::read(status, &body, &[], None);
        let words = refusal.to_string();
        let safe = words.chars().all(|c| c == '\n' || !c.is_control());
        proptest::prop_assert!(safe && !words.is_empty());
    }
}

#[test]
fn hostile_bodies_are_shortened() {
    let long = "x".repeat(1 << 20);
    let error = refused(400, &format!(r#"{{"errors":[{{"code":"A","message":"{long}"}}]}}"#), "");
    assert!(error.to_string().len() < 1100);
    let many = vec![r#"{"code":"A","message":"b"}"#; 1000].join(",");
    let error = refused(400, &format!(r#"{{"errors":[{many}]}}"#), "");
    assert_eq!(error.refusal().expect("a refusal").errors.len(), 16);
    assert!(refused(400, &"[".repeat(100_000), "").to_string().len() < 3000);
}
