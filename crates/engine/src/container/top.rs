//! What runs in a container and how much it uses.

use std::collections::BTreeSet;

use proto::control::{Reply, Request, Sample};
use types::{ContainerId, Error, Timestamp};

use crate::{Engine, blocking};

/// The processes of a container, as ps(1) prints them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Top {
    /// The columns' names.
    pub titles: Vec<String>,
    /// A row a process.
    pub processes: Vec<Vec<String>>,
}

/// One reading of a container's counters, and of the host's beside it.
#[derive(Clone, Debug)]
pub struct StatsSample {
    /// The container.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// When it was read.
    pub at: Timestamp,
    /// Its counters; `None` when it does not run.
    pub sample: Option<Box<Sample>>,
    /// Nanoseconds that all CPUs of the host have spent.
    pub system_cpu_ns: u64,
    /// How many CPUs the host has.
    pub online_cpus: usize,
    /// Bytes of the host's memory: the limit of a container without one.
    pub memory_total: u64,
}

impl Engine {
    /// The processes of a running container.
    ///
    /// # Errors
    /// [`types::ErrorKind::Conflict`] when it does not run; [`types::ErrorKind::System`] when the
    /// host has no ps(1) or it does not like the arguments.
    pub async fn top(&self, reference: &str, arguments: &str) -> Result<Top, Error> {
        let container = self.containers.find(reference)?;
        let live = container.running()?;
        let pids: BTreeSet<i32> = match live.link.ask(Request::Pids, None).await? {
            Reply::Pids(pids) => pids.into_iter().collect(),
            other => {
                return Err(Error::system(format!("the monitor answered pids with {other:?}")));
            }
        };
        let arguments = if arguments.trim().is_empty() { "-ef" } else { arguments };
        let words: Vec<String> = arguments.split_whitespace().map(str::to_owned).collect();
        if words.iter().any(|word| word.contains("pid,") && word.starts_with("--")) {
            return Err(Error::invalid("specifying \"--pid\" is not allowed in arguments"));
        }
        let output = blocking(move || {
            std::process::Command::new("ps").args(&words).output().map_err(|error| {
                Error::system(format!("cannot run ps: {error}; install procps on the host"))
            })
        })
        .await?;
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(Error::system(format!("ps: {message}")));
        }
        let top = parse(&String::from_utf8_lossy(&output.stdout), &pids)?;
        self.tell_container(&container, "top", &[]);
        Ok(top)
    }

    /// How much a container uses now.
    ///
    /// # Errors
    /// Not found; those of its monitor.
    pub async fn stats(&self, reference: &str) -> Result<StatsSample, Error> {
        let container = self.containers.find(reference)?;
        let sample = match container.running() {
            Err(_) => None,
            Ok(live) => match live.link.ask(Request::Stats, None).await {
                Ok(Reply::Sample(sample)) => Some(sample),
                Ok(other) => {
                    return Err(Error::system(format!(
                        "the monitor answered stats with {other:?}"
                    )));
                }
                // It has just ended.
                Err(_) if container.running().is_err() => None,
                Err(error) => return Err(error),
            },
        };
        let name = container.record().name.clone();
        Ok(StatsSample {
            id: container.id.clone(),
            name,
            at: Timestamp::now(),
            sample,
            system_cpu_ns: system_cpu()?,
            online_cpus: self.cpus,
            memory_total: crate::info::memory_total(),
        })
    }

    /// Whether a container runs, for streams that end with it.
    pub fn is_running(&self, reference: &str) -> bool {
        self.containers.find(reference).is_ok_and(|container| container.running().is_ok())
    }
}

/// Takes the rows of the container's processes out of what ps printed.
fn parse(output: &str, pids: &BTreeSet<i32>) -> Result<Top, Error> {
    let mut lines = output.lines();
    let titles: Vec<String> =
        lines.next().unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    let column = titles.iter().position(|title| title == "PID").ok_or_else(|| {
        Error::system("Couldn't find PID field in ps output: ask for the pid column too")
    })?;
    let mut processes = Vec::new();
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        let pid = words.get(column).and_then(|word| word.parse::<i32>().ok());
        if !pid.is_some_and(|pid| pids.contains(&pid)) {
            continue;
        }
        // The last column is the command, which may have spaces.
        let last = titles.len().saturating_sub(1).min(words.len());
        let mut row: Vec<String> = words[..last].iter().map(|&word| word.to_owned()).collect();
        if last < words.len() {
            row.push(words[last..].join(" "));
        }
        processes.push(row);
    }
    Ok(Top { titles, processes })
}

/// Time that all CPUs have spent, from the first line of /proc/stat (proc(5)), whose unit is
/// 1/100 second on every architecture that Linux lets user space see.
fn system_cpu() -> Result<u64, Error> {
    let failed = |what: &str| Error::system(format!("cannot read /proc/stat: {what}"));
    let text = std::fs::read_to_string("/proc/stat").map_err(|e| failed(&e.to_string()))?;
    let line = text.lines().next().filter(|line| line.starts_with("cpu "));
    let line = line.ok_or_else(|| failed("no cpu line"))?;
    // user nice system idle iowait irq softirq: guest time is contained in user time.
    let ticks: u64 =
        line.split_ascii_whitespace().skip(1).take(7).filter_map(|n| n.parse::<u64>().ok()).sum();
    Ok(ticks.saturating_mul(10_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_other_processes_are_left_out() {
        let output = "UID PID CMD\nroot 1 init\nroot 42 sleep 10 20\n";
        let top = parse(output, &BTreeSet::from([42])).expect("parsed");
        assert_eq!(top.titles, ["UID", "PID", "CMD"]);
        assert_eq!(top.processes, [["root", "42", "sleep 10 20"]]);
        assert!(parse("UID CMD\n", &BTreeSet::new()).is_err());
    }
}
