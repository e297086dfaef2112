//! Runs other people's integration tests, and our own of other people's clients, against an engine,
//! and compares the outcome with the list of what is expected to fail and why
//! (`docs/external/<suite>.txt`).
//!
//! `scripts/external` fetches and builds what they need; this knows how to run them and to read
//! what they print.

mod clients;
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
        _ => bail!("usage: cargo xtask external SUITE isopod|dockerd FOLDER"),
    };
    ensure!(rustix::process::geteuid().is_root(), "containers need root");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let folder = Path::new(folder).canonicalize()?;
    let expectations = expectations::read(&root.join(format!("docs/external/{suite}.txt")))?;
    let host = Host::start(kind, suite, &folder)?;
    let outcome = against(&host, suite, &root, &folder);
    let left = host.stop();
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

fn against(host: &Host, suite: &str, root: &Path, folder: &Path) -> Result<Vec<suites::Outcome>> {
    let engine = host.daemon.engine();
    let clients = root.join("crates/testkit/clients");
    match suite {
        "bollard" => suites::bollard(&engine, folder),
        "docker-py" => suites::docker_py(&engine, folder),
        "node" => clients::node(&engine, &clients, folder),
        "cli" => {
            // What docker's command line prints is compared with what it prints with dockerd.
            let reference = Host::start(Kind::Dockerd, suite, folder)?;
            let peer = reference.daemon.engine();
            clients::python(&engine, Some(&peer), suite, &clients, folder)
        }
        "compose-1" | "compose-2" | "python" => {
            clients::python(&engine, None, suite, &clients, folder)
        }
        other => bail!("no suite is called {other}"),
    }
}

/// An engine, and the registry on the loopback interface of its network.
struct Host {
    daemon: Daemon,
    registry: Registry,
}

impl Host {
    /// Starts both, with the images that a suite wants.
    fn start(kind: Kind, suite: &str, folder: &Path) -> Result<Self> {
        // What the suites want from Docker's own registry comes from the one beside the engine.
        let mirror = format!("--registry-mirror=http://127.0.0.1:{REGISTRY}");
        let options = Options { kind, program: None, arguments: vec![mirror], host_network: false };
        let daemon = Daemon::start(options).map_err(anyhow::Error::msg)?;
        let netns = daemon.netns().context("the engine has no network of its own")?.path();
        let registry = Registry::start(&RegistryOptions {
            netns: Some(&netns),
            port: REGISTRY,
            ..RegistryOptions::default()
        });
        images::provide(&daemon.engine(), &netns, suite, folder)?;
        Ok(Self { daemon, registry })
    }

    /// Stops both; what the engine left behind is an error.
    fn stop(self) -> Result<(), String> {
        drop(self.registry);
        self.daemon.stop()
    }
}
