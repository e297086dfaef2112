//! Rules about the text of the sources.

use super::Finding;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Lines above which a file wants splitting along a noun.
const LONG: usize = 400;
/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] =
    &["manager", "helper", "helpers", "util", "utils", "common", "core", "misc"];

pub(super) fn check(root: &Path) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    let mut files = Vec::new();
    let mut folders = sorted(&root.join("crates"))?;
    folders.push(root.join("fuzz"));
    for entry in folders {
        rust_files(&entry.join("src"), &mut files)?;
        rust_files(&entry.join("tests"), &mut files)?;
        for first in ["src/lib.rs", "src/main.rs"] {
            let path = entry.join(first);
            if path.exists() && !documented(&fs::read_to_string(&path)?) {
                found.push(Finding::error(shown(root, &path), "no crate documentation"));
            }
        }
    }
    for path in files {
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        file(&shown(root, &path), &text, &mut found);
    }
    Ok(found)
}

/// The rules for one file; `place` is its path below the root.
fn file(place: &str, text: &str, found: &mut Vec<Finding>) {
    let stem = place.rsplit('/').next().unwrap_or(place).trim_end_matches(".rs");
    let folder = place.rsplit('/').nth(1).unwrap_or("");
    for name in [stem, folder] {
        if EMPTY_NAMES.contains(&name) {
            found.push(Finding::error(place, format!("{name} names nothing; use the noun")));
        }
    }
    let lines = text.lines().count();
    let is_test = stem == "tests" || folder == "tests" || place.contains("/tests/");
    if lines > LONG && !is_test {
        found.push(Finding::warning(place, format!("{lines} lines; split it along a noun")));
    }
    // Assembled here so that this file does not break its own rule.
    let exemption = format!("allow({})", "unsafe_code");
    if !place.starts_with("crates/sys/") && text.contains(&exemption) {
        found.push(Finding::error(place, "unsafe code belongs to sys"));
    }
    for (number, line) in text.lines().enumerate() {
        let code = line.trim_start();
        let comment = code.starts_with("//");
        for stub in [concat!("todo", "!("), concat!("unimplemented", "!(")] {
            if !comment && code.contains(stub) {
                found.push(Finding::error(format!("{place}:{}", number + 1), "a stub"));
            }
        }
    }
}

fn documented(text: &str) -> bool {
    let docs: Vec<&str> = text.lines().take_while(|line| line.starts_with("//!")).collect();
    !docs.is_empty() && !docs.iter().any(|line| line.contains("TODO"))
}

fn rust_files(folder: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    for path in sorted(folder)? {
        if path.is_dir() {
            rust_files(&path, into)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
    Ok(())
}

fn sorted(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn shown(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_text(place: &str, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        file(place, text, &mut found);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_plain_file_passes() {
        assert_eq!(check_text("crates/cli/src/table.rs", "fn main() {}\n"), Vec::<String>::new());
    }

    #[test]
    fn empty_names_stubs_and_unsafe_are_found() {
        assert_eq!(check_text("crates/cli/src/util.rs", "").len(), 1);
        assert_eq!(check_text("crates/cli/src/a.rs", concat!("  todo", "!()")).len(), 1);
        assert_eq!(
            check_text("crates/cli/src/a.rs", concat!("#![allow(unsafe", "_code)]")).len(),
            1
        );
        assert_eq!(
            check_text("crates/sys/src/a.rs", concat!("#![allow(unsafe", "_code)]")).len(),
            0
        );
    }

    #[test]
    fn long_files_are_a_warning_unless_they_are_tests() {
        let long = "x\n".repeat(401);
        assert!(check_text("crates/cli/src/a.rs", &long)[0].starts_with("warning"));
        assert!(check_text("crates/cli/src/a/tests.rs", &long).is_empty());
    }

    #[test]
    fn a_todo_is_not_documentation() {
        assert!(documented("//! Renders tables.\n"));
        assert!(!documented("//! TODO doc\n"));
        assert!(!documented("fn main() {}\n"));
    }
}
