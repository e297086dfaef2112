//! Images: pulled, pushed, loaded, built on, and what they cost on disk; us and dockerd in turn, on
//! the same real content, each with Debian's registry on a loopback interface of its own.

mod material;

use super::{Request, contestants, median, once, shown};
use anyhow::{Context, Result};
use material::{BASE, LAYERED, Material};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use testkit::registry::{Options, Registry};
use testkit::{Daemon, Kind};

/// Each registry is alone on its loopback interface.
const PORT: u16 = 5000;

/// An engine, its command line, and the folder of its registries.
struct Engine {
    name: &'static str,
    program: PathBuf,
    daemon: Daemon,
    scratch: TempDir,
}

/// What is measured, and what share of dockerd's time is aimed at.
type Row = (&'static str, Vec<Vec<Duration>>, f64);

pub(super) fn run(request: &Request, binary: &Path) -> Result<()> {
    let target = testkit::engine::target_dir();
    let folder = target.join("bench-image");
    let material = material::make(&folder)?;
    let mut engines = vec![engine("isopod", Kind::Isopod, binary)?];
    if request.wants("dockerd") {
        engines.push(engine("dockerd", Kind::Dockerd, Path::new("docker"))?);
    }
    // The image as a registry has it, compressed by neither of the two.
    let pulled = engines[0].scratch.path().join("pulled");
    seed(&engines[0], &material, &pulled)?;

    let rows: Vec<Row> = vec![
        ("load", each(request, &engines, |engine| load(engine, &material.layered))?, 0.25),
        ("pull", each(request, &engines, |engine| pull(engine, &pulled))?, 0.25),
        ("push", each(request, &engines, |engine| push(engine, &material.layered))?, 0.25),
        (
            "build of a small Dockerfile",
            each(request, &engines, |engine| build(engine, &folder, false))?,
            0.25,
        ),
        (
            "the same, all cached",
            each(request, &engines, |engine| build(engine, &folder, true))?,
            0.1,
        ),
    ];
    println!(
        "Image of 5 layers: {}. Medians of {} runs in turn:\n",
        size(&material.layered, &pulled)?,
        request.runs
    );
    println!("| | isopod | dockerd | ours is of theirs | aim |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    for (what, mut times, aim) in rows {
        times.iter_mut().for_each(|times| times.sort());
        let ours = median(&times[0]);
        let (theirs, share) = match times.get(1).map(|times| median(times)) {
            None => ("–".to_owned(), "–".to_owned()),
            Some(theirs) => {
                (shown(theirs), format!("{:.2}", ours.as_secs_f64() / theirs.as_secs_f64()))
            }
        };
        println!("| {what} | {} | {theirs} | {share} | {aim} |", shown(ours));
    }
    limits(&material.layered, &pulled)?;
    disk(&engines, &material)
}

fn engine(name: &'static str, kind: Kind, program: &Path) -> Result<Engine> {
    let daemon = contestants::daemon(kind, (kind == Kind::Isopod).then_some(program))?;
    Ok(Engine { name, program: program.to_owned(), daemon, scratch: TempDir::new()? })
}

impl Engine {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.daemon.engine().prepared(&self.program);
        // dockerd's builder of these days; BuildKit needs a plugin.
        command.env("DOCKER_BUILDKIT", "0").args(words).stdin(Stdio::null());
        command
    }

    fn time(&self, words: &[&str]) -> Result<Duration> {
        once(&mut self.command(words)).with_context(|| format!("{} {}", self.name, words.join(" ")))
    }

    fn netns(&self) -> Result<PathBuf> {
        Ok(self.daemon.netns().context("no network namespace")?.path())
    }

    /// Debian's registry beside the engine.
    fn registry(&self, storage: &Path) -> Result<Registry> {
        let netns = self.netns()?;
        let storage = Some(storage.to_owned());
        Ok(Registry::start(&Options { netns: Some(&netns), port: PORT, storage, more: "" }))
    }

    /// Takes everything away that the next run would find.
    fn forget(&self) -> Result<()> {
        let images = String::from_utf8(self.command(&["images", "-q"]).output()?.stdout)?;
        let images: Vec<&str> = images.split_whitespace().collect();
        if !images.is_empty() {
            self.time(&[&["rmi", "-f"], &images[..]].concat())?;
        }
        self.time(&["system", "prune", "-f"])?;
        Ok(())
    }
}

/// One round each to warm up, then the runs in turn.
fn each(
    request: &Request,
    engines: &[Engine],
    work: impl Fn(&Engine) -> Result<Duration>,
) -> Result<Vec<Vec<Duration>>> {
    let mut times = vec![Vec::new(); engines.len()];
    for run in 0..=request.runs {
        for (engine, times) in engines.iter().zip(&mut times) {
            let took = work(engine)?;
            if run > 0 {
                times.push(took);
            }
        }
    }
    Ok(times)
}

fn seed(engine: &Engine, material: &Material, storage: &Path) -> Result<()> {
    let netns = engine.netns()?;
    let _registry = engine.registry(storage)?;
    material::run(
        Command::new("nsenter")
            .arg(format!("--net={}", netns.display()))
            .args(["--", "skopeo", "copy", "--quiet", "--dest-tls-verify=false"])
            .arg(format!("docker-archive:{}", material.layered.display()))
            .arg(format!("docker://127.0.0.1:{PORT}/{LAYERED}")),
    )
}

fn load(engine: &Engine, archive: &Path) -> Result<Duration> {
    engine.forget()?;
    engine.time(&["load", "-q", "-i", &archive.display().to_string()])
}

fn pull(engine: &Engine, storage: &Path) -> Result<Duration> {
    engine.forget()?;
    let _registry = engine.registry(storage)?;
    engine.time(&["pull", "-q", &format!("127.0.0.1:{PORT}/{LAYERED}")])
}

/// To a registry that has nothing.
fn push(engine: &Engine, archive: &Path) -> Result<Duration> {
    engine.forget()?;
    load(engine, archive)?;
    let name = format!("127.0.0.1:{PORT}/{LAYERED}");
    engine.time(&["tag", LAYERED, &name])?;
    let storage = TempDir::new_in(engine.scratch.path())?;
    let _registry = engine.registry(storage.path())?;
    engine.time(&["push", "-q", &name])
}

/// A Dockerfile such as people write: a few files, a few commands.
fn build(engine: &Engine, folder: &Path, cached: bool) -> Result<Duration> {
    let context = TempDir::new_in(engine.scratch.path())?;
    for number in 0..20 {
        std::fs::write(context.path().join(format!("file{number}")), vec![b'x'; 10_000])?;
    }
    std::fs::write(
        context.path().join("Dockerfile"),
        format!(
            "FROM {BASE}\nENV A=1\nWORKDIR /app\nCOPY . .\nRUN echo one > one\nRUN cat file1 > two && mkdir three\nCMD [\"bash\"]\n"
        ),
    )?;
    let path = context.path().display().to_string();
    if !cached {
        engine.forget()?;
        engine.time(&["load", "-q", "-i", &folder.join("base-image.tar").display().to_string()])?;
        return engine.time(&["build", "-q", "--no-cache", "-t", "bench/built", &path]);
    }
    let words = ["build", "-q", "-t", "bench/built", &path];
    engine.time(&words)?;
    engine.time(&words)
}

/// How large the image is.
fn size(archive: &Path, storage: &Path) -> Result<String> {
    let megabytes = |bytes: u64| bytes / 1_000_000;
    let plain = std::fs::metadata(archive)?.len();
    Ok(format!("{} MB, compressed {} MB", megabytes(plain), megabytes(used(storage)?)))
}

/// Bytes that a directory takes on disk, each inode once.
fn used(path: &Path) -> Result<u64> {
    let output = Command::new("du").args(["-sx", "--block-size=1"]).arg(path).output()?;
    let text = String::from_utf8(output.stdout)?;
    let first = text.split_whitespace().next().context("du says nothing")?;
    Ok(first.parse()?)
}

/// What the machine cannot do faster.
fn limits(archive: &Path, storage: &Path) -> Result<()> {
    let time = |script: &str| -> Result<Duration> {
        let began = Instant::now();
        material::run(Command::new("sh").args(["-ec", script]))?;
        Ok(began.elapsed())
    };
    let blobs = format!("find {} -name data -size +1M", storage.display());
    let hash = time(&format!("sha256sum {} >/dev/null", archive.display()))?;
    let inflate = time(&format!("{blobs} | xargs -P2 -n1 gzip -dc >/dev/null"))?;
    let folder = tempfile::tempdir_in(archive.parent().context("no folder")?)?;
    let write = time(&format!(
        "for n in 0 1 2 3 4; do tar -xOf {} $n/layer.tar | tar -C {} -x --skip-old-files; done; sync -f {}",
        archive.display(),
        folder.path().display(),
        folder.path().display()
    ))?;
    println!(
        "\nThe machine alone: SHA-256 of the plain layers {}, `gzip -d` of the compressed ones on two processors {}, GNU tar writing their files and a flush {}.",
        shown(hash),
        shown(inflate),
        shown(write)
    );
    Ok(())
}

/// Bytes on disk after three related images.
fn disk(engines: &[Engine], material: &Material) -> Result<()> {
    let mut all = Vec::new();
    for engine in engines {
        engine.forget()?;
        let data = engine.daemon.folder().join("data");
        let before = used(&data)?;
        for archive in &material.related {
            engine.time(&["load", "-q", "-i", &archive.display().to_string()])?;
        }
        material::run(Command::new("sync").arg("-f").arg(&data))?;
        all.push((engine.name, used(&data)?.saturating_sub(before)));
    }
    println!("\n| disk for three related images | |\n| --- | ---: |");
    for (name, bytes) in &all {
        println!("| {name} | {} MB |", bytes / 1_000_000);
    }
    if let [(_, ours), (_, theirs)] = all[..] {
        println!("\nOurs is {:.2} of theirs; the aim is 0.7.", ours as f64 / theirs as f64);
    }
    Ok(())
}
