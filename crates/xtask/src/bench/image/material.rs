//! What is pulled, pushed, loaded and built on: real files out of Debian packages, made once and
//! kept in the target directory.

use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Archives that `docker load` reads.
pub(super) struct Material {
    /// An image of five layers, more than 100 MB compressed: a base and four sets of packages.
    pub(super) layered: PathBuf,
    /// Three images of one layer each, whose packages overlap: what they share is in no common
    /// layer.
    pub(super) related: Vec<PathBuf>,
}

/// The name of the layered image.
pub(super) const LAYERED: &str = "bench/layered:latest";
/// The name of the base alone.
pub(super) const BASE: &str = "bench/base:latest";

/// The packages of the layers on the base, with all that they depend on and the base lacks.
const LAYERS: &[&[&str]] = &[
    &["python3-minimal", "libpython3.11-minimal", "libpython3.11-stdlib", "python3.11-minimal"],
    &["cpp-12", "gcc-12", "g++-12", "libstdc++-12-dev", "libgcc-12-dev"],
    &["git", "git-man", "perl-modules-5.36", "libperl5.36"],
    &["vim-runtime", "vim", "curl", "libcurl4"],
];

/// The packages of the related images beside the base.
const RELATED: &[(&str, &str)] = &[
    ("bench/one:latest", "python3"),
    ("bench/two:latest", "git"),
    ("bench/three:latest", "vim,python3"),
];

/// Makes what is not there yet in `folder`.
pub(super) fn make(folder: &Path) -> Result<Material> {
    fs::create_dir_all(folder)?;
    let base = bootstrap(folder, "base", "")?;
    let mut layers = vec![base];
    for (number, packages) in LAYERS.iter().enumerate() {
        layers.push(unpacked(folder, &format!("layer{number}"), packages)?);
    }
    let layered = folder.join("layered.tar");
    archive(&layered, &[LAYERED], &layers)?;
    archive(&folder.join("base-image.tar"), &[BASE], &layers[..1])?;
    let mut related = Vec::new();
    for (number, (name, packages)) in RELATED.iter().enumerate() {
        let tar = bootstrap(folder, &format!("related{number}"), packages)?;
        let path = folder.join(format!("related{number}-image.tar"));
        archive(&path, &[name], &[tar])?;
        related.push(path);
    }
    Ok(Material { layered, related })
}

/// A Debian root file system with further packages.
fn bootstrap(folder: &Path, name: &str, packages: &str) -> Result<PathBuf> {
    let path = folder.join(format!("{name}.tar"));
    if path.exists() {
        return Ok(path);
    }
    let part = folder.join(format!("{name}.part.tar"));
    let mut command = Command::new("mmdebstrap");
    command.args(["--quiet", "--variant=minbase"]);
    if !packages.is_empty() {
        command.arg(format!("--include={packages}"));
    }
    run(command.arg("bookworm").arg(&part))?;
    fs::rename(part, &path)?;
    Ok(path)
}

/// The files of some packages in one tar.
fn unpacked(folder: &Path, name: &str, packages: &[&str]) -> Result<PathBuf> {
    let path = folder.join(format!("{name}.tar"));
    if path.exists() {
        return Ok(path);
    }
    let work = tempfile::tempdir_in(folder)?;
    let root = work.path().join("root");
    fs::create_dir(&root)?;
    run(Command::new("apt-get").args(["-q", "download"]).args(packages).current_dir(work.path()))?;
    for entry in fs::read_dir(work.path())? {
        let package = entry?.path();
        if package.extension().is_some_and(|extension| extension == "deb") {
            run(Command::new("dpkg-deb").arg("-x").arg(package).arg(&root))?;
        }
    }
    let part = folder.join(format!("{name}.part.tar"));
    run(Command::new("tar")
        .arg("-C")
        .arg(&root)
        .args(["--sort=name", "--numeric-owner", "-cf"])
        .arg(&part)
        .arg("."))?;
    fs::rename(part, &path)?;
    Ok(path)
}

/// A `docker save` archive of one image.
fn archive(path: &Path, names: &[&str], layers: &[PathBuf]) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    let mut diff_ids = Vec::new();
    for layer in layers {
        let output = Command::new("sha256sum").arg(layer).output()?;
        let text = String::from_utf8(output.stdout)?;
        let digest = text.split(' ').next().context("sha256sum says nothing")?;
        diff_ids.push(format!("sha256:{digest}"));
    }
    let history: Vec<_> =
        layers.iter().map(|_| serde_json::json!({"created_by": "bench"})).collect();
    let config = serde_json::json!({
        "architecture": "amd64",
        "os": "linux",
        "created": "2024-01-01T00:00:00Z",
        "config": {"Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["bash"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": history,
    })
    .to_string();
    let files: Vec<String> =
        (0..layers.len()).map(|number| format!("{number}/layer.tar")).collect();
    let manifest =
        serde_json::json!([{"Config": "config.json", "RepoTags": names, "Layers": files}])
            .to_string();
    let part = path.with_extension("part");
    let mut tar = tar::Builder::new(std::io::BufWriter::new(fs::File::create(&part)?));
    for (file, layer) in files.iter().zip(layers) {
        tar.append_path_with_name(layer, file)?;
    }
    for (file, text) in [("config.json", &config), ("manifest.json", &manifest)] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, file, text.as_bytes())?;
    }
    tar.into_inner()?.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(part, path)?;
    Ok(())
}

/// Runs a command that must succeed.
pub(super) fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
