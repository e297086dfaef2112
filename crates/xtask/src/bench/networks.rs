//! Thousands of networks: what the first costs, what the last costs, and how they go.

use super::{Request, contestants, median, memory, once, shown};
use anyhow::{Result, ensure};
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};
use testkit::Kind;

/// How many are made.
const MANY: usize = 4000;
/// How many of them, at either end, one figure is about.
const SOME: usize = 100;
/// So many times longer the last may take.
const BUDGET: f64 = 2.0;

pub(super) fn run(_: &Request, binary: &Path) -> Result<()> {
    let mut daemon = contestants::daemon(Kind::Isopod, Some(binary))?;
    let engine = daemon.engine();
    let before = memory::resident(daemon.pid());
    let began = Instant::now();
    let mut times = Vec::with_capacity(MANY);
    for number in 0..MANY {
        let body = json!({"Name": format!("many{number}")});
        let began = Instant::now();
        let answer = engine.post("/networks/create", &body);
        times.push(began.elapsed());
        ensure!(answer.status == 201, "network {number}: {}", answer.text());
    }
    let all = began.elapsed();
    let grown = memory::resident(daemon.pid()).saturating_sub(before);
    let middle = |part: &[Duration]| {
        let mut part = part.to_vec();
        part.sort();
        median(&part)
    };
    let (first, last) = (middle(&times[..SOME]), middle(&times[MANY - SOME..]));
    let ratio = last.as_secs_f64() / first.as_secs_f64();
    let began = Instant::now();
    daemon.restart();
    let again = began.elapsed();
    let engine = daemon.engine();
    let container = engine.create(json!({
        "Cmd": ["sleep", "1000"],
        "HostConfig": {"NetworkMode": format!("many{}", MANY - 1)},
    }));
    let began = Instant::now();
    container.start();
    let start = began.elapsed();
    container.remove();
    let mut prune = engine.prepared(binary);
    prune.args(["network", "prune", "-f"]);
    let pruned = once(&mut prune)?;
    println!("{MANY} networks, medians of {SOME}:\n");
    println!("| | |");
    println!("| --- | ---: |");
    println!("| the first | {} |", shown(first));
    println!("| in the middle | {} |", shown(middle(&times[MANY / 2..MANY / 2 + SOME])));
    println!("| the last | {} |", shown(last));
    println!("| the last to the first | {ratio:.2} |");
    println!("| all | {:.1} s |", all.as_secs_f64());
    println!("| the daemon's growth | {grown} KiB |");
    println!("| the daemon's start with all of them | {} |", shown(again));
    println!("| start of a container on the last | {} |", shown(start));
    println!("| prune | {:.1} s |", pruned.as_secs_f64());
    let verdict = if ratio <= BUDGET { "kept" } else { "missed" };
    println!("\nBudget {BUDGET} times the first: {verdict}.");
    Ok(())
}
