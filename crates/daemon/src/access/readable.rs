//! What a client may see that may only look.
//!
//! A list of what is allowed, not of what is refused: a route that is new is closed until somebody
//! has thought about it. On it are the answers that describe; not on it are those that hand out
//! content (files of containers and images, the data of configs), that speak to a process, or that
//! make the daemon speak to somebody else.

use axum::http::Method;

/// A segment of a path that may be anything.
const ANY: &str = "{}";
/// The rest of the path but the last segment: names of images have slashes.
const NAME: &str = "{name}";

/// The paths that describe. `GET` and `HEAD` of these are looking.
const READABLE: &[&[&str]] = &[
    &["_ping"],
    &["version"],
    &["info"],
    &["events"],
    &["system", "df"],
    &["containers", "json"],
    &["containers", ANY, "json"],
    &["containers", ANY, "top"],
    &["containers", ANY, "logs"],
    &["containers", ANY, "stats"],
    &["containers", ANY, "changes"],
    &["exec", ANY, "json"],
    &["images", "json"],
    &["images", "tree"],
    &["images", NAME, "json"],
    &["images", NAME, "history"],
    &["images", NAME, "oci"],
    &["images", NAME, "diff"],
    &["images", NAME, "attestations"],
    &["networks"],
    &["networks", ANY],
    &["volumes"],
    &["volumes", ANY],
    &["isopod", "machines", "snapshots"],
    &["isopod", "secrets"],
    &["isopod", "secrets", ANY],
    &["secrets"],
    &["secrets", ANY],
    &["plugins"],
    &["plugins", ANY, "json"],
    &["swarm"],
    &["services"],
    &["services", ANY],
    &["nodes"],
    &["nodes", ANY],
    &["tasks"],
    &["tasks", ANY],
];

/// Whether a request only looks. `path` is as it came, without its version: a slash that is
/// written as `%2F` parts no segments here, so that nothing passes for another route's end.
pub(super) fn is_readable(method: &Method, path: &str) -> bool {
    if method != Method::GET && method != Method::HEAD {
        return false;
    }
    let Some(path) = path.strip_prefix('/') else { return false };
    let segments: Vec<&str> = path.split('/').collect();
    READABLE.iter().any(|pattern| fits(pattern, &segments))
}

fn fits(pattern: &[&str], segments: &[&str]) -> bool {
    match pattern {
        [first, NAME, last] => {
            let [head, name @ .., tail] = segments else { return false };
            head == first && tail == last && !name.is_empty()
        }
        pattern => {
            pattern.len() == segments.len()
                && pattern.iter().zip(segments).all(|(one, segment)| {
                    if *one == ANY { !segment.is_empty() } else { one == segment }
                })
        }
    }
}
