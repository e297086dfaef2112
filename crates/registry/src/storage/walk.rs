//! Finding what is there.

use std::fs;
use std::path::Path;

use types::digest::Digest;

use super::{Result, Step, absent};
use crate::name::Name;

/// The names in a directory, sorted, without unfinished files; none if it is not there.
pub(crate) fn names_in(folder: &Path) -> Result<Vec<String>> {
    let Some(entries) = absent(fs::read_dir(folder)).step("list", folder)? else {
        return Ok(Vec::new());
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.step("list", folder)?.file_name();
        // Whatever has another name is not of our making.
        if let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// The digests that `<folder>/<algorithm>/<hex>` stand for, sorted.
pub(crate) fn digests_in(folder: &Path) -> Result<Vec<Digest>> {
    let mut digests = Vec::new();
    for algorithm in names_in(folder)? {
        for hex in names_in(&folder.join(&algorithm))? {
            digests.extend(format!("{algorithm}:{hex}").parse::<Digest>());
        }
    }
    Ok(digests)
}

/// All repositories below a directory, sorted by name.
pub(super) fn repositories(folder: &Path) -> Result<Vec<Name>> {
    let mut found = Vec::new();
    let mut left = vec![String::new()];
    while let Some(prefix) = left.pop() {
        let here = folder.join(&prefix);
        let mut is_repository = false;
        for name in names_in(&here)? {
            if name.starts_with('_') {
                is_repository = true;
            } else if prefix.is_empty() {
                left.push(name);
            } else {
                left.push(format!("{prefix}/{name}"));
            }
        }
        if is_repository {
            found.extend(prefix.parse::<Name>());
        }
    }
    found.sort();
    Ok(found)
}
