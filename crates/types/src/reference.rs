//! Image references: `[domain/]path[:tag][@digest]`, with Docker Hub's short forms.
//!
//! A [`Reference`] is always held in full (`docker.io/library/busybox`) and written for users in
//! the *familiar* form (`busybox`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, InvalidDigest};

const DEFAULT_DOMAIN: &str = "docker.io";
const LEGACY_DOMAIN: &str = "index.docker.io";
const OFFICIAL_PREFIX: &str = "library/";
/// The tag of a reference that names none.
pub const DEFAULT_TAG: &str = "latest";
const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;

/// A checked, normalised image reference.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is no reference, in Docker's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReference {
    /// It does not follow the grammar.
    #[error("invalid reference format")]
    Format,
    /// The repository has an upper-case letter.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    /// Nothing where the repository should be.
    #[error("repository name must have at least one component")]
    Empty,
    /// More than 255 characters of domain and path.
    #[error("repository name must not be more than {MAX_NAME} characters")]
    TooLong,
    /// 64 hexadecimal digits are an image id, never a name.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    LooksLikeId(String),
    /// The tag has more than 128 characters or some that are not allowed.
    #[error("invalid tag format")]
    Tag,
    /// What follows `@` is no digest.
    #[error(transparent)]
    Digest(#[from] InvalidDigest),
}

impl Reference {
    /// Parses a name as users type it: `busybox`, `me/app:1`, `localhost:5000/x@sha256:…`.
    ///
    /// # Errors
    /// [`InvalidReference`] with Docker's message.
    pub fn parse(text: &str) -> Result<Self, InvalidReference> {
        if is_image_id(text) {
            return Err(InvalidReference::LooksLikeId(text.to_owned()));
        }
        let (domain, rest) = split_domain(text);
        if rest.is_empty() {
            return Err(if text.is_empty() {
                InvalidReference::Empty
            } else {
                InvalidReference::Format
            });
        }
        let (named, digest) = match rest.split_once('@') {
            Some((named, digest)) => (named, Some(digest)),
            None => (rest, None),
        };
        let (path, tag) = match named.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (named, None),
        };
        let path = if domain == DEFAULT_DOMAIN && !path.contains('/') {
            format!("{OFFICIAL_PREFIX}{path}")
        } else {
            path.to_owned()
        };
        if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(InvalidReference::Uppercase(path));
        }
        if !is_domain(&domain) || !path.split('/').all(is_component) {
            return Err(InvalidReference::Format);
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(InvalidReference::Format);
        }
        let digest = digest.map(parse_digest).transpose()?;
        if domain.len() + 1 + path.len() > MAX_NAME {
            return Err(InvalidReference::TooLong);
        }
        Ok(Self { domain, path, tag: tag.map(str::to_owned), digest })
    }

    /// The registry's host, `docker.io` for Docker Hub.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository within its registry, `library/busybox`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Domain and path, `docker.io/library/busybox`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The name as Docker shows it, `busybox`.
    pub fn familiar_name(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.name();
        }
        let short = match self.path.strip_prefix(OFFICIAL_PREFIX) {
            // `library/a/b` has no shorter form: `a/b` would mean another repository.
            Some(short) if !short.contains('/') => short,
            _ => &self.path,
        };
        // `docker.io/a.b/c` would be read back as the repository `c` of the registry `a.b`.
        match split_domain(short) {
            (domain, rest) if domain == DEFAULT_DOMAIN && rest == short => short.to_owned(),
            _ => self.name(),
        }
    }

    /// The whole reference as Docker shows it, `busybox:1`; no tag is added.
    pub fn familiar(&self) -> String {
        self.written(self.familiar_name())
    }

    /// The tag, if one was given.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if one was given.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Neither tag nor digest.
    pub fn is_name_only(&self) -> bool {
        self.tag.is_none() && self.digest.is_none()
    }

    /// The same with the tag `latest` if there is neither a tag nor a digest.
    #[must_use]
    pub fn or_latest(mut self) -> Self {
        if self.is_name_only() {
            self.tag = Some(DEFAULT_TAG.to_owned());
        }
        self
    }

    /// The repository alone.
    #[must_use]
    pub fn without_tag(&self) -> Self {
        Self { tag: None, digest: None, ..self.clone() }
    }

    /// The repository with this tag and no digest.
    ///
    /// # Errors
    /// [`InvalidReference::Tag`].
    pub fn with_tag(&self, tag: &str) -> Result<Self, InvalidReference> {
        if !is_tag(tag) {
            return Err(InvalidReference::Tag);
        }
        Ok(Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }

    /// The repository at this digest, without a tag.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    fn written(&self, mut out: String) -> String {
        if let Some(tag) = &self.tag {
            out.push(':');
            out.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            out.push('@');
            out.push_str(digest.as_str());
        }
        out
    }
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Reference {
    type Error = InvalidReference;

    fn try_from(text: String) -> Result<Self, InvalidReference> {
        Self::parse(&text)
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.to_string()
    }
}

impl fmt::Display for Reference {
    /// In full: `docker.io/library/busybox:1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written(self.name()))
    }
}

/// Whether this is an image id in full: 64 lower-case hexadecimal digits without `sha256:`.
pub fn is_image_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Whether this may be a tag: a word character, then up to 127 of those, `.` and `-`.
pub fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let mut bytes = text.bytes();
    text.len() <= MAX_TAG
        && bytes.next().is_some_and(word)
        && bytes.all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

/// The first component is a domain if it has a `.` or `:`, an upper-case letter, or is
/// `localhost`; anything else is a repository on Docker Hub.
fn split_domain(text: &str) -> (String, &str) {
    if let Some((first, rest)) = text.split_once('/') {
        let domain = first.contains(['.', ':'])
            || first == "localhost"
            || first.bytes().any(|byte| byte.is_ascii_uppercase());
        if domain && first == LEGACY_DOMAIN {
            return (DEFAULT_DOMAIN.to_owned(), rest);
        }
        if domain {
            return (first.to_owned(), rest);
        }
    }
    (DEFAULT_DOMAIN.to_owned(), text)
}

fn is_domain(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(v6) => match v6.split_once(']') {
            Some((host, "")) => (host, None),
            Some((host, port)) => match port.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None => return false,
            },
            None => return false,
        },
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if port.is_some_and(|port| port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit())) {
        return false;
    }
    if text.starts_with('[') {
        return !host.is_empty() && host.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
    }
    host.split('.').all(|label| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    })
}

/// Lower-case letters and digits, joined by one `.`, one or two `_`, or any number of `-`.
fn is_component(text: &str) -> bool {
    let mut separator = String::new();
    let mut any = false;
    for c in text.chars() {
        match c {
            'a'..='z' | '0'..='9' => {
                let joined = separator.is_empty()
                    || (any
                        && (matches!(separator.as_str(), "." | "_" | "__")
                            || separator.bytes().all(|byte| byte == b'-')));
                if !joined {
                    return false;
                }
                separator.clear();
                any = true;
            }
            '.' | '_' | '-' => separator.push(c),
            _ => return false,
        }
    }
    any && separator.is_empty()
}

/// The reference grammar wants `algorithm:` and at least 32 digits; what passes that and is no
/// digest still has an error of its own.
fn parse_digest(text: &str) -> Result<Digest, InvalidReference> {
    let (algorithm, hex) = text.split_once(':').ok_or(InvalidReference::Format)?;
    let plausible = algorithm.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic())
        && hex.len() >= 32
        && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !plausible {
        return Err(InvalidReference::Format);
    }
    Ok(text.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(text: &str) -> String {
        Reference::parse(text).expect(text).to_string()
    }

    fn error(text: &str) -> String {
        Reference::parse(text).expect_err(text).to_string()
    }

    #[test]
    fn short_names_mean_docker_hub() {
        assert_eq!(full("busybox"), "docker.io/library/busybox");
        assert_eq!(full("me/app:1.2"), "docker.io/me/app:1.2");
        assert_eq!(full("index.docker.io/busybox"), "docker.io/library/busybox");
        assert_eq!(full("docker.io/busybox:x"), "docker.io/library/busybox:x");
        assert_eq!(full("localhost/a"), "localhost/a");
        assert_eq!(full("localhost:5000/a/b:t"), "localhost:5000/a/b:t");
        assert_eq!(full("Reg/app"), "Reg/app");
        assert_eq!(full("[2001:db8::1]:5000/x"), "[2001:db8::1]:5000/x");
        assert_eq!(full("a__b/c---d.e"), "docker.io/a__b/c---d.e");
        let digest = format!("sha256:{}", "0".repeat(64));
        assert_eq!(full(&format!("x:t@{digest}")), format!("docker.io/library/x:t@{digest}"));
    }

    #[test]
    fn the_familiar_form_is_the_short_one() {
        for (text, familiar) in [
            ("docker.io/library/busybox:1", "busybox:1"),
            ("docker.io/me/app", "me/app"),
            ("docker.io/library/a/b", "library/a/b"),
            ("docker.io/a.b/c", "docker.io/a.b/c"),
            ("registry.example/library/busybox", "registry.example/library/busybox"),
        ] {
            assert_eq!(Reference::parse(text).expect(text).familiar(), familiar);
        }
        let reference = Reference::parse("busybox").expect("valid");
        assert_eq!(reference.clone().or_latest().familiar(), "busybox:latest");
        assert_eq!(reference.with_tag("9").expect("valid").familiar(), "busybox:9");
        assert_eq!(reference.with_tag("-9"), Err(InvalidReference::Tag));
    }

    #[test]
    fn errors_are_worded_as_docker_words_them() {
        assert_eq!(
            error("busyBox"),
            "invalid reference format: repository name (library/busyBox) must be lowercase"
        );
        for bad in
            ["a//b", "a_", "a..b", "a___b", "-a", "x:", "x:a b", "x@sha256:0", " x", "x/", "é"]
        {
            assert_eq!(error(bad), "invalid reference format", "{bad}");
        }
        assert!(error(&"a".repeat(64)).contains("cannot specify 64-byte hexadecimal strings"));
        assert_eq!(
            error("a/".repeat(150).trim_end_matches('/')),
            "repository name must not be more than 255 characters"
        );
        assert_eq!(error(&format!("x@md5:{}", "0".repeat(32))), "unsupported digest algorithm");
        assert_eq!(
            error(&format!("x@sha256:{}", "0".repeat(40))),
            "invalid checksum digest length"
        );
        assert_eq!(error(&format!("x:{}", "t".repeat(129))), "invalid reference format");
    }
}
