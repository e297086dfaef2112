//! Container ids: 256 random bits, written as 64 hexadecimal digits.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The full id of a container, exec or network: 64 lower-case hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(String);

/// The text is not 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id is 64 lower-case hexadecimal digits")]
pub struct InvalidId;

impl ContainerId {
    /// Writes 32 random bytes as an id. The caller brings the randomness.
    ///
    /// An id whose first 12 digits are all decimal would be taken for a number where it serves
    /// as a host name, so Docker draws again; the caller does so when this returns `None`.
    pub fn from_random(bytes: [u8; 32]) -> Option<Self> {
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        if text[..12].bytes().all(|digit| digit.is_ascii_digit()) { None } else { Some(Self(text)) }
    }

    /// All 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 digits, as users see and type them.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl FromStr for ContainerId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let digits = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if text.len() == 64 && digits { Ok(Self(text.to_owned())) } else { Err(InvalidId) }
    }
}

impl TryFrom<String> for ContainerId {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> Self {
        id.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_sixty_four_digits() {
        let id = ContainerId::from_random([0xab; 32]).expect("not all decimal");
        assert_eq!(id.as_str(), "ab".repeat(32));
        assert_eq!(id.short(), "abababababab");
        assert_eq!(id.as_str().parse::<ContainerId>(), Ok(id));
        assert_eq!("../../etc".parse::<ContainerId>(), Err(InvalidId));
        assert_eq!("AB".repeat(32).parse::<ContainerId>(), Err(InvalidId));
    }

    #[test]
    fn an_all_decimal_prefix_is_refused() {
        assert_eq!(ContainerId::from_random([0x11; 32]), None);
    }
}
