//! Measures us and every rival that is installed, in turn, in one run, and prints Markdown.
//!
//! Each round runs every contestant once, so that whatever else the machine does hits all alike.
//! Medians are compared, with the budget of the design beside them.

mod contestants;
mod density;
mod image;
mod memory;
mod names;
mod network;
mod networks;
mod registry;
mod vm;

use anyhow::{Context, Result, bail, ensure};
use contestants::Contestant;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// What the command line asked for.
struct Request {
    runs: usize,
    only: Vec<String>,
}

impl Request {
    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|one| name.contains(one.as_str()))
    }
}

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "containers need root");
    let Some((what, rest)) = arguments.split_first() else { bail!(super::USAGE) };
    let request = parse(rest)?;
    let binary = release_binary()?;
    machine();
    match what.as_str() {
        "start" => start(&request, &binary),
        "exec" => exec(&request, &binary),
        "density" => density::run(&request, &binary),
        "image" => image::run(&request, &binary),
        "names" => names::run(&request, &binary),
        "network" => network::run(&request, &binary),
        "networks" => networks::run(&request, &binary),
        "registry" => registry::run(&request, &binary),
        "vm" => vm::run(&request, &binary),
        _ => bail!(super::USAGE),
    }
}

fn parse(arguments: &[String]) -> Result<Request> {
    let mut request = Request { runs: 20, only: Vec::new() };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let value = rest.next().with_context(|| format!("{argument} needs a value"))?;
        match argument.as_str() {
            "--runs" => request.runs = value.parse().context("--runs takes a number")?,
            "--only" => request.only = value.split(',').map(str::to_owned).collect(),
            _ => bail!(super::USAGE),
        }
    }
    ensure!(request.runs > 0, "--runs must be more than nothing");
    Ok(request)
}

/// Figures of an unoptimised build would say nothing.
fn release_binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("ISOPOD_BINARY") {
        return Ok(path.into());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--locked", "-p", "isopod"])
        .current_dir(&root)
        .status()?;
    ensure!(status.success(), "the release build failed");
    Ok(root.join("target/release/isopod"))
}

fn machine() {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    println!("Linux {}, {processors} processors.\n", kernel.trim());
}

fn start(request: &Request, binary: &Path) -> Result<()> {
    let contestants = contestants::all(request, binary)?;
    measure(
        request,
        &contestants,
        "run --rm /bin/true",
        Some(Duration::from_millis(20)),
        Contestant::start,
    )
}

fn exec(request: &Request, binary: &Path) -> Result<()> {
    let mut contestants = contestants::all(request, binary)?;
    contestants.retain(Contestant::can_exec);
    let mut index = 0;
    while index < contestants.len() {
        match contestants[index].keep_one_running() {
            Ok(()) => index += 1,
            Err(error) if index == 0 => return Err(error),
            Err(error) => {
                println!("{error:#}\n");
                contestants.remove(index);
            }
        }
    }
    measure(
        request,
        &contestants,
        "exec /bin/true",
        Some(Duration::from_millis(5)),
        Contestant::exec,
    )
}

fn measure(
    request: &Request,
    contestants: &[Contestant],
    what: &str,
    budget: Option<Duration>,
    command: impl Fn(&Contestant) -> Command,
) -> Result<()> {
    // The first round warms caches and is not counted; who cannot run here is left out.
    let mut able = Vec::new();
    for contestant in contestants {
        match once(&mut command(contestant)).and_then(|_| contestant.settle()) {
            Ok(()) => able.push(contestant),
            Err(error) if able.is_empty() => return Err(error.context(contestant.name.clone())),
            Err(error) => println!("{} cannot run here: {error:#}\n", contestant.name),
        }
    }
    let contestants = able;
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); contestants.len()];
    for _ in 0..request.runs {
        for (contestant, times) in contestants.iter().zip(&mut times) {
            let took = once(&mut command(contestant)).with_context(|| contestant.name.clone())?;
            times.push(took);
            contestant.settle()?;
        }
    }
    println!("`{what}`, median of {} runs in turn:\n", request.runs);
    println!("| engine | network | median | fastest | slowest | times ours |");
    println!("| --- | --- | ---: | ---: | ---: | ---: |");
    for times in &mut times {
        times.sort();
    }
    let ours = median(&times[0]);
    for (contestant, times) in contestants.iter().zip(&times) {
        println!(
            "| {} | {} | {} | {} | {} | {:.1} |",
            contestant.name,
            contestant.network,
            shown(median(times)),
            shown(times[0]),
            shown(times[times.len() - 1]),
            median(times).as_secs_f64() / ours.as_secs_f64()
        );
    }
    let whole = budget.map(|budget| (String::new(), budget, ours));
    let own = contestants.iter().zip(&times).filter_map(|(contestant, times)| {
        Some((format!(" of {}", contestant.name), contestant.budget?, median(times)))
    });
    for (whose, budget, took) in whole.into_iter().chain(own) {
        let verdict = if took <= budget { "kept" } else { "missed" };
        println!("\nBudget{whose} {}: {verdict}.", shown(budget));
    }
    Ok(())
}

/// Runs a command; how long it took from start to end.
fn once(command: &mut Command) -> Result<Duration> {
    let began = Instant::now();
    let output = command.output()?;
    let took = began.elapsed();
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(took)
}

/// Of sorted times.
fn median(times: &[Duration]) -> Duration {
    let middle = times.len() / 2;
    if times.len().is_multiple_of(2) {
        (times[middle - 1] + times[middle]) / 2
    } else {
        times[middle]
    }
}

fn shown(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        let times =
            |list: &[u64]| list.iter().map(|ms| Duration::from_millis(*ms)).collect::<Vec<_>>();
        assert_eq!(median(&times(&[1, 2, 9])), Duration::from_millis(2));
        assert_eq!(median(&times(&[1, 2, 4, 9])), Duration::from_millis(3));
    }

    #[test]
    fn arguments() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let request = parse(&words("--runs 5 --only isopod,crun")).expect("valid");
        assert_eq!(request.runs, 5);
        assert!(request.wants("crun") && !request.wants("podman"));
        assert!(parse(&words("--runs")).is_err());
    }
}
