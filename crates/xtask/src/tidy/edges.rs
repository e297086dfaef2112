//! Which crate may depend on which: the design's table, compared with `cargo metadata`.

use super::Finding;
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::path::Path;
use std::process::Command;

/// Crate → crates of the workspace that it may depend on. A crate that is not listed has no place
/// in the design yet. Dev-dependencies follow the same table, except that `testkit` is open to all.
const ALLOWED: &[(&str, &[&str])] = &[
    ("isopod-types", &[]),
    ("isopod-sys", &[]),
    ("isopod-proto", &["types"]),
    // It shares Docker's vocabulary with the engine instead of repeating it.
    ("isopod-docker-api", &["types"]),
    ("isopod-manifest", &["types"]),
    ("isopod-distribution", &["types", "manifest"]),
    // The documents only: a guest's agent, which handles files, would be built with a client for registries.
    ("isopod-image", &["types", "sys", "manifest"]),
    ("isopod-network", &["types", "sys"]),
    ("isopod-volume", &["types", "sys"]),
    ("isopod-disk", &["types", "sys"]),
    ("isopod-runtime", &["types", "sys"]),
    ("isopod-vm", &["types", "sys", "proto"]),
    // `sys`: what is copied into an image is resolved below a directory fd, as everywhere.
    ("isopod-build", &["types", "image", "sys"]),
    // `sys`: paths inside a container are resolved below a directory fd, and fds go to the monitor.
    (
        "isopod-engine",
        &["image", "network", "volume", "disk", "distribution", "build", "proto", "types", "sys"],
    ),
    // The two ends of the connection into a virtual machine.
    ("isopod-relay", &["proto", "sys"]),
    ("isopod-monitor", &["runtime", "vm", "relay", "proto", "sys", "types"]),
    ("isopod-resolver", &["proto", "sys"]),
    // `image`: files go in and out of a container in the same tars, whichever wall it is behind.
    ("isopod-guest-agent", &["runtime", "relay", "image", "proto", "sys", "types"]),
    // `sys`: whether a client has read the head of an answer is known to an ioctl only.
    ("isopod-daemon", &["engine", "docker-api", "types", "sys"]),
    ("isopod-registry", &["image", "distribution", "types"]),
    // `distribution`: `login` keeps credentials, and `manifest` talks to registries itself, as docker's do.
    // `build`: what a `.dockerignore` leaves out must be the same on both ends, and `--check` reads
    // Dockerfiles without a daemon.
    ("isopod-cli", &["docker-api", "distribution", "build", "types"]),
    (
        "isopod",
        &["cli", "daemon", "monitor", "resolver", "registry", "oci", "runtime", "sys", "vm"],
    ),
    ("isopod-testkit", &[]),
    // It fuzzes every reader of untrusted bytes, on fixtures of the black-box suite.
    (
        "isopod-fuzz",
        &[
            "build",
            "daemon",
            "disk",
            "distribution",
            "image",
            "proto",
            "registry",
            "resolver",
            "testkit",
            "types",
        ],
    ),
    // The benchmark starts the same daemons as the black-box suite.
    ("xtask", &["testkit"]),
];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    /// Set for the crates of the workspace only.
    path: Option<String>,
}

pub(super) fn check(root: &Path) -> Result<Vec<Finding>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root)
        .output()
        .context("cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Metadata = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    Ok(findings(&metadata))
}

fn findings(metadata: &Metadata) -> Vec<Finding> {
    let mut found = Vec::new();
    for package in &metadata.packages {
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == package.name) else {
            found.push(Finding::error(&package.name, "the design has no such crate"));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|dependency| dependency.path.is_some())
        {
            let short = dependency.name.strip_prefix("isopod-").unwrap_or(&dependency.name);
            let test_only = dependency.kind.as_deref() == Some("dev") && short == "testkit";
            if !allowed.contains(&short) && !test_only {
                let what = format!("depends on {short}; the design allows {allowed:?}");
                found.push(Finding::error(&package.name, what));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(name: &str, on: &str, kind: Option<&str>) -> Metadata {
        let dependency = Dependency {
            name: on.into(),
            kind: kind.map(Into::into),
            path: Some(String::from("/somewhere")),
        };
        Metadata { packages: vec![Package { name: name.into(), dependencies: vec![dependency] }] }
    }

    #[test]
    fn an_edge_of_the_table_passes() {
        assert!(findings(&metadata("isopod-proto", "isopod-types", None)).is_empty());
        assert!(findings(&metadata("isopod-cli", "isopod-testkit", Some("dev"))).is_empty());
    }

    #[test]
    fn a_new_edge_and_a_new_crate_are_errors() {
        assert_eq!(findings(&metadata("isopod-engine", "isopod-runtime", None)).len(), 1);
        assert_eq!(findings(&metadata("isopod-engine", "isopod-testkit", None)).len(), 1);
        assert_eq!(findings(&metadata("isopod-common", "isopod-types", None)).len(), 1);
    }
}
