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

impl ProgressDetail {
    /// A bar and figures as text, as Docker writes them for a terminal of 200 columns; `None` when
    /// there is nothing to show.
    pub fn drawn(&self) -> Option<String> {
        if self.current <= 0 && self.total <= 0 {
            return None;
        }
        let current = size(self.current);
        if self.total <= 0 {
            return Some(format!("{current:>8}"));
        }
        let done = (self.current.saturating_mul(50) / self.total).clamp(0, 50) as usize;
        let bar = format!("[{}>{}]", "=".repeat(done), " ".repeat(50 - done));
        if self.current > self.total {
            return Some(format!("{bar} {current:>8}"));
        }
        Some(format!("{bar} {current:>8}/{}", size(self.total)))
    }
}

/// Four digits and a unit, a power of 1000.
fn size(bytes: i64) -> String {
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit < UNITS.len() - 1 {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = match value {
        value if value < 10.0 => 3,
        value if value < 100.0 => 2,
        value if value < 1000.0 => 1,
        _ => 0,
    };
    let text = format!("{value:.decimals$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    format!("{text}{}", UNITS[unit])
}

const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];

impl JsonMessage {
    /// A line about something, with how far it has come.
    pub fn about(id: impl Into<String>, text: impl Into<String>, detail: ProgressDetail) -> Self {
        Self {
            status: Some(text.into()),
            progress_detail: Some(detail),
            progress: detail.drawn(),
            id: Some(id.into()),
            ..Self::default()
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_drawn_as_docker_draws_it() {
        let drawn = |current, total| ProgressDetail { current, total }.drawn();
        assert_eq!(drawn(0, 0), None);
        assert_eq!(drawn(2048, 0).as_deref(), Some(" 2.048kB"));
        let bar = format!("[{}>{}]", "=".repeat(25), " ".repeat(25));
        assert_eq!(drawn(50, 100), Some(format!("{bar}      50B/100B")));
        let bar = format!("[{}>]", "=".repeat(50));
        assert_eq!(drawn(1_500_000, 1_500_000), Some(format!("{bar}    1.5MB/1.5MB")));
        assert_eq!(drawn(123_456, 100), Some(format!("{bar}  123.5kB")));
        assert_eq!(size(5), "5B");
        assert_eq!(size(1000), "1kB");
    }
}
