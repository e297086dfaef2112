//! `compare`: one image natively, behind each wall, side by side.
//!
//! ```text
//!  compare ── native ──► this program as a plain process          ┐
//!     │                                                           ├─ work: the same tasks
//!     └── daemon's API ─► the image with this program in it       ┘
//!                         behind the wall `process`, and `vm`
//! ```
//!
//! The image's own command is not run: it may be a server that never ends. What is run instead is
//! this program, which brings the work along ([`work`]), so that an image without a shell will do.
//! It knows nothing of how walls are built; the memory that they cost is seen from outside
//! ([`processes`]), which takes root on the daemon's own host.

mod container;
mod image;
mod machine;
mod measure;
mod native;
mod number;
mod page;
mod probe;
mod processes;
mod progress;
mod report;
mod sizes;
mod table;
mod words;
pub(crate) mod work;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use docker_api::client::{Endpoint, Target};
use docker_api::system::Info;
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::Failure;
use crate::session::Session;
use crate::verbs::{Verb, verb};

use container::Maker;
use image::Mark;
use machine::Machine;
use measure::Measuring;
use native::Place;
use progress::Progress;
use report::{Report, Wall};
use sizes::Sizes;

/// The command.
pub(crate) static VERBS: &[Verb] = &[verb!(
    "compare", [], 1..=1, "[OPTIONS] IMAGE",
    "Measure what an image costs natively, behind each wall",
    Args => compare
)];

/// How long the removal of everything may take after a failure or a signal.
const SWEEPING: Duration = Duration::from_secs(60);

/// `compare`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How to print the result: table or json
    #[arg(long, default_value = "table", hide_default_value = true, value_name = "table|json")]
    format: String,
    /// Where to write the page with the plots ("" for nowhere)
    #[arg(short, long, default_value = "isopod-compare.html", value_name = "FILE")]
    output: String,
    /// A first look: small pieces of work, and one run of each
    #[arg(long)]
    quick: bool,
    /// How often each is measured [default: 5]
    #[arg(long, value_name = "NUMBER")]
    runs: Option<usize>,
    /// Which walls to compare with a plain process
    #[arg(long, default_value = "process,vm", value_name = "WALL,...")]
    walls: String,
    /// Image
    #[arg(value_name = "IMAGE")]
    image: Vec<String>,
}

/// What the options come to.
#[derive(Debug)]
struct Plan {
    json: bool,
    page: Option<PathBuf>,
    runs: usize,
    walls: Vec<Wall>,
}

impl Args {
    fn plan(&self) -> anyhow::Result<Plan> {
        let json = match self.format.as_str() {
            "table" => false,
            "json" => true,
            other => anyhow::bail!("unknown format {other:?}: it is table or json"),
        };
        let runs = self.runs.unwrap_or(if self.quick { 1 } else { 5 });
        anyhow::ensure!(runs > 0, "--runs must be more than nothing");
        let page = (!self.output.is_empty()).then(|| PathBuf::from(&self.output));
        Ok(Plan { json, page, runs, walls: walls(&self.walls)? })
    }
}

/// The native column, and one for each word.
fn walls(text: &str) -> anyhow::Result<Vec<Wall>> {
    let mut walls = vec![Wall::Native];
    for word in text.split(',').map(str::trim) {
        let wall = match word {
            "process" => Wall::Process,
            "vm" => Wall::Vm,
            "native" => continue,
            other => anyhow::bail!("unknown wall {other:?}: it is process or vm"),
        };
        if !walls.contains(&wall) {
            walls.push(wall);
        }
    }
    anyhow::ensure!(walls.len() > 1, "--walls names no wall: it is process, vm or both");
    Ok(walls)
}

async fn compare(session: &Session, args: Args) -> anyhow::Result<u8> {
    let plan = args.plan()?;
    let endpoint = &session.destination()?.endpoint;
    if !matches!(endpoint, Endpoint::Unix(_)) {
        anyhow::bail!(
            "the daemon at {endpoint} may be on another host, and a plain process of this one says \
             nothing about that: run this there"
        );
    }
    if let Some(page) = &plan.page {
        check(page)?;
    }
    let image = args.image.first().map_or("", String::as_str);
    let info: Info = session.client()?.get(&Target::new("/info")).await?;
    let sizes = if args.quick { Sizes::quick() } else { Sizes::full() };
    let mut report = Report::new(image, &plan.walls, Machine::look(&info));
    (report.runs, report.quick) = (plan.runs, args.quick);
    measured(session, &info, &sizes, &mut report).await?;
    if let Some(page) = &plan.page {
        let text = page::render(&report, &sizes);
        std::fs::write(page, text).with_context(|| page.display().to_string())?;
    }
    if plan.json {
        session.line(&serde_json::to_string_pretty(&report)?);
    } else {
        session.text(&table::render(&report));
    }
    if let Some(page) = plan.page.as_ref().filter(|_| !plan.json) {
        session.line(&format!("The page with the plots: {}", page.display()));
    }
    // A wall that this host cannot have is no failure of the comparison, unless none is left.
    Ok(u8::from((1..report.columns.len()).all(|column| !report.has_figures(column))))
}

/// Says at once that a file cannot be written, not after minutes.
fn check(path: &Path) -> anyhow::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if folder.is_some_and(|folder| !folder.is_dir()) || path.is_dir() {
        anyhow::bail!("{} cannot be written: give --output another name", path.display());
    }
    Ok(())
}

/// Fills the report. Whatever happens meanwhile, nothing of it is left on the daemon or the host.
async fn measured(
    session: &Session,
    info: &Info,
    sizes: &Sizes,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mark = Mark::new();
    let data_root = Path::new(&info.docker_root_dir);
    let mut end = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
        .map(signal)
        .into_iter()
        .collect::<std::io::Result<Vec<_>>>()?;
    let done = tokio::select! {
        done = measuring(session, info, sizes, report, &mark) => done,
        _ = futures_util::future::select_all(end.iter_mut().map(|one| Box::pin(one.recv()))) => {
            Err(Failure::with(130, "interrupted: what was made is removed"))
        }
    };
    Progress::new().clear();
    // A request that was broken off may make something yet.
    let looks = if done.is_ok() { 2 } else { 100 };
    let swept = tokio::time::timeout(SWEEPING, mark.sweep(session.client()?, looks)).await;
    let swept = swept.unwrap_or_else(|_| Err(anyhow::anyhow!("the daemon takes too long")));
    let cleaned = measure::clean(data_root);
    done?;
    swept.context("what was made could not be removed")?;
    cleaned.context("what plain processes wrote could not be removed")
}

async fn measuring(
    session: &Session,
    info: &Info,
    sizes: &Sizes,
    report: &mut Report,
    mark: &Mark,
) -> anyhow::Result<()> {
    let progress = Progress::new();
    progress.say("making an image with the program in it");
    let image = image::prepare(session, &report.image, mark).await?;
    let walls = info.runtimes.contains_key("vm");
    for column in report.columns.iter_mut().filter(|column| column.wall == Wall::Vm && !walls) {
        column.failure = Some("the daemon has no runtime vm".to_owned());
    }
    let data_root = PathBuf::from(&info.docker_root_dir);
    let measuring = Measuring {
        maker: Maker { client: session.client()?, image, mark, walls },
        sizes: sizes.clone(),
        runs: report.runs,
        place: Place::find(&data_root),
        data_root,
        progress,
    };
    measuring.all(report).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::FromArgMatches as _;

    fn plan(words: &[&str]) -> Result<Plan, String> {
        let command = VERBS[0].command("compare", "isopod compare");
        let words = std::iter::once(&"isopod compare").chain(words);
        let matches = command.try_get_matches_from(words).map_err(|error| error.to_string())?;
        let args = Args::from_arg_matches(&matches).map_err(|error| error.to_string())?;
        args.plan().map_err(|error| error.to_string())
    }

    #[test]
    fn options_come_to_a_plan() {
        let usual = plan(&["busybox"]).expect("a plan");
        assert!(!usual.json && usual.runs == 5);
        assert_eq!(usual.walls, [Wall::Native, Wall::Process, Wall::Vm]);
        assert_eq!(usual.page, Some(PathBuf::from("isopod-compare.html")));
        let quick = plan(&["--quick", "--walls", "vm, vm", "--output", "", "x"]).expect("a plan");
        assert_eq!((quick.runs, quick.page), (1, None));
        assert_eq!(quick.walls, [Wall::Native, Wall::Vm]);
        let exact = plan(&["--quick", "--runs", "3", "--format", "json", "x"]).expect("a plan");
        assert!(exact.json && exact.runs == 3);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (words, part) in [
            (["--runs", "0"], "more than nothing"),
            (["--walls", "paper"], "unknown wall \"paper\""),
            (["--walls", "native"], "names no wall"),
            (["--format", "xml"], "table or json"),
            (["--runs", "many"], "invalid"),
        ] {
            let error = plan(&[words[0], words[1], "x"]).expect_err("refused");
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_page_that_cannot_be_written_is_refused_before_anything_is_done() {
        assert!(check(Path::new("/no/such/folder/x.html")).is_err());
        assert!(check(Path::new("/tmp")).is_err());
        assert!(check(Path::new("x.html")).is_ok());
    }
}
