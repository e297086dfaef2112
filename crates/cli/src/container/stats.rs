//! `stats`.

use std::collections::BTreeMap;
use std::time::Duration;

use docker_api::client::{Client, Error, Method, Target, empty};
use docker_api::container::ContainerSummary;
use docker_api::stats::StatsResponse;
use futures_util::future::join_all;

use crate::failure::{Failure, describe_client};
use crate::session::Session;
use crate::show::format::{Format, Layout, Line, fields};
use crate::show::human;

/// `stats`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show those that do not run as well
    #[arg(short, long)]
    all: bool,
    /// How to show them: table, json, a template, or table and a template
    #[arg(long, default_value = "", hide_default_value = true)]
    format: String,
    /// Show one reading and end
    #[arg(long)]
    no_stream: bool,
    /// Show ids in full length
    #[arg(long)]
    no_trunc: bool,
    /// Containers; all that run when none is named
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

const LAYOUT: Layout = Layout {
    fields: &[
        ("BlockIO", "BLOCK I/O"),
        ("CPUPerc", "CPU %"),
        ("Container", "CONTAINER"),
        ("ID", "CONTAINER ID"),
        ("MemPerc", "MEM %"),
        ("MemUsage", "MEM USAGE / LIMIT"),
        ("Name", "NAME"),
        ("NetIO", "NET I/O"),
        ("PIDs", "PIDS"),
    ],
    table: "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}",
    quiet: "{{.ID}}",
};

/// What one container uses now.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Usage {
    cpu_percent: f64,
    memory: f64,
    limit: f64,
    received: f64,
    sent: f64,
    read: f64,
    written: f64,
    tasks: u64,
}

#[allow(clippy::cast_precision_loss, reason = "shown with three digits")]
fn usage(stats: &StatsResponse) -> Usage {
    let memory = &stats.memory_stats;
    // Cache that can be dropped is not counted: v1 calls it one thing, v2 another.
    let cache = ["total_inactive_file", "inactive_file"]
        .iter()
        .find_map(|name| memory.stats.get(*name))
        .filter(|cache| **cache < memory.usage)
        .copied()
        .unwrap_or(0);
    let sum = |of: fn(&docker_api::stats::NetworkStats) -> u64| -> f64 {
        stats.networks.values().fold(0.0, |all, n| all + of(n) as f64)
    };
    let block = |letter: char| -> f64 {
        let entries = stats.blkio_stats.io_service_bytes_recursive.iter();
        entries
            .filter(|entry| entry.op.to_ascii_lowercase().starts_with(letter))
            .fold(0.0, |all, entry| all + entry.value as f64)
    };
    Usage {
        cpu_percent: cpu_percent(stats),
        memory: (memory.usage - cache) as f64,
        limit: memory.limit as f64,
        received: sum(|n| n.rx_bytes),
        sent: sum(|n| n.tx_bytes),
        read: block('r'),
        written: block('w'),
        tasks: stats.pids_stats.current,
    }
}

#[allow(clippy::cast_precision_loss, reason = "shown with two decimals")]
fn cpu_percent(stats: &StatsResponse) -> f64 {
    let (now, before) = (&stats.cpu_stats, &stats.precpu_stats);
    let used = now.cpu_usage.total_usage as f64 - before.cpu_usage.total_usage as f64;
    let passed = now.system_cpu_usage as f64 - before.system_cpu_usage as f64;
    let cpus = match now.online_cpus {
        0 => now.cpu_usage.percpu_usage.len() as f64,
        cpus => f64::from(cpus),
    };
    if used > 0.0 && passed > 0.0 { used / passed * cpus * 100.0 } else { 0.0 }
}

fn line(container: &str, stats: Option<&StatsResponse>, full: bool) -> Line {
    let values = match stats {
        None => vec![
            ("BlockIO", "--".into()),
            ("CPUPerc", "--".into()),
            ("Container", container.to_owned()),
            ("ID", "--".into()),
            ("MemPerc", "--".into()),
            ("MemUsage", "-- / --".into()),
            ("Name", "--".into()),
            ("NetIO", "--".into()),
            ("PIDs", "--".into()),
        ],
        Some(stats) => {
            let now = usage(stats);
            let percent = if now.limit > 0.0 { now.memory / now.limit * 100.0 } else { 0.0 };
            let pair = |a: f64, b: f64| {
                format!("{} / {}", human::size_float(a, 3), human::size_float(b, 3))
            };
            let id = if full { stats.id.as_str() } else { human::short_id(&stats.id) };
            vec![
                ("BlockIO", pair(now.read, now.written)),
                ("CPUPerc", format!("{:.2}%", now.cpu_percent)),
                ("Container", container.to_owned()),
                ("ID", id.to_owned()),
                ("MemPerc", format!("{percent:.2}%")),
                (
                    "MemUsage",
                    format!("{} / {}", human::binary(now.memory), human::binary(now.limit)),
                ),
                ("Name", stats.name.trim_start_matches('/').to_owned()),
                ("NetIO", pair(now.received, now.sent)),
                ("PIDs", now.tasks.to_string()),
            ]
        }
    };
    Line { fields: fields(values), labels: BTreeMap::new() }
}

async fn names(client: &Client, args: &Args) -> Result<Vec<String>, Error> {
    if !args.containers.is_empty() {
        return Ok(args.containers.clone());
    }
    let target = Target::new("/containers/json").flag("all", args.all);
    let containers: Vec<ContainerSummary> = client.get(&target).await?;
    Ok(containers.into_iter().map(|container| container.id).collect())
}

pub(crate) async fn stats(session: &Session, args: Args) -> anyhow::Result<u8> {
    let client = session.client()?;
    let config = session.config();
    let format = Format::choose(&LAYOUT, &args.format, &config.stats_format, false);
    format.parse()?;
    if args.no_stream {
        return once(session, client, &args, &format).await;
    }
    let mut latest: BTreeMap<String, StatsResponse> = BTreeMap::new();
    let mut streams: BTreeMap<String, _> = BTreeMap::new();
    let named = !args.containers.is_empty();
    loop {
        let order = names(client, &args).await?;
        streams.retain(|name, _| order.contains(name));
        latest.retain(|name, _| order.contains(name));
        for name in &order {
            if !streams.contains_key(name) {
                let target = Target::named("/containers", name, "/stats").with("stream", "1");
                let opened =
                    client.json_stream::<StatsResponse>(Method::GET, &target, None, empty()).await;
                match opened {
                    Ok(stream) => drop(streams.insert(name.clone(), stream)),
                    Err(error) if named => return Err(error.into()),
                    Err(_) => {}
                }
            }
        }
        // A reading comes once a second; whoever has ended sends none.
        let readings = join_all(streams.iter_mut().map(async |(name, stream)| {
            let reading = tokio::time::timeout(Duration::from_millis(1500), stream.next()).await;
            (name.clone(), reading)
        }))
        .await;
        let mut ended = Vec::new();
        for (name, reading) in readings {
            match reading {
                Ok(Ok(Some(stats))) => drop(latest.insert(name, stats)),
                Ok(_) => ended.push(name),
                Err(_) => {}
            }
        }
        for name in ended {
            streams.remove(&name);
        }
        let lines: Vec<Line> =
            order.iter().map(|name| line(name, latest.get(name), args.no_trunc)).collect();
        // Home, and what is left of the picture before is cleared.
        let head = if format.is_table() { "\x1b[H\x1b[2J" } else { "" };
        session.text(&format!("{head}{}", format.render(&LAYOUT, &lines)?));
        if streams.is_empty() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

async fn once(
    session: &Session,
    client: &Client,
    args: &Args,
    format: &Format,
) -> anyhow::Result<u8> {
    let order = names(client, args).await?;
    let readings = join_all(order.iter().map(async |name| {
        let target = Target::named("/containers", name, "/stats").with("stream", "0");
        client.get::<StatsResponse>(&target).await
    }))
    .await;
    let (mut lines, mut failed) = (Vec::new(), Vec::new());
    for (name, reading) in order.iter().zip(readings) {
        match reading {
            Ok(stats) => lines.push(line(name, Some(&stats), args.no_trunc)),
            Err(error @ Error::Connect { .. }) => return Err(error.into()),
            // It has ended since it was listed.
            Err(_) if args.containers.is_empty() => {}
            Err(error) => failed.push(describe_client(&error)),
        }
    }
    if !failed.is_empty() {
        return Err(Failure::with(1, failed.join("\n")));
    }
    session.text(&format.render(&LAYOUT, &lines)?);
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_dockers() {
        let mut stats = StatsResponse::default();
        stats.cpu_stats.cpu_usage.total_usage = 300;
        stats.cpu_stats.system_cpu_usage = 2000;
        stats.cpu_stats.online_cpus = 4;
        stats.precpu_stats.cpu_usage.total_usage = 200;
        stats.precpu_stats.system_cpu_usage = 1000;
        stats.memory_stats.usage = 1000;
        stats.memory_stats.limit = 4000;
        stats.memory_stats.stats.insert("inactive_file".into(), 200);
        let now = usage(&stats);
        assert!((now.cpu_percent - 40.0).abs() < 1e-9);
        assert!((now.memory - 800.0).abs() < 1e-9);
    }
}
