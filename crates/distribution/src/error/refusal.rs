use std::fmt;
use std::time::Duration;

use hyper::StatusCode;
use serde::Deserialize;
use types::{ErrorKind, null_default};

use crate::challenge::Challenge;

/// Characters of a stranger's text that are shown.
const SHOWN: usize = 1024;

/// A registry's answer of 400 or more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// What the body says, the most important first; never empty for statuses with a meaning.
    pub errors: Vec<WireError>,
    /// How long the registry wants us to wait.
    pub retry_after: Option<Duration>,
    /// Part of a body that is not the JSON of the specification.
    body: String,
}

/// One error of the body.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct WireError {
    /// `MANIFEST_UNKNOWN` and the like.
    #[serde(deserialize_with = "null_default")]
    pub code: String,
    /// The registry's words.
    #[serde(deserialize_with = "null_default")]
    pub message: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    #[serde(deserialize_with = "null_default")]
    errors: Vec<WireError>,
    /// What token services and Hub's front say instead.
    #[serde(deserialize_with = "null_default")]
    details: String,
    #[serde(deserialize_with = "null_default")]
    message: String,
    #[serde(deserialize_with = "null_default")]
    error_description: String,
}

impl Refusal {
    /// Reads an answer. `challenges` are those of its `WWW-Authenticate`.
    pub(crate) fn read(
        status: u16,
        body: &[u8],
        challenges: &[Challenge],
        retry_after: Option<Duration>,
    ) -> Self {
        let parsed: Body = serde_json::from_slice(body).unwrap_or_default();
        let mut errors: Vec<WireError> = parsed
            .errors
            .into_iter()
            .take(16)
            .map(|error| WireError {
                code: clean(&error.code).to_uppercase(),
                message: clean(&error.message),
            })
            .filter(|error| !error.code.is_empty() || !error.message.is_empty())
            .collect();
        // The challenge of a token that lacks rights says so although the status is 401.
        let scope = challenges.iter().filter(|challenge| challenge.is_bearer());
        if status == 401
            && scope.clone().any(|c| c.parameter("error") == Some("insufficient_scope"))
        {
            errors.insert(0, WireError::of("DENIED", ""));
        }
        if errors.is_empty() {
            let said = [parsed.details, parsed.message, parsed.error_description]
                .into_iter()
                .find(|text| !text.is_empty())
                .map(|text| clean(&text))
                .unwrap_or_default();
            errors.extend(code_of(status).map(|code| WireError::of(code, &said)));
        }
        let body = String::from_utf8_lossy(&body[..body.len().min(SHOWN)]);
        Self { status, errors, retry_after, body: clean(&body) }
    }

    /// The first code, in upper case; empty for statuses without a meaning of their own.
    pub fn code(&self) -> &str {
        self.errors.first().map_or("", |error| &error.code)
    }

    /// What it means for the caller.
    pub fn kind(&self) -> ErrorKind {
        match (self.code(), self.status) {
            ("DENIED", _) => ErrorKind::Forbidden,
            (_, 401) => ErrorKind::Unauthorized,
            (_, 403) => ErrorKind::Forbidden,
            (_, 404) => ErrorKind::NotFound,
            (_, 409) => ErrorKind::Conflict,
            (_, 405 | 501) => ErrorKind::NotImplemented,
            (_, 429 | 502 | 503 | 504) => ErrorKind::Unavailable,
            (_, 400 | 413 | 416) => ErrorKind::Invalid,
            _ => ErrorKind::System,
        }
    }

    /// Whether another attempt may end better.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self.status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
    }
}

impl WireError {
    fn of(code: &str, message: &str) -> Self {
        Self { code: code.to_owned(), message: message.to_owned() }
    }
}

impl fmt::Display for WireError {
    /// `manifest unknown: manifest unknown`, as Docker's client prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code.replace('_', " ").to_lowercase();
        let message =
            if self.message.is_empty() { usual_message(&self.code) } else { &self.message };
        match (code.as_str(), message) {
            ("", message) => f.write_str(message),
            (code, "") => f.write_str(code),
            (code, message) => write!(f, "{code}: {message}"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.errors[..] {
            [] => {}
            [one] => return one.fmt(f),
            many => {
                f.write_str("errors:\n")?;
                return many.iter().try_for_each(|error| writeln!(f, "{error}"));
            }
        }
        if self.status < 500 && !self.body.is_empty() {
            return write!(
                f,
                "error parsing HTTP {} response body: unexpected content: {:?}",
                self.status, self.body
            );
        }
        write!(f, "received unexpected HTTP status: {}", status_line(self.status))
    }
}

/// `404 Not Found`.
pub(crate) fn status_line(status: u16) -> String {
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    format!("{status} {}", reason.unwrap_or_default()).trim_end().to_owned()
}

/// The code of a status whose answer has no body to say it.
fn code_of(status: u16) -> Option<&'static str> {
    Some(match status {
        401 => "UNAUTHORIZED",
        403 => "DENIED",
        429 => "TOOMANYREQUESTS",
        _ => return None,
    })
}

/// The words of the specification for a code that comes without any.
fn usual_message(code: &str) -> &'static str {
    match code {
        "UNAUTHORIZED" => "authentication required",
        "DENIED" => "requested access to the resource is denied",
        "TOOMANYREQUESTS" => "too many requests",
        "MANIFEST_UNKNOWN" => "manifest unknown",
        "NAME_UNKNOWN" => "repository name not known to registry",
        "BLOB_UNKNOWN" => "blob unknown to registry",
        "UNSUPPORTED" => "The operation is unsupported.",
        _ => "",
    }
}

/// A stranger's text without control characters and of a bearable length.
fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() && c != '\n' { ' ' } else { c })
        .take(SHOWN)
        .collect::<String>()
        .trim()
        .to_owned()
}
