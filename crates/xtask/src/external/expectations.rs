//! What is expected to fail, and why.
//!
//! One line a test: `name | who | reason`, where `who` is `all` (real Docker fails as well, or the
//! machine lacks something), `isopod`, or `dockerd` (only the old one on Debian fails). A name may
//! end with `*`.

use super::suites::{Outcome, Verdict};
use anyhow::{Context, Result, ensure};
use std::path::Path;

/// One line of the list.
#[derive(Debug)]
pub(super) struct Expectation {
    name: String,
    who: String,
    reason: String,
}

pub(super) fn read(path: &Path) -> Result<Vec<Expectation>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    text.lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|line| {
            let parts: Vec<&str> = line.splitn(3, '|').map(str::trim).collect();
            ensure!(parts.len() == 3, "{}: {line}: name | who | reason", path.display());
            Ok(Expectation {
                name: parts[0].to_owned(),
                who: parts[1].to_owned(),
                reason: parts[2].to_owned(),
            })
        })
        .collect()
}

/// What came of a run.
#[derive(Debug)]
pub(super) struct Report {
    passed: usize,
    skipped: usize,
    expected: Vec<String>,
    /// Failures that no line of the list explains.
    pub(super) unexpected: Vec<String>,
    /// Lines of the list whose tests pass.
    better: Vec<String>,
}

pub(super) fn compare(expectations: &[Expectation], outcomes: &[Outcome], dockerd: bool) -> Report {
    let mut report = Report {
        passed: 0,
        skipped: 0,
        expected: Vec::new(),
        unexpected: Vec::new(),
        better: Vec::new(),
    };
    let engine = if dockerd { "dockerd" } else { "isopod" };
    if outcomes.is_empty() {
        report.unexpected.push(String::from("the suite ran no test at all"));
    }
    for outcome in outcomes {
        let expectation = expectations.iter().find(|expectation| {
            (expectation.who == "all" || expectation.who == engine)
                && matches(&expectation.name, &outcome.name)
        });
        match (outcome.verdict, expectation) {
            (Verdict::Skipped, _) => report.skipped += 1,
            (Verdict::Passed, known) => {
                report.passed += 1;
                report.better.extend(known.map(|_| outcome.name.clone()));
            }
            (Verdict::Failed, Some(known)) => {
                report.expected.push(format!("{}: {}", outcome.name, known.reason));
            }
            (Verdict::Failed, None) => report.unexpected.push(outcome.name.clone()),
        }
    }
    report
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => pattern == name,
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for line in &self.expected {
            writeln!(f, "expected failure  {line}")?;
        }
        for line in &self.better {
            writeln!(f, "passes by now     {line}")?;
        }
        for line in &self.unexpected {
            writeln!(f, "UNEXPECTED        {line}")?;
        }
        write!(
            f,
            "{} passed, {} skipped by the suite, {} failed as expected, {} unexpectedly",
            self.passed,
            self.skipped,
            self.expected.len(),
            self.unexpected.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(name: &str, verdict: Verdict) -> Outcome {
        Outcome { name: name.into(), verdict }
    }

    #[test]
    fn only_unexplained_failures_count() {
        let list = [
            Expectation { name: "a::*".into(), who: "all".into(), reason: "r".into() },
            Expectation { name: "b".into(), who: "dockerd".into(), reason: "r".into() },
        ];
        let outcomes = [
            outcome("a::x", Verdict::Failed),
            outcome("b", Verdict::Failed),
            outcome("c", Verdict::Passed),
        ];
        assert_eq!(compare(&list, &outcomes, false).unexpected, ["b"]);
        assert!(compare(&list, &outcomes, true).unexpected.is_empty());
        assert_eq!(compare(&list, &[], true).unexpected.len(), 1);
    }
}
