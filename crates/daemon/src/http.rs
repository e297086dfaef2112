//! HTTP as Docker speaks it: versions in paths, Go's way with query parameters and JSON bodies,
//! errors, streams.

pub(crate) mod answer;
pub(crate) mod body;
pub(crate) mod call;
pub mod params;
pub(crate) mod time;
pub(crate) mod upload;
pub mod version;
