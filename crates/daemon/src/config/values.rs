//! Values with a grammar of their own: sizes, limits, address pools.

use serde::{Deserialize, Serialize};
use types::resources::Ulimit;

use super::ConfigError;

/// Where networks get their subnets from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pool {
    /// The whole block, as `10.0.0.0/8`.
    pub(crate) base: String,
    /// Prefix length of each network cut from it.
    pub(crate) size: u8,
}

/// Reads `base=10.0.0.0/8,size=24`.
///
/// # Errors
/// When it is not of that form.
pub(crate) fn parse_pool(text: &str) -> Result<Pool, ConfigError> {
    let wrong = |reason: &str| ConfigError::value("--default-address-pool", text, reason);
    let (mut base, mut size) = (None, None);
    for part in text.split(',') {
        match part.split_once('=') {
            Some(("base", value)) => base = Some(value.trim().to_owned()),
            Some(("size", value)) => {
                size = Some(value.trim().parse().map_err(|_| wrong("size is a prefix length"))?);
            }
            _ => return Err(wrong("write base=CIDR,size=PREFIX-LENGTH")),
        }
    }
    match (base, size) {
        (Some(base), Some(size)) => Ok(Pool { base, size }),
        _ => Err(wrong("write base=CIDR,size=PREFIX-LENGTH")),
    }
}

const LIMITS: &[&str] = &[
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// Reads `nofile=1024` or `nofile=1024:2048`.
///
/// # Errors
/// When it is not of that form, names no limit, or the soft limit is above the hard one.
pub(crate) fn parse_ulimit(text: &str) -> Result<Ulimit, ConfigError> {
    let wrong = |reason: &str| ConfigError::value("--default-ulimit", text, reason);
    let (name, limits) = text.split_once('=').ok_or_else(|| wrong("write NAME=SOFT[:HARD]"))?;
    let number = |word: &str| match word {
        "unlimited" => Ok(-1),
        word => word.parse::<i64>().map_err(|_| wrong("a limit is a number or unlimited")),
    };
    let limit = match limits.split_once(':') {
        Some((soft, hard)) => {
            Ulimit { name: name.to_owned(), soft: number(soft)?, hard: number(hard)? }
        }
        None => {
            let both = number(limits)?;
            Ulimit { name: name.to_owned(), soft: both, hard: both }
        }
    };
    check_ulimit(&limit).map_err(|reason| wrong(&reason))?;
    Ok(limit)
}

/// Whether a limit has a known name and a soft limit that is not above the hard one.
pub(crate) fn check_ulimit(limit: &Ulimit) -> Result<(), String> {
    if !LIMITS.contains(&limit.name.as_str()) {
        return Err(format!("there is no limit of the name {:?}", limit.name));
    }
    let above = limit.hard != -1 && (limit.soft > limit.hard || limit.soft == -1);
    if above { Err("the soft limit must not be above the hard one".to_owned()) } else { Ok(()) }
}

/// Reads a size as Docker does: a number with an optional unit `b`, `k`, `m`, `g`, `t` or `p`
/// (powers of 1024), which `b` or `ib` may follow. `None` when it is no size.
pub(crate) fn parse_size(text: &str) -> Option<i64> {
    let lower = text.trim().to_ascii_lowercase();
    let end = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let number: f64 = lower[..end].parse().ok()?;
    let unit = lower[end..].trim();
    let unit = unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(unit);
    let shift = match unit {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return None,
    };
    let bytes = number * 2f64.powi(shift);
    // Exact up to 2⁵³ bytes, which is the eighth part of what `p` could ever stand for.
    if bytes < 9e15 { Some(bytes as i64) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [
            ("0", 0),
            ("100", 100),
            ("100b", 100),
            ("64M", 64 << 20),
            ("64mb", 64 << 20),
            ("1.5 GiB", 3 << 29),
            ("2k", 2048),
        ] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in ["", "m", "-1", "1x", "1 2", "9999999p"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn limits_and_pools_are_read() {
        let limit = parse_ulimit("nofile=1024:2048").expect("valid");
        assert_eq!((limit.soft, limit.hard), (1024, 2048));
        let limit = parse_ulimit("core=unlimited").expect("valid");
        assert_eq!((limit.soft, limit.hard), (-1, -1));
        for text in ["nofile", "files=1", "nofile=2:1", "nofile=x", "nofile=-1:5"] {
            assert!(parse_ulimit(text).is_err(), "{text}");
        }
        let pool = parse_pool("base=10.0.0.0/8,size=24").expect("valid");
        assert_eq!(pool, Pool { base: "10.0.0.0/8".to_owned(), size: 24 });
        for text in ["", "base=10.0.0.0/8", "size=24", "base=10.0.0.0/8,size=x", "a=b"] {
            assert!(parse_pool(text).is_err(), "{text}");
        }
    }
}
