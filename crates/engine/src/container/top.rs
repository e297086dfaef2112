//! What runs in a container and how much it uses.

use std::collections::BTreeSet;

use proto::control::{Reply, Request, Sample};
use types::{ContainerId, Error, ErrorKind, Timestamp};

use super::guest_top;
use crate::record::MachineSize;
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
    /// Nanoseconds that all CPUs have spent: the host's, or as many as its machine has.
    pub system_cpu_ns: u64,
    /// How many CPUs the host has, or its machine.
    pub online_cpus: usize,
    /// Bytes of the host's memory, or its machine's: the limit of a container without one.
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
        let arguments = if arguments.trim().is_empty() { "-ef" } else { arguments };
        let words: Vec<String> = arguments.split_whitespace().map(str::to_owned).collect();
        container.refuse_whole("a list of its processes")?;
        container.settled().await;
        if container.record().is_machine() {
            let top = match container.ask(Request::Processes, None).await? {
                Reply::Processes(processes) => guest_top::print(&words, &processes)?,
                other => {
                    let why = format!("the monitor answered processes with {other:?}");
                    return Err(Error::system(why));
                }
            };
            self.tell_container(&container, "top", &[]);
            return Ok(top);
        }
        let pids: BTreeSet<i32> = match container.ask(Request::Pids, None).await? {
            Reply::Pids(pids) => pids.into_iter().collect(),
            other => {
                return Err(Error::system(format!("the monitor answered pids with {other:?}")));
            }
        };
        check(&words)?;
        let wanted = pids.clone();
        let output = blocking(move || list(&words, &wanted)).await?;
        let top = parse(&output, &pids)?;
        self.tell_container(&container, "top", &[]);
        Ok(top)
    }

    /// How much a container uses now.
    ///
    /// # Errors
    /// Not found; those of its monitor.
    pub async fn stats(&self, reference: &str) -> Result<StatsSample, Error> {
        let container = self.containers.find(reference)?;
        container.settled().await;
        let sample = match container.ask(Request::Stats, None).await {
            Ok(Reply::Sample(sample)) => Some(sample),
            Ok(other) => {
                return Err(Error::system(format!("the monitor answered stats with {other:?}")));
            }
            // It does not run.
            Err(error) if error.kind == ErrorKind::Conflict => None,
            Err(error) => return Err(error),
        };
        let name = container.record().name.clone();
        let host = Share {
            system_cpu_ns: system_cpu()?,
            cpus: self.cpus,
            memory: crate::info::memory_total(),
        };
        let machine = container.live().and_then(|live| live.run.machine);
        let share = machine.map_or(host, |size| host.of(size));
        Ok(StatsSample {
            id: container.id.clone(),
            name,
            at: Timestamp::now(),
            sample,
            system_cpu_ns: share.system_cpu_ns,
            online_cpus: share.cpus,
            memory_total: share.memory,
        })
    }

    /// Whether a container runs, for streams that end with it.
    pub fn is_running(&self, reference: &str) -> bool {
        self.containers.find(reference).is_ok_and(|container| container.running().is_ok())
    }
}

/// What a container without limits could use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    system_cpu_ns: u64,
    cpus: usize,
    memory: u64,
}

impl Share {
    /// That of a virtual machine: the host's time is counted as if it had as many processors, so
    /// that a machine that uses all of its own uses all.
    fn of(self, size: MachineSize) -> Self {
        let cpus = size.cpus as usize;
        let time = u128::from(self.system_cpu_ns) * cpus as u128 / self.cpus.max(1) as u128;
        Self { system_cpu_ns: u64::try_from(time).unwrap_or(u64::MAX), cpus, memory: size.memory }
    }
}

/// Nobody may call another column PID: by that name the container's processes are told from the
/// others.
fn check(words: &[String]) -> Result<(), Error> {
    for word in words.iter().flat_map(|word| word.split(',')) {
        let Some((column, title)) = word.split_once('=') else { continue };
        let pid = column == "pid" || column.starts_with('-') && column.ends_with("opid");
        if title.starts_with("PID") && !pid {
            return Err(Error::invalid(format!("specifying \"{word}\" is not allowed")));
        }
    }
    Ok(())
}

/// What ps(1) says. It is asked for the processes alone, so that it need not look at all of the
/// host's; some options do not go with that.
fn list(words: &[String], pids: &BTreeSet<i32>) -> Result<String, Error> {
    let pids: Vec<String> = pids.iter().map(ToString::to_string).collect();
    let run = |more: Option<String>| {
        let output = std::process::Command::new("ps").args(words).args(more).output();
        output.map_err(|error| {
            Error::system(format!("cannot run ps: {error}; install procps on the host"))
        })
    };
    let few = run(Some(format!("-q{}", pids.join(","))))?;
    let output = if few.status.success() { few } else { run(None)? };
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    let why = message.lines().next().map_or(output.status.to_string(), str::to_owned);
    Err(Error::system(format!("ps: {why}")))
}

/// Takes the rows of the container's processes out of what ps printed.
fn parse(output: &str, pids: &BTreeSet<i32>) -> Result<Top, Error> {
    let mut lines = output.lines();
    let titles: Vec<String> =
        lines.next().unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    let column = titles
        .iter()
        .position(|title| title == "PID")
        .ok_or_else(|| Error::system("Couldn't find PID field in ps output"))?;
    let mut processes = Vec::new();
    let mut ours = false;
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        // A line of a thread has no number: it belongs to the process above.
        ours = match words.get(column) {
            Some(&"-") => ours,
            Some(word) => word.parse().is_ok_and(|pid| pids.contains(&pid)),
            None => false,
        };
        if !ours {
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

    #[test]
    fn threads_belong_to_the_process_above_them() {
        let output = "PID SPID CMD\n42 - sh\n- 42 -\n1 - init\n- 1 -\n";
        let top = parse(output, &BTreeSet::from([42])).expect("parsed");
        assert_eq!(top.processes, [["42", "-", "sh"], ["-", "42", "-"]]);
    }

    #[test]
    fn no_other_column_is_called_pid() {
        let check = |text: &str| {
            let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            check(&words).is_ok()
        };
        assert!(check("-ef") && check("-o pid=PID,comm") && check("aux --sort=pid"));
        assert!(!check("-o comm=PID") && !check("-o user,ppid=PIDS"));
    }
}
