//! The Docker Engine API as data, and a client for it.
//!
//! Each module holds the JSON of one noun of the API, requests and answers; what is persisted as
//! well (container configurations, mounts, limits) lives in `types` and is used from here. The
//! fields carry the API's own names and the specification documents them; comments here say only
//! what the specification does not: `null` against `[]` against absent, and what older clients
//! still look for.
//!
//! [`client`] speaks HTTP/1.1 over a unix socket, TCP or TLS. Nothing here knows how a container
//! is run, or how anything is shown to a person.

#[macro_use]
mod json;

pub mod archive;
pub mod build;
pub mod check;
pub mod client;
pub mod container;
pub mod disk;
pub mod event;
pub mod exec;
pub mod image;
pub mod layers;
pub mod machine;
pub mod network;
pub mod progress;
pub mod registry;
pub mod secret;
pub mod stats;
pub mod system;
pub mod volume;

use serde::{Deserialize, Serialize};

/// The version that a daemon says it speaks, and speaks to those who ask for none: the last before
/// answers lost what many clients still read (a container's address beside its networks, `status`
/// and `id` of events, the lists of `/system/df`).
pub const API_VERSION: &str = "1.51";

/// The newest version that clients may ask for.
pub const NEWEST_API_VERSION: &str = "1.55";

/// The oldest version that clients may ask for.
pub const MIN_API_VERSION: &str = "1.24";

/// The system's errors as Go words them, which scripts look for: without the number, and small.
pub fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(" (os error ") {
        let (before, after) = rest.split_at(at);
        let start = before.rfind(": ").map_or(0, |colon| colon + 2);
        out.push_str(&before[..start]);
        out.push_str(&before[start..].to_lowercase());
        rest = after.split_once(')').map_or("", |(_, rest)| rest);
    }
    out + rest
}

/// The body of every answer with a status of 400 or more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorResponse {
    /// One sentence for the user.
    pub message: String,
}

api_json! {
/// The id of what was made (`/commit`, `/containers/{id}/exec`).
pub struct IdResponse {
    pub id: String,
}

/// Answers that only warn.
pub struct WarningsResponse {
    #[serde(serialize_with = "types::empty_null")]
    pub warnings: Vec<String>,
}
}

/// What `GET` and `HEAD /_ping` say in headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ping {
    /// `Api-Version`: the newest version the daemon speaks.
    pub api_version: String,
    /// `Ostype`: `linux`.
    pub os_type: String,
    /// `Docker-Experimental`.
    pub experimental: bool,
    /// `Builder-Version`: `1` or `2` (BuildKit); empty when the daemon builds nothing.
    pub builder_version: String,
    /// `Swarm`: `inactive` for a daemon outside a swarm.
    pub swarm: String,
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn system_errors_read_as_gos() {
        assert_eq!(
            plain("open /X: No such file or directory (os error 2)"),
            "open /X: no such file or directory"
        );
        assert_eq!(plain("Other (text)"), "Other (text)");
    }
}
