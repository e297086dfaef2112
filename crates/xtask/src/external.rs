//! Runs other people's integration tests against an engine and compares the outcome with the list
//! of what is expected to fail and why (`docs/external/<suite>.txt`).
//!
//! `scripts/external` fetches and builds the suites; this knows how to run them and to read what
//! they print.

mod expectations;
mod images;
mod suites;

use anyhow::{Context, Result, bail, ensure};
use std::path::Path;
use testkit::Kind;
use testkit::daemon::{Daemon, Options};
use testkit::registry::{Options as RegistryOptions, Registry};

/// Where the suites look for a registry, by this number or by the name `localhost`.
const REGISTRY: u16 = 5000;

/// Where the suites are, what to run, and against whom.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (suite, kind, folder) = match words[..] {
        [suite, "dockerd", folder] => (suite, Kind::Dockerd, folder),
        [suite, "isopod", folder] => (suite, Kind::Isopod, folder),
        _ => bail!("usage: cargo xtask external bollard|docker-py isopod|dockerd FOLDER"),
    };
    ensure!(rustix::process::geteuid().is_root(), "containers need root");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let expectations = expectations::read(&root.join(format!("docs/external/{suite}.txt")))?;
    // What the suites want from Docker's own registry comes from the one beside the engine.
    let mirror = format!("--registry-mirror=http://127.0.0.1:{REGISTRY}");
    let options = Options { kind, program: None, arguments: vec![mirror], host_network: false };
    let daemon = Daemon::start(options).map_err(anyhow::Error::msg)?;
    let outcome = against(&daemon, suite, Path::new(folder));
    let left = daemon.stop();
    let results = outcome?;
    if kind == Kind::Isopod {
        left.map_err(anyhow::Error::msg).context("left behind")?;
    }
    let report = expectations::compare(&expectations, &results, kind == Kind::Dockerd);
    println!("{report}");
    ensure!(
        report.unexpected.is_empty(),
        "{suite}: {} unexpected failures",
        report.unexpected.len()
    );
    Ok(())
}

fn against(daemon: &Daemon, suite: &str, folder: &Path) -> Result<Vec<suites::Outcome>> {
    let engine = daemon.engine();
    let netns = daemon.netns().context("the engine has no network of its own")?.path();
    let _registry = Registry::start(&RegistryOptions {
        netns: Some(&netns),
        port: REGISTRY,
        ..RegistryOptions::default()
    });
    images::provide(&engine, &netns, suite)?;
    match suite {
        "bollard" => suites::bollard(&engine, folder),
        "docker-py" => suites::docker_py(&engine, folder),
        other => bail!("no suite is called {other}"),
    }
}
