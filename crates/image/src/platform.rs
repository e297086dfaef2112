//! Platforms: `os[/architecture[/variant]]`.

use crate::config::host_architecture;
use crate::error::{Error, Result};

/// What an image runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Platform {
    pub(crate) os: String,
    pub(crate) architecture: String,
    pub(crate) variant: String,
}

impl Platform {
    /// This host's.
    pub(crate) fn host() -> Self {
        let (architecture, variant) = host_architecture();
        Self { os: "linux".into(), architecture: architecture.into(), variant: variant.into() }
    }

    /// Reads a platform as users write it; `None` and the empty text mean the host's.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub(crate) fn or_host(text: Option<&str>) -> Result<Self> {
        let text = text.unwrap_or_default();
        if text.is_empty() {
            return Ok(Self::host());
        }
        let parts: Vec<&str> = text.split('/').collect();
        let valid = |part: &&str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
        };
        if parts.len() > 3 || !parts.iter().all(valid) {
            return Err(Error::Invalid(format!("\"{text}\" is an invalid platform")));
        }
        let lower = |at: usize| parts.get(at).map(|part| part.to_ascii_lowercase());
        let host = Self::host();
        if parts.len() == 1 {
            let os = lower(0).unwrap_or_default();
            if !matches!(os.as_str(), "linux" | "windows" | "darwin" | "freebsd") {
                // One word may also be an architecture.
                let (architecture, variant) = normal(&os, "");
                return Ok(Self { architecture, variant, ..host });
            }
            return Ok(Self { os, ..host });
        }
        let architecture = lower(1).unwrap_or_default();
        let (architecture, variant) = normal(&architecture, &lower(2).unwrap_or_default());
        Ok(Self { os: lower(0).unwrap_or_default(), architecture, variant })
    }

    /// Whether an image for `other` is what was asked for. An open variant takes any.
    pub(crate) fn takes(&self, other: &Self) -> bool {
        let (architecture, variant) = normal(&other.architecture, &other.variant);
        self.os == other.os
            && self.architecture == architecture
            && (self.variant.is_empty() || variant.is_empty() || self.variant == variant)
    }
}

/// Go's names of architectures that go by several.
fn normal(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = match (architecture, variant) {
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64", variant) => ("amd64", variant),
        ("i386" | "i686", _) => ("386", ""),
        ("aarch64" | "arm64", "8" | "v8" | "") => ("arm64", ""),
        ("aarch64", variant) => ("arm64", variant),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        other => other,
    };
    (architecture.to_owned(), variant.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_read_and_compared() {
        let read = |text: &str| Platform::or_host(Some(text)).expect(text);
        assert_eq!(read("linux/x86_64"), read("linux/amd64"));
        assert!(read("linux/arm64").takes(&read("linux/arm64/v8")));
        assert!(!read("linux/arm/v6").takes(&read("linux/arm/v7")));
        assert!(!read("linux/amd64").takes(&read("windows/amd64")));
        assert_eq!(read("linux"), Platform::host());
        assert!(Platform::or_host(Some("a/b/c/d")).is_err());
        assert!(Platform::or_host(Some("linux/")).is_err());
    }
}
