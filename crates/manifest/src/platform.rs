use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use types::null_default;

use super::{Descriptor, ImageIndex};

/// What an image runs on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// Go's name of the CPU architecture: `amd64`, `arm64`, …
    #[serde(default, deserialize_with = "null_default")]
    pub architecture: String,
    /// Go's name of the operating system: `linux`.
    #[serde(default, deserialize_with = "null_default")]
    pub os: String,
    /// The version of the operating system, for those that care.
    #[serde(
        default,
        rename = "os.version",
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub os_version: String,
    /// What the operating system must offer.
    #[serde(
        default,
        rename = "os.features",
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub os_features: Vec<String>,
    /// The architecture's variant: `v7` of `arm`, `v3` of `amd64`.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// What the CPU must offer; Docker's lists only.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
}

/// A text that names no platform, in Docker's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is an invalid platform: it has to be of the form <os>[/<architecture>[/<variant>]]"
)]
pub struct InvalidPlatform(String);

impl Platform {
    /// The platform with these three names, in their usual spelling.
    pub fn new(os: &str, architecture: &str, variant: &str) -> Self {
        let (architecture, variant) = usual(architecture, variant);
        Self { os: os.to_ascii_lowercase(), architecture, variant, ..Self::default() }
    }

    /// That of this program.
    pub fn host() -> Self {
        Self::new("linux", std::env::consts::ARCH, "")
    }

    /// Whether this says nothing at all, or says `unknown` as attestations do.
    pub fn is_unknown(&self) -> bool {
        matches!(self.os.as_str(), "" | "unknown")
            && matches!(self.architecture.as_str(), "" | "unknown")
    }

    /// How well an image for `self` serves somebody who wants `wanted`: 0 is exactly, more is
    /// worse, `None` is not at all.
    ///
    /// The rules are those of Docker's platform library: an older variant of the same
    /// architecture serves, `amd64` runs `386`, and `arm64` runs `arm`.
    pub fn serves(&self, wanted: &Self) -> Option<u32> {
        let (architecture, variant) = usual(&self.architecture, &self.variant);
        let (want, want_variant) = usual(&wanted.architecture, &wanted.variant);
        if !self.os.eq_ignore_ascii_case(&wanted.os) {
            return None;
        }
        let have_level = level(&architecture, &variant)?;
        let want_level = level(&want, &want_variant)?;
        match (want.as_str(), architecture.as_str()) {
            (want, have) if want == have => match (variant == want_variant, have_level) {
                (true, _) => Some(0),
                (false, 0) => None,
                (false, _) => want_level.checked_sub(have_level).filter(|below| *below > 0),
            },
            ("amd64", "386") => Some(100),
            // The highest `arm` first: v8, v7, v6, v5.
            ("arm64", "arm") => Some(100 + 8u32.checked_sub(have_level)?),
            _ => None,
        }
    }
}

/// A variant as a number, to be compared within its architecture; 0 for what has no order.
/// `None` when it cannot be known: a variant that nobody has heard of.
fn level(architecture: &str, variant: &str) -> Option<u32> {
    let number = |text: &str| text.strip_prefix('v').and_then(|n| n.parse::<u32>().ok());
    match (architecture, variant) {
        ("amd64", "") => Some(1),
        ("arm64", "") => Some(8),
        ("arm", "") => Some(7),
        // `v8.1` and its like: exact matches only.
        ("amd64" | "arm" | "arm64", variant) => Some(number(variant).unwrap_or(0)),
        _ => Some(0),
    }
}

/// Go's names of architectures that go by several, and no variant where it is the usual one.
fn usual(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = (architecture.to_ascii_lowercase(), variant.to_ascii_lowercase());
    let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64", variant) => ("amd64", variant),
        ("i386" | "i686", _) => ("386", ""),
        ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64", ""),
        ("aarch64", variant) => ("arm64", variant),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "" | "7") => ("arm", "v7"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm", "8") => ("arm", "v8"),
        other => other,
    };
    (architecture.to_owned(), variant.to_owned())
}

/// The manifest of an index that serves `wanted` best; the first of equals. One that names no
/// platform serves anybody who finds nothing better, as with Docker.
pub fn choose<'a>(index: &'a ImageIndex, wanted: &Platform) -> Option<&'a Descriptor> {
    let score = |descriptor: &Descriptor| match &descriptor.platform {
        None => Some(u32::MAX),
        Some(platform) if platform.os.is_empty() && platform.architecture.is_empty() => {
            Some(u32::MAX)
        }
        Some(platform) => platform.serves(wanted),
    };
    index
        .manifests
        .iter()
        .enumerate()
        .filter_map(|(at, descriptor)| Some((Reverse(score(descriptor)?), Reverse(at), descriptor)))
        .max_by_key(|(score, at, _)| (*score, *at))
        .map(|(_, _, descriptor)| descriptor)
}

impl FromStr for Platform {
    type Err = InvalidPlatform;

    /// Reads `os`, `architecture`, `os/architecture` or `os/architecture/variant`.
    fn from_str(text: &str) -> Result<Self, InvalidPlatform> {
        let invalid = || InvalidPlatform(text.to_owned());
        let parts: Vec<&str> = text.split('/').collect();
        let valid = |part: &&str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
        };
        if !parts.iter().all(valid) {
            return Err(invalid());
        }
        match parts[..] {
            [os @ ("linux" | "windows" | "darwin" | "freebsd")] => {
                Ok(Self::new(os, std::env::consts::ARCH, ""))
            }
            [architecture] => Ok(Self::new("linux", architecture, "")),
            [os, architecture] => Ok(Self::new(os, architecture, "")),
            [os, architecture, variant] => Ok(Self::new(os, architecture, variant)),
            _ => Err(invalid()),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::digest::Digest;

    fn index(platforms: &[&str]) -> ImageIndex {
        let manifests = platforms
            .iter()
            .enumerate()
            .map(|(at, platform)| {
                let sum = [u8::try_from(at).expect("few"); 32];
                let mut one = Descriptor::new("", Digest::from_sha256(sum), 1);
                one.platform = match *platform {
                    "none" => None,
                    "unknown" => Some(Platform {
                        os: "unknown".into(),
                        architecture: "unknown".into(),
                        ..Platform::default()
                    }),
                    text => {
                        let mut parts = text.split('/').map(str::to_owned);
                        Some(Platform {
                            os: parts.next().unwrap_or_default(),
                            architecture: parts.next().unwrap_or_default(),
                            variant: parts.next().unwrap_or_default(),
                            ..Platform::default()
                        })
                    }
                };
                one
            })
            .collect();
        ImageIndex::oci(manifests)
    }

    fn chosen(platforms: &[&str], wanted: &str) -> Option<usize> {
        let index = index(platforms);
        let found = choose(&index, &wanted.parse().expect("valid"))?;
        index.manifests.iter().position(|one| one == found)
    }

    #[test]
    fn the_best_manifest_is_chosen() {
        assert_eq!(chosen(&["linux/arm64", "linux/amd64"], "linux/amd64"), Some(1));
        assert_eq!(chosen(&["linux/amd64/v3", "linux/amd64"], "linux/amd64"), Some(1));
        assert_eq!(chosen(&["linux/amd64", "linux/amd64/v2"], "linux/amd64/v3"), Some(1));
        assert_eq!(chosen(&["linux/amd64/v3"], "linux/amd64"), None);
        assert_eq!(chosen(&["linux/386"], "linux/amd64"), Some(0));
        assert_eq!(chosen(&["linux/amd64"], "linux/386"), None);
        assert_eq!(chosen(&["windows/amd64"], "linux/amd64"), None);
        assert_eq!(chosen(&["linux/riscv64"], "linux/riscv64"), Some(0));
    }

    #[test]
    fn arm_falls_back_to_older_variants() {
        let all = ["linux/arm/v5", "linux/arm/v6", "linux/arm/v7", "linux/arm64/v8"];
        assert_eq!(chosen(&all, "linux/arm64"), Some(3));
        assert_eq!(chosen(&all, "linux/arm/v8"), Some(2));
        assert_eq!(chosen(&all, "linux/arm"), Some(2));
        assert_eq!(chosen(&all, "linux/arm/v6"), Some(1));
        assert_eq!(chosen(&all[..3], "linux/arm64"), Some(2));
        assert_eq!(chosen(&all[1..], "linux/arm/v5"), None);
        assert_eq!(chosen(&["linux/arm64"], "linux/aarch64/v8"), Some(0));
    }

    #[test]
    fn attestations_are_never_chosen_and_nameless_ones_last() {
        assert_eq!(chosen(&["unknown"], "linux/amd64"), None);
        assert_eq!(chosen(&["none", "linux/amd64"], "linux/amd64"), Some(1));
        assert_eq!(chosen(&["linux/s390x", "none"], "linux/amd64"), Some(1));
        assert_eq!(chosen(&["linux/amd64", "linux/amd64"], "linux/amd64"), Some(0));
    }

    #[test]
    fn platforms_are_read_and_written() {
        let read = |text: &str| text.parse::<Platform>().expect(text).to_string();
        assert_eq!(read("linux/x86_64"), "linux/amd64");
        assert_eq!(read("linux/armhf"), "linux/arm/v7");
        assert_eq!(read("arm64"), "linux/arm64");
        assert_eq!(read("Linux/ARM/V6"), "linux/arm/v6");
        for bad in ["", "a/b/c/d", "linux/", "linux//x", "a b"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }
}
