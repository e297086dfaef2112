//! The cgroup's place in the tree.
//!
//! `linux.cgroupsPath` may be absolute or relative; both count from the root of each mount. Not from
//! our own cgroup: systemd kills everything below a service's cgroup when it stops the service,
//! and containers outlive the daemon. Where the mount shows only a part of the host's tree (we are in a
//! container ourselves), the mount's root is that part's top.

use super::Error;

/// The path without slashes at its ends or doubled ones inside.
///
/// # Errors
/// Empty, the root itself, `.` or `..` anywhere, a NUL or a newline.
pub(super) fn clean(path: &str) -> Result<String, Error> {
    let invalid = |why| Error::Path { path: path.to_owned(), why };
    let mut parts = Vec::new();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        match part {
            "." | ".." => return Err(invalid("it must not contain . or ..")),
            _ if part.contains(['\0', '\n']) => {
                return Err(invalid("it must not contain control characters"));
            }
            _ if part.len() > 255 => return Err(invalid("a component is longer than 255 bytes")),
            _ => parts.push(part),
        }
    }
    if parts.is_empty() {
        return Err(invalid("it names the root cgroup"));
    }
    Ok(parts.join("/"))
}

/// The directories above, outermost first: `a`, `a/b` for `a/b/c`.
pub(super) fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleans() {
        assert_eq!(clean("/isopod//abc/").unwrap(), "isopod/abc");
        assert_eq!(clean("isopod/abc").unwrap(), "isopod/abc");
        for bad in ["", "/", "a/../b", "..", "./a", "a\nb", "a\0b"] {
            assert!(clean(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn lists_ancestors() {
        assert_eq!(ancestors("a/b/c").collect::<Vec<_>>(), ["a", "a/b"]);
        assert_eq!(ancestors("a").count(), 0);
    }

    proptest::proptest! {
        #[test]
        fn never_climbs(path in "[a./\\\\-]{0,24}") {
            if let Ok(clean) = clean(&path) {
                assert!(!clean.starts_with('/') && !clean.is_empty());
                assert!(clean.split('/').all(|part| !matches!(part, "" | "." | "..")));
            }
        }
    }
}
