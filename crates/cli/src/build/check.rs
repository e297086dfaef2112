//! `build --check`: what the Dockerfile's author might want to write otherwise. No daemon is
//! asked.

use std::fmt::Write as _;

use anyhow::Context as _;
use build::dockerfile::{excerpt, parse};

use super::source::{Dockerfile, Source};
use crate::failure::Failure;
use crate::session::Session;

/// Reads the Dockerfile and says what is odd about it.
///
/// # Errors
/// A context that is not here, a Dockerfile that makes no sense.
pub(super) fn check(session: &Session, source: Source) -> anyhow::Result<u8> {
    let (name, text) = match source {
        Source::Dockerfile(text) => ("Dockerfile".to_owned(), text),
        Source::Directory(directory) => match directory.dockerfile {
            Dockerfile::Text(text) => ("Dockerfile".to_owned(), text),
            Dockerfile::Inside(path) => {
                let full = directory.path.join(&path);
                let text = std::fs::read(&full).with_context(|| full.display().to_string())?;
                (path.display().to_string(), text)
            }
        },
        Source::Archive(_) | Source::Remote(_) => {
            anyhow::bail!("--check needs a directory or a Dockerfile on standard input")
        }
    };
    let (report, found) = describe(&name, &String::from_utf8_lossy(&text))
        .map_err(|reason| Failure::with(1, reason))?;
    session.text(&report);
    Ok(u8::from(found))
}

/// The report, and whether there is anything in it; a failure is a Dockerfile that cannot be read.
fn describe(name: &str, text: &str) -> Result<(String, bool), String> {
    let file = parse(text)
        .map_err(|error| format!("{}ERROR: {error}", excerpt(name, text, error.span)))?;
    let mut report = String::new();
    for warning in &file.warnings {
        let place = excerpt(name, text, warning.span);
        let _ = writeln!(report, "WARNING: {}\n{}\n{place}", warning.rule, warning.message);
    }
    let found = match file.warnings.len() {
        0 => "no warnings found.".to_owned(),
        1 => "1 warning has been found!".to_owned(),
        count => format!("{count} warnings have been found!"),
    };
    let _ = writeln!(report, "Check complete, {found}");
    Ok((report, !file.warnings.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dockerfile_is_read_without_a_daemon() {
        let (report, found) = describe("Dockerfile", "FROM busybox\nRUN true\n").expect("read");
        assert_eq!((report.as_str(), found), ("Check complete, no warnings found.\n", false));
        let (report, found) = describe("D", "FROM busybox as x\nENV A b\n").expect("read");
        assert!(found && report.contains("warnings have been found!"), "{report}");
        assert!(report.contains("D:1") && report.contains(">>> FROM busybox as x"), "{report}");
        let error = describe("D", "FROM busybox\nRUM x\n").expect_err("no instruction");
        assert!(
            error.contains(">>> RUM x") && error.contains("unknown instruction: RUM"),
            "{error}"
        );
    }
}
