//! The stream of JSON objects that load, import, pull and build answer with.

use serde::{Deserialize, Serialize};

/// One object of the stream. What is not said is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct JsonMessage {
    /// Text to print as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// A line about [`JsonMessage::id`], or on its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// How far it has come.
    #[serde(rename = "progressDetail", skip_serializing_if = "Option::is_none")]
    pub progress_detail: Option<ProgressDetail>,
    /// The same as text, for old clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// What the line is about: a layer, a tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The failure that ended the operation. The status was sent before, so it comes here.
    #[serde(rename = "errorDetail", skip_serializing_if = "Option::is_none")]
    pub error_detail: Option<ErrorDetail>,
    /// The same as text, for old clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Something for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aux: Option<serde_json::Value>,
}

/// How far something has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProgressDetail {
    /// Bytes done.
    #[serde(skip_serializing_if = "crate::json::is_zero")]
    pub current: i64,
    /// Bytes in all; 0 when unknown.
    #[serde(skip_serializing_if = "crate::json::is_zero")]
    pub total: i64,
}

/// A failure inside a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorDetail {
    /// A status code, where there is one.
    #[serde(skip_serializing_if = "crate::json::is_zero")]
    pub code: i64,
    /// One sentence.
    pub message: String,
}

impl JsonMessage {
    /// Text to print as it is.
    pub fn stream(text: impl Into<String>) -> Self {
        Self { stream: Some(text.into()), ..Self::default() }
    }

    /// A line on its own.
    pub fn status(text: impl Into<String>) -> Self {
        Self { status: Some(text.into()), ..Self::default() }
    }

    /// The failure that ends the stream.
    pub fn error(text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            error_detail: Some(ErrorDetail { code: 0, message: text.clone() }),
            error: Some(text),
            ..Self::default()
        }
    }
}
