//! Patterns of file names, as Go's `filepath.Match` has them, and `**` for any depth.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use sys::fs::{FileType, Root};

use crate::error::{Error, Result, Step};

/// Whether a path holds anything but a plain name.
pub(super) fn is_pattern(path: &str) -> bool {
    path.contains(['*', '?', '[', '\\'])
}

/// The paths of a tree that a pattern matches, sorted; none is no error.
///
/// # Errors
/// [`Error::Pattern`]; those of the disk.
pub(super) fn find(root: &Root, pattern: &str) -> Result<Vec<PathBuf>> {
    let parts: Vec<&str> = pattern.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let mut found = Vec::new();
    descend(root, &PathBuf::new(), &parts, pattern, &mut found)?;
    found.sort();
    found.dedup();
    Ok(found)
}

fn descend(
    root: &Root,
    at: &Path,
    parts: &[&str],
    whole: &str,
    found: &mut Vec<PathBuf>,
) -> Result<()> {
    let Some((part, rest)) = parts.split_first() else {
        found.push(at.to_owned());
        return Ok(());
    };
    if *part == "**" {
        descend(root, at, rest, whole, found)?;
        for (name, kind) in names(root, at)? {
            if kind == FileType::Directory {
                descend(root, &at.join(name), parts, whole, found)?;
            } else if rest.is_empty() {
                found.push(at.join(name));
            }
        }
        return Ok(());
    }
    if !is_pattern(part) {
        let next = at.join(part);
        if root.lstat(&next).is_ok() {
            descend(root, &next, rest, whole, found)?;
        }
        return Ok(());
    }
    for (name, _) in names(root, at)? {
        let fits = matches(part.as_bytes(), name.as_bytes());
        if fits.ok_or_else(|| Error::Pattern(whole.to_owned()))? {
            descend(root, &at.join(name), rest, whole, found)?;
        }
    }
    Ok(())
}

/// The names in a directory; none where there is no directory.
fn names(root: &Root, at: &Path) -> Result<Vec<(OsString, FileType)>> {
    let path = if at.as_os_str().is_empty() { Path::new(".") } else { at };
    if !root.stat(path).is_ok_and(|stat| sys::entry::kind(&stat) == FileType::Directory) {
        return Ok(Vec::new());
    }
    let listed = root.read_dir(path).at("list", at)?;
    Ok(listed.into_iter().map(|found| (found.name, found.kind)).collect())
}

/// Whether a name fits a pattern without slashes; `None` for a pattern that is none.
pub(super) fn matches(pattern: &[u8], name: &[u8]) -> Option<bool> {
    let Some((first, rest)) = pattern.split_first() else { return Some(name.is_empty()) };
    match first {
        b'*' => {
            for at in 0..=name.len() {
                if matches(rest, &name[at..])? {
                    return Some(true);
                }
            }
            Some(false)
        }
        b'[' => {
            let end = class_end(rest)?;
            let (class, after) = (&rest[..end], &rest[end + 1..]);
            let Some((byte, tail)) = name.split_first() else {
                in_class(class, 0)?;
                return Some(false);
            };
            if in_class(class, *byte)? { matches(after, tail) } else { Some(false) }
        }
        b'?' => match name.split_first() {
            Some((_, tail)) => matches(rest, after_character(name, tail)),
            None => Some(false),
        },
        b'\\' => {
            let (literal, rest) = rest.split_first()?;
            literal_then(*literal, rest, name)
        }
        literal => literal_then(*literal, rest, name),
    }
}

fn literal_then(literal: u8, rest: &[u8], name: &[u8]) -> Option<bool> {
    match name.split_first() {
        Some((byte, tail)) if *byte == literal => matches(rest, tail),
        _ => Some(false),
    }
}

/// What follows the first character of a name that is UTF-8.
fn after_character<'n>(name: &'n [u8], tail: &'n [u8]) -> &'n [u8] {
    let more = tail.iter().take_while(|byte| **byte & 0xc0 == 0x80).count();
    if name[0] >= 0xc0 { &tail[more..] } else { tail }
}

/// Where a class ends: its first `]` that is not escaped and not the first thing in it.
fn class_end(class: &[u8]) -> Option<usize> {
    let mut at = usize::from(class.first() == Some(&b'^'));
    let first = at;
    loop {
        match class.get(at)? {
            b'\\' => at += 2,
            b']' if at > first => return Some(at),
            _ => at += 1,
        }
    }
}

fn in_class(class: &[u8], byte: u8) -> Option<bool> {
    let (negated, mut class) = match class.strip_prefix(b"^") {
        Some(rest) => (true, rest),
        None => (false, class),
    };
    fn one(class: &[u8]) -> Option<(u8, &[u8])> {
        match class.split_first()? {
            (b'\\', rest) => rest.split_first().map(|(byte, rest)| (*byte, rest)),
            (b'-' | b']', _) => None,
            (byte, rest) => Some((*byte, rest)),
        }
    }
    let mut fits = false;
    while !class.is_empty() {
        let (low, rest) = one(class)?;
        let (high, rest) = match rest.strip_prefix(b"-") {
            Some(rest) => one(rest)?,
            None => (low, rest),
        };
        fits |= (low..=high).contains(&byte);
        class = rest;
    }
    Some(fits != negated)
}

/// A pattern's text with its escapes taken away.
pub(super) fn unescape(path: &str) -> OsString {
    let mut bytes = Vec::with_capacity(path.len());
    let mut input = path.bytes();
    while let Some(byte) = input.next() {
        bytes.push(if byte == b'\\' { input.next().unwrap_or(byte) } else { byte });
    }
    OsString::from_vec(bytes)
}

/// Whether `path` has no wildcard that is not escaped, so that it names one file.
pub(super) fn is_literal(path: &str) -> bool {
    let mut input = path.chars();
    while let Some(c) = input.next() {
        match c {
            '\\' => drop(input.next()),
            '*' | '?' | '[' => return false,
            _ => {}
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_gos_do() {
        let cases = [
            ("abc", "abc", Some(true)),
            ("*", "abc", Some(true)),
            ("*c", "abc", Some(true)),
            ("a*", "a", Some(true)),
            ("a*b*c", "axbxxc", Some(true)),
            ("a???c", "axxc", Some(false)),
            ("a?c", "aéc", Some(true)),
            ("ab[c]", "abc", Some(true)),
            ("ab[b-d]", "abc", Some(true)),
            ("ab[e-g]", "abc", Some(false)),
            ("ab[^c]", "abc", Some(false)),
            ("a\\*b", "a*b", Some(true)),
            ("a\\*b", "ab", Some(false)),
            ("[\\]a]", "]", Some(true)),
            ("[]a]", "]", None),
            ("[-]", "-", None),
            ("[x-]", "x", None),
            ("[", "a", None),
            ("a\\", "a", None),
        ];
        for (pattern, name, wanted) in cases {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), wanted, "{pattern} {name}");
        }
    }
}
