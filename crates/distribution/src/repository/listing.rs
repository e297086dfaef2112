use hyper::Method;
use hyper::header::{ACCEPT, ACCEPT_ENCODING, HeaderName, LINK};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use types::digest::Digest;
use types::null_default;

use super::{PULL, Repository};
use crate::error::{Error, Result};
use crate::manifest::{Descriptor, Document, ImageIndex, Limits, media_type};
use crate::registry::Registry;
use crate::wire::{Request, Url};

/// Entries asked for at once.
const PAGE: &str = "1000";
/// Bytes of a page that are read.
const MAX_PAGE: u64 = 8 << 20;
/// Pages that are read; with full ones, a million entries.
const MAX_PAGES: usize = 1000;
/// In which a registry says that it has chosen by artifact type itself.
const FILTERED: HeaderName = HeaderName::from_static("oci-filters-applied");

#[derive(Deserialize)]
struct Tags {
    #[serde(default, deserialize_with = "null_default")]
    tags: Vec<String>,
}

impl Repository {
    /// All tags.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn tags(&self) -> Result<Vec<String>> {
        for (position, source) in self.sources() {
            match self.tags_from(source).await {
                Ok(tags) => return Ok(tags),
                Err(error) => self.pass_over(position, error)?,
            }
        }
        self.tags_from(self.registry()).await
    }

    async fn tags_from(&self, source: &Registry) -> Result<Vec<String>> {
        let first = source.base().await?.url(&self.path("tags/list")).with("n", PAGE);
        let mut tags = Vec::new();
        self.pages(source, first, "application/json", |page: Tags, _| tags.extend(page.tags))
            .await?;
        Ok(tags)
    }

    /// The manifests that refer to this one, all or those of one artifact type. A registry that
    /// does not know the question keeps them under a tag, where they are looked for then.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn referrers(
        &self,
        digest: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>> {
        let registry = self.registry();
        let mut first = registry.base().await?.url(&self.path(&format!("referrers/{digest}")));
        if let Some(artifact_type) = artifact_type {
            first = first.with("artifactType", artifact_type);
        }
        let mut found = Vec::new();
        let mut filtered = true;
        let pages =
            self.pages(registry, first, media_type::OCI_INDEX, |page: ImageIndex, by_type| {
                filtered &= by_type;
                found.extend(page.manifests);
            });
        match pages.await {
            Ok(()) => {}
            Err(error) if error.is_not_found() => {
                found = self.referrers_by_tag(digest).await?;
                filtered = false;
            }
            Err(error) => return Err(error),
        }
        if let Some(wanted) = artifact_type.filter(|_| !filtered) {
            found.retain(|one| one.artifact_type.as_deref() == Some(wanted));
        }
        Ok(found)
    }

    /// The tag under which those who push referrers keep a list of them, if the registry has
    /// none of its own.
    pub fn referrers_tag(digest: &Digest) -> String {
        let tag = format!("{}-{}", digest.algorithm(), digest.hex());
        tag.chars().take(128).collect()
    }

    async fn referrers_by_tag(&self, digest: &Digest) -> Result<Vec<Descriptor>> {
        let fetched = match self.manifest(&Self::referrers_tag(digest)).await {
            Ok(fetched) => fetched,
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        match Document::parse(&fetched.media_type, &fetched.bytes, &Limits::default())? {
            Document::Index(index) => Ok(index.manifests),
            Document::Manifest(_) => Ok(Vec::new()),
        }
    }

    /// Reads a list page by page.
    async fn pages<T: DeserializeOwned>(
        &self,
        registry: &Registry,
        first: Url,
        accept: &str,
        mut each: impl FnMut(T, bool),
    ) -> Result<()> {
        let mut url = first;
        let mut seen = Vec::new();
        loop {
            let request = Request::new(Method::GET, url.clone())
                .header(ACCEPT, accept)
                .header(ACCEPT_ENCODING, "identity");
            let mut answer = registry.fetch(request, &self.scopes(PULL)).await?;
            let bytes = answer.bytes(MAX_PAGE).await?;
            let page = serde_json::from_slice(&bytes)
                .map_err(|source| Error::Json { request: answer.request.clone(), source })?;
            let filters = answer.header(FILTERED).unwrap_or_default();
            each(page, filters.split(',').any(|filter| filter.trim() == "artifactType"));
            let Some(next) = answer.header(LINK).and_then(next_link) else { return Ok(()) };
            seen.push(url.path.clone());
            let mut next = url.join(next)?;
            // A registry behind a proxy may name itself in plain HTTP.
            if next.origin.host == url.origin.host {
                next.origin = url.origin.clone();
            }
            if next.origin != url.origin {
                return Err(answer.protocol("the list goes on at another host"));
            }
            if seen.contains(&next.path) || seen.len() >= MAX_PAGES {
                return Err(answer.protocol("the list does not end"));
            }
            url = next;
        }
    }
}

/// The target of `<target>; rel="next"`.
fn next_link(header: &str) -> Option<&str> {
    let mut rest = header;
    loop {
        let (_, after) = rest.split_once('<')?;
        let (target, after) = after.split_once('>')?;
        let end = after.find('<').unwrap_or(after.len());
        let (parameters, others) = after.split_at(end);
        let is_next = parameters.split([';', ',']).any(|parameter| {
            parameter.split_once('=').is_some_and(|(name, value)| {
                name.trim().eq_ignore_ascii_case("rel")
                    && value.trim().trim_matches('"').split(' ').any(|word| word == "next")
            })
        });
        if is_next {
            return Some(target);
        }
        rest = others;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found() {
        assert_eq!(
            next_link(r#"</v2/a/tags/list?n=2&last=b>; rel="next""#),
            Some("/v2/a/tags/list?n=2&last=b")
        );
        assert_eq!(next_link("<x>;rel=prev, <y> ; REL=next"), Some("y"));
        assert_eq!(next_link(r#"<x>; title="a"; rel="last next""#), Some("x"));
        for none in ["", "<x>", "<x; rel=next", "x; rel=next", "<x>; rel=prev"] {
            assert_eq!(next_link(none), None, "{none}");
        }
    }

    #[test]
    fn the_tag_for_referrers() {
        let digest = Digest::from_sha256([0xab; 32]);
        assert_eq!(Repository::referrers_tag(&digest), format!("sha256-{}", "ab".repeat(32)));
    }
}
