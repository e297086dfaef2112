//! Our own suites of other people's clients (`crates/testkit/clients`): what each needs around it,
//! and how its output is read.

use super::suites::{Outcome, Verdict, output, pytest_outcomes};
use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;
use testkit::Engine;

/// Runs the suites that are in Python: docker's command line, Compose, `docker` and
/// `testcontainers` of PyPI.
pub(super) fn python(
    engine: &Engine,
    reference: Option<&Engine>,
    suite: &str,
    clients: &Path,
    folder: &Path,
) -> Result<Vec<Outcome>> {
    let home = home(folder)?;
    let files: &[&str] = match suite {
        "cli" => &["test_cli.py"],
        "compose-1" | "compose-2" => &["test_compose.py"],
        "python" => &["test_docker_sdk.py", "test_testcontainers.py"],
        other => bail!("no suite is called {other}"),
    };
    let mut command = Command::new(folder.join("clients/bin/python"));
    command
        .args(["-m", "pytest", "-p", "no:cacheprovider", "-q", "-rA", "--tb=short"])
        .args(["--timeout=400", "--durations=8"])
        .args(files)
        .current_dir(clients.join("python"))
        .env("COMPOSE", suite.trim_start_matches("compose-"))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    around(&mut command, &home);
    if let Some(reference) = reference {
        let netns = reference.netns.as_ref().context("dockerd has no network of its own")?;
        command.env("REFERENCE_HOST", format!("unix://{}", reference.socket.display()));
        command.env("REFERENCE_NETNS", netns);
    }
    let text = output(&mut command, engine)?;
    fs::write(folder.join(format!("{suite}.log")), &text)?;
    Ok(pytest_outcomes(&text))
}

/// Runs the suites of npm's `dockerode` and `testcontainers`.
pub(super) fn node(engine: &Engine, clients: &Path, folder: &Path) -> Result<Vec<Outcome>> {
    let home = home(folder)?;
    // Node looks for packages beside the file that wants them.
    let place = folder.join("node");
    let mut outcomes = Vec::new();
    let mut log = String::new();
    for part in ["dockerode", "testcontainers"] {
        let file = format!("{part}.test.mjs");
        fs::copy(clients.join("node").join(&file), place.join(&file)).context(file.clone())?;
        let mut command = Command::new("timeout");
        command
            .args(["--kill-after=5", "400", "node", "--test-reporter=tap"])
            .arg(&file)
            .current_dir(&place);
        around(&mut command, &home);
        let text = output(&mut command, engine)?;
        outcomes.extend(tap_outcomes(part, &text));
        log.push_str(&text);
    }
    fs::write(folder.join("node.log"), &log)?;
    Ok(outcomes)
}

/// A home directory for one run, with Compose 2 where docker's command line looks for plugins.
fn home(folder: &Path) -> Result<TempDir> {
    let home = tempfile::tempdir()?;
    let plugins = home.path().join(".docker/cli-plugins");
    fs::create_dir_all(&plugins)?;
    symlink(folder.join("plugins/docker-compose"), plugins.join("docker-compose"))?;
    Ok(home)
}

fn around(command: &mut Command, home: &TempDir) {
    command
        .env("HOME", home.path())
        .env("TMPDIR", home.path())
        .env("DOCKER_CONFIG", home.path().join(".docker"))
        // The image that removes what is left of a run cannot be pulled; nothing is left.
        .env("TESTCONTAINERS_RYUK_DISABLED", "true");
}

/// Reads the tests of the highest level from the Test Anything Protocol.
fn tap_outcomes(part: &str, text: &str) -> Vec<Outcome> {
    let outcome = |line: &str| {
        let (failed, rest) = match line.strip_prefix("not ok ") {
            Some(rest) => (true, rest),
            None => (false, line.strip_prefix("ok ")?),
        };
        let (_, name) = rest.split_once(" - ")?;
        let (name, note) = name.split_once(" # ").unwrap_or((name, ""));
        let verdict = match (failed, note.starts_with("SKIP")) {
            (_, true) => Verdict::Skipped,
            (true, false) => Verdict::Failed,
            (false, false) => Verdict::Passed,
        };
        Some(Outcome { name: format!("{part}::{}", name.trim()), verdict })
    };
    text.lines().filter_map(outcome).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tap_is_read() {
        let text = "TAP version 13\n# Subtest: a b\nok 1 - a b\n  ---\n    ok 1 - inner\nnot ok 2 - c\nok 3 - d # SKIP why\n1..3\n";
        let seen: Vec<(String, Verdict)> =
            tap_outcomes("x", text).into_iter().map(|one| (one.name, one.verdict)).collect();
        assert_eq!(
            seen,
            [
                ("x::a b".into(), Verdict::Passed),
                ("x::c".into(), Verdict::Failed),
                ("x::d".into(), Verdict::Skipped),
            ]
        );
    }
}
