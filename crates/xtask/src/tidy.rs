//! The rules of the repository that no compiler checks.

mod edges;
mod sources;

use anyhow::{Result, bail};
use std::path::Path;

/// Runs every rule and prints what it found; fails when anything but a warning was found.
pub(crate) fn run() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let mut found = edges::check(&root)?;
    found.extend(sources::check(&root)?);
    for finding in &found {
        println!("{finding}");
    }
    let errors = found.iter().filter(|finding| finding.severity == Severity::Error).count();
    let warnings = found.len() - errors;
    if errors > 0 {
        bail!("tidy: {errors} errors, {warnings} warnings");
    }
    println!("tidy: no errors, {warnings} warnings");
    Ok(())
}

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    /// Worth a look.
    Warning,
    /// Breaks a rule of the design.
    Error,
}

/// One breach of a rule.
#[derive(Debug)]
struct Finding {
    severity: Severity,
    place: String,
    what: String,
}

impl Finding {
    fn error(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { severity: Severity::Error, place: place.into(), what: what.into() }
    }

    fn warning(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, place: place.into(), what: what.into() }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let severity = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, "{severity}: {}: {}", self.place, self.what)
    }
}
