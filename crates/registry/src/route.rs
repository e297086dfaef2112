//! Paths of URLs: what a request is about. Pure; it sees bytes from anybody.

use std::str::FromStr;

use types::digest::Digest;
use types::reference::is_tag;

use crate::error::Error;
use crate::name::Name;
use crate::percent;

/// What a path stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// `/v2/`: is this a registry, and may I?
    Base,
    /// `/v2/_catalog`: all repositories.
    Catalog,
    /// `/v2/<name>/tags/list`
    Tags(Name),
    /// `/v2/<name>/manifests/<tag or digest>`
    Manifest(Name, Target),
    /// `/v2/<name>/blobs/<digest>`
    Blob(Name, Digest),
    /// `/v2/<name>/blobs/uploads/`: where uploads begin.
    Uploads(Name),
    /// `/v2/<name>/blobs/uploads/<id>`: one upload.
    Upload(Name, UploadId),
    /// `/v2/<name>/referrers/<digest>`
    Referrers(Name, Digest),
    /// `/metrics`
    Metrics,
    /// `/` and `/healthz`: is the server alive?
    Health,
}

/// What a manifest is asked for by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A tag.
    Tag(Tag),
    /// A digest.
    Digest(Digest),
    /// Neither: there is no such manifest, and none can be put there.
    Invalid(String),
}

/// A checked tag, safe as a file name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tag(String);

/// The name of an upload: what [`UploadId::new`] makes and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct UploadId(String);

impl Tag {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if is_tag(text) { Ok(Self(text.to_owned())) } else { Err(Error::Tag(shown(text))) }
    }
}

impl UploadId {
    /// A name that nobody can guess.
    pub(crate) fn new(random: [u8; 16]) -> Self {
        Self(random.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UploadId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == 32 && text.bytes().all(hex) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::UploadUnknown)
        }
    }
}

impl FromStr for Target {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match (text.parse::<Tag>(), text.parse::<Digest>()) {
            (Ok(tag), _) => Self::Tag(tag),
            (_, Ok(digest)) => Self::Digest(digest),
            _ => Self::Invalid(shown(text)),
        })
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(&tag.0),
            Self::Digest(digest) => digest.fmt(f),
            Self::Invalid(text) => f.write_str(text),
        }
    }
}

impl Route {
    /// Reads the path of a URL.
    ///
    /// # Errors
    /// Nothing is served there, or a part of the path is not what it should be.
    pub(crate) fn parse(path: &str) -> Result<Self, Error> {
        match path {
            "/" | "/healthz" => return Ok(Self::Health),
            "/metrics" => return Ok(Self::Metrics),
            "/v2" | "/v2/" => return Ok(Self::Base),
            "/v2/_catalog" => return Ok(Self::Catalog),
            _ => {}
        }
        let rest = path.strip_prefix("/v2/").ok_or(Error::NoRoute)?;
        let parts: Vec<String> = rest.split('/').map(decoded).collect::<Result<_, _>>()?;
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        // From the end, for a repository may be called `tags/list` or `blobs/uploads`.
        match parts.as_slice() {
            [name @ .., "tags", "list"] => Ok(Self::Tags(joined(name)?)),
            [name @ .., "manifests", target] => {
                let name = joined(name)?;
                target.parse().map(|target| Self::Manifest(name, target)).map_err(|e| match e {})
            }
            [name @ .., "blobs", "uploads"] | [name @ .., "blobs", "uploads", ""] => {
                Ok(Self::Uploads(joined(name)?))
            }
            [name @ .., "blobs", "uploads", id] => Ok(Self::Upload(joined(name)?, id.parse()?)),
            [name @ .., "blobs", text] => Ok(Self::Blob(joined(name)?, digest(text)?)),
            [name @ .., "referrers", text] => Ok(Self::Referrers(joined(name)?, digest(text)?)),
            _ => Err(Error::NoRoute),
        }
    }

    /// What this is called in metrics and logs.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Catalog => "catalog",
            Self::Tags(_) => "tags",
            Self::Manifest(..) => "manifest",
            Self::Blob(..) => "blob",
            Self::Uploads(_) => "uploads",
            Self::Upload(..) => "upload",
            Self::Referrers(..) => "referrers",
            Self::Metrics => "metrics",
            Self::Health => "health",
        }
    }

    /// The repository that this is about.
    pub(crate) fn name(&self) -> Option<&Name> {
        match self {
            Self::Tags(name)
            | Self::Manifest(name, _)
            | Self::Blob(name, _)
            | Self::Uploads(name)
            | Self::Upload(name, _)
            | Self::Referrers(name, _) => Some(name),
            Self::Base | Self::Catalog | Self::Metrics | Self::Health => None,
        }
    }
}

fn joined(parts: &[&str]) -> Result<Name, Error> {
    Ok(parts.join("/").parse()?)
}

/// Reads a digest of a client.
pub(crate) fn digest(text: &str) -> Result<Digest, Error> {
    text.parse().map_err(|error: types::digest::InvalidDigest| Error::Digest(error.to_string()))
}

/// What is shown of a client's words.
fn shown(text: &str) -> String {
    text.chars().take(128).collect()
}

/// Undoes percent encoding: some clients encode the colon of a digest.
fn decoded(text: &str) -> Result<String, Error> {
    // A slash that was hidden would move the borders between the parts.
    percent::decoded(text).filter(|text| !text.contains('/')).ok_or(Error::NoRoute)
}

#[cfg(test)]
mod tests;
