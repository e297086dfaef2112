//! Paths without detours.

/// The shortest path that means the same: no doubled slashes, no `.`, no `..` but at the
/// beginning of a relative path; `.` for nothing. Symbolic links are not known here.
///
/// ```
/// use build::ignore::clean;
/// assert_eq!(clean("./a//b/../c/"), "a/c");
/// assert_eq!(clean("/../a"), "/a");
/// assert_eq!(clean("../../a"), "../../a");
/// assert_eq!(clean("a/.."), ".");
/// ```
pub fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            _ => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}
