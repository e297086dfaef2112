//! Points in time, in nanoseconds since the epoch, written as Docker writes them.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Nanoseconds since 1970-01-01T00:00:00Z. The zero value stands for "never" and is written
/// as Go's zero time, `0001-01-01T00:00:00Z`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

const NEVER: &str = "0001-01-01T00:00:00Z";

/// The text is no RFC 3339 time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an RFC 3339 time")]
pub struct InvalidTime(pub String);

impl Timestamp {
    /// "It has not happened."
    pub const NEVER: Self = Self(0);

    /// The present moment of the wall clock.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
    }

    /// Whole seconds since the epoch.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }

    /// Whether this is [`Timestamp::NEVER`].
    pub fn is_never(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 with as many fractional digits as are needed (Go's `RFC3339Nano`), in UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_never() {
            return f.write_str(NEVER);
        }
        match jiff::Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(time) => write!(f, "{time}"),
            Err(_) => f.write_str(NEVER),
        }
    }
}

impl FromStr for Timestamp {
    type Err = InvalidTime;

    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        if text == NEVER || text.is_empty() {
            return Ok(Self::NEVER);
        }
        let time: jiff::Timestamp = text.parse().map_err(|_| InvalidTime(text.to_owned()))?;
        i64::try_from(time.as_nanosecond()).map(Self).map_err(|_| InvalidTime(text.to_owned()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_go_writes_them() {
        assert_eq!(Timestamp::NEVER.to_string(), "0001-01-01T00:00:00Z");
        assert_eq!(Timestamp(1_500_000_000).to_string(), "1970-01-01T00:00:01.5Z");
        assert_eq!("1970-01-01T01:00:01.5+01:00".parse(), Ok(Timestamp(1_500_000_000)));
        assert!("yesterday".parse::<Timestamp>().is_err());
    }
}
