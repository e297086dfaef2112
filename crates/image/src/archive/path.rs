//! Docker's rules for a path that a client asks for. Text only.
//!
//! A path is absolute whether it begins with `/` or not. Its end matters: `/a` is the name itself
//! (a symlink is not followed), `/a/` and `/a/.` are the directory that it leads to, and a copy of
//! `/a/.` is named `.` where the others are named `a`.

/// A path as a client asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// Absolute and clean, but with the trailing `/` or `/.` that was given.
    absolute: String,
    /// Where the last component begins.
    split: usize,
}

impl Asked {
    pub(super) fn new(path: &str) -> Self {
        let mut parts: Vec<&str> = Vec::new();
        for part in path.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    parts.pop();
                }
                _ => parts.push(part),
            }
        }
        let mut absolute = format!("/{}", parts.join("/"));
        let dot = path == "." || path.ends_with("/.");
        if (dot || path.ends_with('/')) && !absolute.ends_with('/') {
            absolute.push('/');
        }
        if dot {
            absolute.push('.');
        }
        let split = absolute.rfind('/').map_or(0, |at| at + 1);
        Self { absolute, split }
    }

    /// The whole path.
    pub(super) fn absolute(&self) -> &str {
        &self.absolute
    }

    /// The directory to open, symlinks followed.
    pub(super) fn dir(&self) -> &str {
        &self.absolute[..self.split]
    }

    /// The name in that directory; `.` for the directory itself.
    pub(super) fn name_below(&self) -> &str {
        match &self.absolute[self.split..] {
            "" => ".",
            name => name,
        }
    }

    /// Go's `path.Base`: what clients are told the path is called.
    pub(super) fn shown_name(&self) -> &str {
        let trimmed = self.absolute.trim_end_matches('/');
        match trimmed.rsplit('/').next() {
            None | Some("") => "/",
            Some(name) => name,
        }
    }

    /// What the names in the tar begin with; nothing for the root, whose names begin with `/`.
    pub(super) fn prefix(&self) -> &str {
        match self.shown_name() {
            "/" => "",
            name => name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_path_says_what_is_meant() {
        for (path, absolute, dir, name, shown) in [
            ("/", "/", "/", ".", "/"),
            ("", "/", "/", ".", "/"),
            (".", "/.", "/", ".", "."),
            ("/.", "/.", "/", ".", "."),
            ("etc", "/etc", "/", "etc", "etc"),
            ("/etc/", "/etc/", "/etc/", ".", "etc"),
            ("/etc/.", "/etc/.", "/etc/", ".", "."),
            ("../../etc/./x", "/etc/x", "/etc/", "x", "x"),
            ("/a/b/..", "/a", "/", "a", "a"),
        ] {
            let asked = Asked::new(path);
            assert_eq!(asked.absolute(), absolute, "{path}");
            assert_eq!(asked.dir(), dir, "{path}");
            assert_eq!(asked.name_below(), name, "{path}");
            assert_eq!(asked.shown_name(), shown, "{path}");
        }
    }
}
