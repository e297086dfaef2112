//! Names that users give: containers, volumes and networks share one rule.

use crate::error::Error;

/// Docker's pattern for names, as it stands in its messages.
pub const PATTERN: &str = "[a-zA-Z0-9][a-zA-Z0-9_.-]";

/// Whether `name` is two or more letters, digits, `_`, `.` or `-`, the first a letter or digit.
pub fn is_valid(name: &str) -> bool {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
    first
        && name.len() >= 2
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// Takes a container name as the API has it (with or without the leading slash).
///
/// # Errors
/// [`crate::ErrorKind::Invalid`] with Docker's words when the name does not fit the pattern.
pub fn container(name: &str) -> Result<&str, Error> {
    let bare = name.strip_prefix('/').unwrap_or(name);
    if is_valid(bare) {
        Ok(bare)
    } else {
        Err(Error::invalid(format!("Invalid container name ({name}), only {PATTERN} are allowed")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_dockers_pattern() {
        for good in ["ab", "web-1", "a_b.c", "/web"] {
            assert!(container(good).is_ok(), "{good}");
        }
        for bad in ["", "a", "-a", "a b", "a/b", "..", "_x", "é1", "//a"] {
            assert!(container(bad).is_err(), "{bad}");
        }
    }
}
