//! What registries know: searches, and what a name stands for there.

use distribution::manifest::{Descriptor, Document, Limits, Platform};
use distribution::{Credentials, SearchHit};
use types::Error;
use types::filter::Filters;
use types::reference::{Reference, is_image_id};

use super::pull::fetch_config;
use super::{of_the_other_side, plainly};
use crate::Engine;

/// How many images a search finds unless told otherwise, as dockerd.
const FOUND: i64 = 25;

/// What a registry has under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryImage {
    /// The manifest or index.
    pub descriptor: Descriptor,
    /// What it runs on.
    pub platforms: Vec<Platform>,
}

impl Engine {
    /// Looks for images by a word.
    ///
    /// # Errors
    /// [`types::ErrorKind::Invalid`] for filters and limits that make no sense.
    pub async fn search(
        &self,
        term: &str,
        limit: Option<i64>,
        filters: &Filters,
        credentials: Option<Credentials>,
    ) -> Result<Vec<SearchHit>, Error> {
        filters.allow(&["is-automated", "is-official", "stars"])?;
        let (official, automated) =
            (filters.boolean("is-official")?, filters.boolean("is-automated")?);
        let mut stars = 0;
        for text in filters.values("stars") {
            let number = text.parse::<i64>();
            let number =
                number.map_err(|_| Error::invalid(format!("invalid filter 'stars=[{text}]'")))?;
            stars = stars.max(number);
        }
        let limit = match limit {
            None | Some(0) => FOUND,
            Some(limit) if (1..=100).contains(&limit) => limit,
            Some(limit) => {
                let text = format!("limit {limit} is outside the range of [1, 100]");
                return Err(Error::invalid(text));
            }
        };
        let (index, term) = split_term(term)?;
        let client = self.registries.client()?;
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let found = client.search(index, term, limit, credentials.as_ref()).await;
        let mut found = found.map_err(|error| of_the_other_side(error.plain()))?;
        found.retain(|hit| {
            hit.star_count >= stars
                && official.is_none_or(|official| hit.is_official == official)
                && automated.is_none_or(|automated| hit.is_automated == automated)
        });
        Ok(found)
    }

    /// What a registry has under a name.
    ///
    /// # Errors
    /// Those of the registry, in its words.
    pub async fn registry_image(
        &self,
        name: &str,
        credentials: Option<Credentials>,
    ) -> Result<RegistryImage, Error> {
        if is_image_id(name) {
            let text = format!("unknown image reference format: {name}");
            return Err(Error::invalid(text));
        }
        let reference =
            Reference::parse(name).map_err(|error| Error::invalid(error.to_string()))?;
        let reference = reference.or_latest();
        let repository = self.registries.client()?.repository(&reference, credentials);
        let wanted = wanted(&reference);
        let fetched = repository.manifest(&wanted).await.map_err(|error| plainly(error.plain()))?;
        let document = Document::parse(&fetched.media_type, &fetched.bytes, &Limits::default())
            .map_err(|error| Error::invalid(error.to_string()))?;
        let descriptor = Descriptor::new(document.media_type(), fetched.digest, fetched.size);
        let platforms = match &document {
            Document::Index(index) => {
                index.manifests.iter().filter_map(|one| one.platform.clone()).collect()
            }
            Document::Manifest(manifest) => {
                let config = fetch_config(&repository, &manifest.config, &reference).await?;
                let platform: Platform = serde_json::from_slice(&config).unwrap_or_default();
                if platform.is_unknown() { Vec::new() } else { vec![platform] }
            }
        };
        Ok(RegistryImage { descriptor, platforms })
    }
}

/// What a registry is asked for: the digest if there is one.
pub(super) fn wanted(reference: &Reference) -> String {
    match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, Some(tag)) => tag.to_owned(),
        (None, None) => types::reference::DEFAULT_TAG.to_owned(),
    }
}

/// The index that a term names, Docker Hub if none, and what to look for there.
fn split_term(term: &str) -> Result<(&str, &str), Error> {
    if term.contains("://") {
        let message = "invalid repository name: repository name (%) should not have a scheme";
        return Err(Error::invalid(message.replace('%', term)));
    }
    let (index, rest) = match term.split_once('/') {
        Some((index, rest)) if index.contains(['.', ':']) || index == "localhost" => (index, rest),
        _ => ("", term),
    };
    if matches!(index, "docker.io" | "index.docker.io") {
        return Ok(("", rest.strip_prefix("library/").unwrap_or(rest)));
    }
    Ok((index, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_may_name_an_index() {
        for (term, parts) in [
            ("busybox", ("", "busybox")),
            ("me/app", ("", "me/app")),
            ("docker.io/library/alpine", ("", "alpine")),
            ("r.example:5000/app", ("r.example:5000", "app")),
            ("localhost/a/b", ("localhost", "a/b")),
        ] {
            assert_eq!(split_term(term), Ok(parts));
        }
        assert!(split_term("https://x/y").is_err());
    }

    #[test]
    fn a_digest_is_asked_for_before_a_tag() {
        let digest = format!("sha256:{}", "1".repeat(64));
        let of = |text: &str| wanted(&Reference::parse(text).expect(text));
        assert_eq!(of("x"), "latest");
        assert_eq!(of("x:1"), "1");
        assert_eq!(of(&format!("x:1@{digest}")), digest);
    }
}
