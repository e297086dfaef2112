//! How each suite is run, and how its output is read.

use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use testkit::{Engine, Kind};

/// How one test went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    /// `file::test` as the suite calls it.
    pub(super) name: String,
    /// What happened.
    pub(super) verdict: Verdict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Passed,
    Failed,
    /// The suite itself left it out.
    Skipped,
}

/// Bollard's test programs, all of them.
const BOLLARD: &[&str] = &[
    "config_test",
    "container_test",
    "distribution",
    "exec_test",
    "export_test",
    "image_test",
    "network_test",
    "node_test",
    "plugin_test",
    "podman_test",
    "race_test",
    "secret_test",
    "service_test",
    "swarm_test",
    "system_test",
    "task_test",
    "version_test",
    "volume_test",
];

/// Docker-py's tests but those that begin by making a swarm, and those of SSH.
const DOCKER_PY: &[&str] = &[
    "api_client_test.py",
    "api_container_test.py",
    "api_exec_test.py",
    "api_healthcheck_test.py",
    "api_network_test.py",
    "api_plugin_test.py",
    "api_volume_test.py",
    "client_test.py",
    "errors_test.py",
    "models_containers_test.py",
    "models_networks_test.py",
    "models_resources_test.py",
    "models_volumes_test.py",
    "context_api_test.py",
    "api_image_test.py",
    "api_build_test.py",
    "models_images_test.py",
    "regression_test.py",
];

/// Runs bollard's test programs, which `scripts/external` has built below `folder`.
pub(super) fn bollard(engine: &Engine, folder: &Path) -> Result<Vec<Outcome>> {
    let deps = folder.join("build/debug/deps");
    let mut outcomes = Vec::new();
    for part in BOLLARD {
        let program = newest(&deps, &format!("{part}-"))?;
        // One after the other: they share container names.
        let mut command = Command::new("timeout");
        command
            .args(["--kill-after=5", "300"])
            .arg(&program)
            .args(["--test-threads=1", "--color=never"])
            .current_dir(folder.join("bollard"));
        let text = output(&mut command, engine)?;
        fs::write(folder.join(format!("{part}.log")), &text)?;
        outcomes.extend(cargo_test_outcomes(part, &text));
    }
    Ok(outcomes)
}

/// Runs docker-py's tests in the virtual environment that `scripts/external` has made.
pub(super) fn docker_py(engine: &Engine, folder: &Path) -> Result<Vec<Outcome>> {
    let folder = folder.canonicalize()?;
    let mut command = Command::new(folder.join("venv/bin/python"));
    command
        .args(["-m", "pytest", "-p", "no:cacheprovider", "-q", "-rA", "--tb=short", "--timeout=90"])
        .args(DOCKER_PY.iter().map(|part| format!("tests/integration/{part}")))
        .current_dir(folder.join("docker-py"));
    // The version that this client speaks by default; dockerd 20.10 is older.
    let version = if engine.kind == Kind::Dockerd { "1.41" } else { "1.43" };
    command.env("DOCKER_TEST_API_VERSION", version).env("PYTHONDONTWRITEBYTECODE", "1");
    // Some tests write contexts beside the client's configuration, some leave files.
    let home = tempfile::tempdir()?;
    fs::create_dir(home.path().join(".docker"))?;
    fs::write(home.path().join(".docker/config.json"), "{}")?;
    command.env("HOME", home.path()).env("TMPDIR", home.path());
    let text = output(&mut command, engine)?;
    fs::write(folder.join("docker-py.log"), &text)?;
    Ok(pytest_outcomes(&text))
}

/// Runs a suite in the network of the engine's host, where published ports are.
pub(super) fn output(command: &mut Command, engine: &Engine) -> Result<String> {
    let mut wrapped = match &engine.netns {
        Some(netns) => {
            let mut wrapped = Command::new("nsenter");
            wrapped.arg(format!("--net={}", netns.display())).arg("--").arg(command.get_program());
            wrapped.args(command.get_args());
            wrapped
        }
        None => {
            let mut wrapped = Command::new(command.get_program());
            wrapped.args(command.get_args());
            wrapped
        }
    };
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            wrapped.env(name, value);
        }
    }
    if let Some(folder) = command.get_current_dir() {
        wrapped.current_dir(folder);
    }
    let output = wrapped
        .env("DOCKER_HOST", format!("unix://{}", engine.socket.display()))
        .env_remove("DOCKER_CONTEXT")
        .env_remove("DOCKER_TLS_VERIFY")
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .output()
        .context("running the suite")?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Ok(text)
}

fn newest(folder: &Path, prefix: &str) -> Result<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(prefix) && !name.contains('.') {
            found.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    found.sort();
    ensure!(!found.is_empty(), "no {prefix}… in {}: run scripts/external", folder.display());
    Ok(found.remove(found.len() - 1).1)
}

fn cargo_test_outcomes(part: &str, text: &str) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let mut running: Option<String> = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("test ")
            && let Some((name, rest)) = rest.split_once(" ... ")
        {
            running = Some(format!("{part}::{}", name.split(' ').next().unwrap_or(name)));
            if let Some(verdict) = verdict(rest) {
                outcomes.extend(running.take().map(|name| Outcome { name, verdict }));
            }
        } else if let Some(verdict) = verdict(line) {
            // What the test itself printed stands between its name and its verdict.
            outcomes.extend(running.take().map(|name| Outcome { name, verdict }));
        }
    }
    // Cut off by the time limit.
    outcomes.extend(running.map(|name| Outcome { name, verdict: Verdict::Failed }));
    outcomes
}

fn verdict(text: &str) -> Option<Verdict> {
    match text.trim() {
        "ok" => Some(Verdict::Passed),
        "FAILED" => Some(Verdict::Failed),
        ignored if ignored.starts_with("ignored") => Some(Verdict::Skipped),
        _ => None,
    }
}

/// What pytest says of each test, with `-rA`.
pub(super) fn pytest_outcomes(text: &str) -> Vec<Outcome> {
    let mut outcomes: Vec<Outcome> = Vec::new();
    for line in text.lines() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let verdict = match word {
            "PASSED" | "XPASS" => Verdict::Passed,
            "FAILED" | "ERROR" => Verdict::Failed,
            "XFAIL" => Verdict::Skipped,
            "SKIPPED" => Verdict::Skipped,
            _ => continue,
        };
        let name = rest.strip_prefix("tests/integration/").unwrap_or(rest);
        let name = name.split(' ').next().unwrap_or(name).to_owned();
        if !name.contains(".py") {
            continue;
        }
        // A test may fail and then fail again while it cleans up.
        match outcomes.iter_mut().find(|outcome| outcome.name == name) {
            Some(before) if verdict == Verdict::Failed => before.verdict = verdict,
            Some(_) => {}
            None => outcomes.push(Outcome { name, verdict }),
        }
    }
    outcomes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rust_outcomes_are_read() {
        let text = "running 3 tests\ntest a ... ok\ntest b ... noise\nmore noise\nFAILED\ntest c ... ignored, why\ntest d ... ";
        let seen: Vec<(String, Verdict)> = cargo_test_outcomes("x", text)
            .into_iter()
            .map(|outcome| (outcome.name, outcome.verdict))
            .collect();
        assert_eq!(
            seen,
            [
                ("x::a".into(), Verdict::Passed),
                ("x::b".into(), Verdict::Failed),
                ("x::c".into(), Verdict::Skipped),
                ("x::d".into(), Verdict::Failed),
            ]
        );
    }

    #[test]
    fn python_outcomes_are_read() {
        let text = "PASSED tests/integration/a.py::T::one\nFAILED tests/integration/a.py::T::two - AssertionError: x\nERROR tests/integration/a.py::T::one - boom\n";
        let seen = pytest_outcomes(text);
        assert_eq!(seen.len(), 2);
        assert!(seen.iter().all(|outcome| outcome.verdict == Verdict::Failed));
    }
}
