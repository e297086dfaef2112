//! The user's home and working directory.

use std::io;

use sys::fs::Root;

use crate::error::{Error, Result, Step};

/// Longest `/etc/passwd` that is read, in bytes.
const PASSWD_LIMIT: u64 = 1 << 20;

/// The home directory of a user in the container, `/` if there is none.
pub(super) fn home(uid: u32) -> String {
    let read = || -> io::Result<Vec<u8>> { Root::open_host("/")?.read("etc/passwd", PASSWD_LIMIT) };
    let passwd = read().unwrap_or_default();
    home_in(&String::from_utf8_lossy(&passwd), uid).unwrap_or("/").to_owned()
}

fn home_in(passwd: &str, uid: u32) -> Option<&str> {
    let uid = uid.to_string();
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':').skip(2);
        (fields.next()? == uid).then(|| fields.nth(2)).flatten().filter(|home| !home.is_empty())
    })
}

/// The working directory must lie in the container: a leaked descriptor in the specification's
/// `cwd` (`/proc/self/fd/7`) would lead out of it (CVE-2024-21626).
pub(super) fn check_cwd() -> Result<()> {
    // getcwd(2) puts "(unreachable)" before a path that does not lead to the root; std gives it
    // back as it is.
    match std::env::current_dir() {
        Ok(path) if path.is_absolute() => Ok(()),
        Ok(_) => Err(Error::because(
            Step::Cwd,
            "current working directory is outside of container mount namespace root -- possible \
             container breakout detected",
        )),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err(Error::because(
            Step::Cwd,
            "current working directory is outside of container mount namespace root -- possible \
             container breakout detected",
        )),
        // A parent that the user may not read hides the name, not the place.
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nu:x:1000:1000::/home/u:\n";
        assert_eq!(home_in(passwd, 0), Some("/root"));
        assert_eq!(home_in(passwd, 1000), Some("/home/u"));
        assert_eq!(home_in(passwd, 7), None);
    }
}
