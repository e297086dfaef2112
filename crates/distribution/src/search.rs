use std::sync::Arc;

use hyper::Method;
use hyper::header::{ACCEPT, ACCEPT_ENCODING};
use serde::{Deserialize, Serialize};
use types::null_default;

use crate::client::{Client, index_host, is_hub};
use crate::credentials::{Credentials, host_of};
use crate::error::{Error, Result};
use crate::registry::{Registry, basic_or_none};
use crate::wire::Request;

/// Bytes of an answer that are read.
const MAX_ANSWER: u64 = 8 << 20;
/// Answers that an index gives at most, and how many if nobody says.
const MOST: u32 = 100;
const USUAL: u32 = 25;

/// One image that an index knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SearchHit {
    /// Its name.
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    /// What it is.
    #[serde(deserialize_with = "null_default")]
    pub description: String,
    /// How many people like it.
    #[serde(deserialize_with = "null_default")]
    pub star_count: i64,
    /// One of Docker's own.
    #[serde(deserialize_with = "null_default")]
    pub is_official: bool,
    /// Built by the index; no longer offered anywhere.
    #[serde(deserialize_with = "null_default")]
    pub is_automated: bool,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Found {
    #[serde(deserialize_with = "null_default")]
    results: Vec<SearchHit>,
}

impl Client {
    /// Looks for images in an index by a word. `index` is a host, empty for Docker Hub; a
    /// `limit` of 0 is the usual 25. The term may itself begin with an index's host.
    ///
    /// # Errors
    /// [`Error::Search`] for limits above 100; others when the index does not answer.
    pub async fn search(
        &self,
        index: &str,
        term: &str,
        limit: u32,
        credentials: Option<&Credentials>,
    ) -> Result<Vec<SearchHit>> {
        if limit > MOST {
            return Err(Error::Search("Limit is outside the range of [1, 100]"));
        }
        if term.contains("://") {
            return Err(Error::Search(
                "invalid repository name: it should not contain a scheme such as https://",
            ));
        }
        let (index, term) = match split(term) {
            (Some(own), term) if index.is_empty() => (own, term),
            _ => (index, term),
        };
        let host = host_of(index);
        let term = match is_hub(host) {
            // Docker Hub lists its own images without their prefix.
            true => term.strip_prefix("library/").unwrap_or(term),
            false => term,
        };
        let limit = if limit == 0 { USUAL } else { limit };
        let registry = Registry::at(Arc::clone(&self.0), index_host(host), credentials.cloned());
        let url = registry.base().await?.url("v1/search");
        let mut request =
            Request::new(Method::GET, url.with("q", term).with("n", &limit.to_string()))
                .header(ACCEPT, "application/json")
                .header(ACCEPT_ENCODING, "identity")
                .header(hyper::header::HeaderName::from_static("x-docker-token"), "true");
        if let Some(basic) = basic_or_none(credentials) {
            request = request.authorization(&basic);
        }
        let mut answer = registry.fetch_openly(request).await?;
        let bytes = answer.bytes(MAX_ANSWER).await?;
        let found: Found = serde_json::from_slice(&bytes)
            .map_err(|source| Error::Json { request: answer.request.clone(), source })?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(found.results.into_iter().take(limit).collect())
    }
}

/// A term that begins with a host, as image names do.
fn split(term: &str) -> (Option<&str>, &str) {
    match term.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => {
            (Some(first), rest)
        }
        _ => (None, term),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_may_name_an_index() {
        assert_eq!(split("busybox"), (None, "busybox"));
        assert_eq!(split("me/app"), (None, "me/app"));
        assert_eq!(split("r.example/me/app"), (Some("r.example"), "me/app"));
        assert_eq!(split("localhost:5000/x"), (Some("localhost:5000"), "x"));
    }
}
