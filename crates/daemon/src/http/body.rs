//! JSON bodies, read as dockerd reads them.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use serde::de::DeserializeOwned;

use super::answer::Refusal;

/// The most that a JSON body may take, in bytes.
const MAX: usize = 16 << 20;
/// How long a client may pause within a JSON body.
const PAUSE: Duration = Duration::from_secs(30);

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, message)
}

/// Reads a JSON body. `None` when there is no body.
///
/// # Errors
/// 400 for a body that is no JSON of the expected shape or is not announced as JSON, 413 for one
/// that is too long, 408 for one that does not come.
pub(crate) async fn json<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
) -> Result<Option<T>, Refusal> {
    let announced = headers.get(header::CONTENT_TYPE);
    let empty = body.is_end_stream() || body.size_hint().exact() == Some(0);
    match announced.map(|value| value.to_str().unwrap_or("?")) {
        None if empty => return Ok(None),
        kind => check(kind.unwrap_or(""))?,
    }
    if empty {
        return Ok(None);
    }
    let bytes = read(body).await?;
    parse(&bytes).map(Some)
}

/// Reads one JSON value, and nothing after it.
///
/// # Errors
/// 400 in dockerd's words.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(invalid("invalid JSON: got EOF while reading request body"));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = T::deserialize(&mut reader).map_err(|error| invalid(explain(&error)))?;
    reader.end().map_err(|_| invalid("unexpected content after JSON"))?;
    Ok(value)
}

/// What is wrong with a body. A word that Docker's types refuse is refused in Docker's words,
/// without where it stands.
fn explain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    if !text.starts_with("invalid restart policy") && !text.starts_with("invalid mount config") {
        return format!("invalid JSON: {text}");
    }
    match text.rsplit_once(" at line ") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

/// Whether a content type is JSON's.
fn check(kind: &str) -> Result<(), Refusal> {
    let media = kind.split(';').next().unwrap_or("").trim();
    if media.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(invalid(if media.is_empty() {
        "malformed Content-Type header (): mime: no media type".to_owned()
    } else {
        format!("unsupported Content-Type header ({kind}): must be 'application/json'")
    }))
}

/// Reads a whole body of bounded length.
async fn read(mut body: Body) -> Result<Vec<u8>, Refusal> {
    let too_long = || {
        let message = format!("the request's body is longer than {MAX} bytes");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    };
    if body.size_hint().lower() > MAX as u64 {
        return Err(too_long());
    }
    let mut bytes = Vec::new();
    loop {
        let frame = tokio::time::timeout(PAUSE, body.frame()).await.map_err(|_| {
            Refusal::new(StatusCode::REQUEST_TIMEOUT, "the rest of the request's body has not come")
        })?;
        match frame {
            None => return Ok(bytes),
            Some(Err(error)) => return Err(invalid(format!("cannot read the body: {error}"))),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    bytes.extend(data);
                }
                if bytes.len() > MAX {
                    return Err(too_long());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use serde_json::Value;

    async fn read_as(
        kind: Option<&'static str>,
        body: &'static str,
    ) -> Result<Option<Value>, Refusal> {
        let mut headers = HeaderMap::new();
        if let Some(kind) = kind {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        json(&headers, Body::from(body)).await
    }

    #[tokio::test]
    async fn bodies_are_read_as_dockerd_reads_them() {
        let kind = Some("application/json; charset=utf-8");
        assert_eq!(read_as(kind, r#"{"a":1}"#).await, Ok(Some(serde_json::json!({"a": 1}))));
        assert_eq!(read_as(None, "").await, Ok(None));
        assert_eq!(read_as(Some("application/json"), "").await, Ok(None));
        for (kind, body, message) in [
            (Some("application/json"), "{", "invalid JSON: "),
            (Some("application/json"), " \n", "got EOF while reading request body"),
            (Some("application/json"), "{} {}", "unexpected content after JSON"),
            (Some("text/plain"), "{}", "unsupported Content-Type header (text/plain)"),
            (None, "{}", "malformed Content-Type header"),
            (Some("text/plain"), "", "unsupported Content-Type header"),
        ] {
            let refusal = read_as(kind, body).await.expect_err("refused");
            assert_eq!(refusal.status, StatusCode::BAD_REQUEST, "{refusal:?}");
            assert!(refusal.message.contains(message), "{refusal:?}");
        }
    }

    #[tokio::test]
    async fn long_bodies_are_refused() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let body = Body::from(vec![b' '; MAX + 1]);
        let refusal = json::<Value>(&headers, body).await.expect_err("refused");
        assert_eq!(refusal.status, StatusCode::PAYLOAD_TOO_LARGE);
        let pieces = futures_util::stream::repeat_with(|| {
            Ok::<_, std::io::Error>(bytes::Bytes::from_static(&[b' '; 65536]))
        });
        let refusal =
            json::<Value>(&headers, Body::from_stream(pieces)).await.expect_err("refused");
        assert_eq!(refusal.status, StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[test]
    fn deep_nesting_is_an_error_and_no_overflow() {
        let deep = "[".repeat(100_000);
        assert!(parse::<Value>(deep.as_bytes()).is_err());
    }
}
