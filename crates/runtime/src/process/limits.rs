//! Resource limits, `oom_score_adj`, scheduling.

use oci_spec::runtime::{
    IOPriorityClass, LinuxSchedulerFlag, LinuxSchedulerPolicy, PosixRlimit, PosixRlimitType,
    Process,
};
use sys::process::{IoPriority, Sched};

use crate::channel::Channel;
use crate::create::Asked;
use crate::error::{Context, Error, Result, Step};

/// What to set, and what of it the user asked for by name.
#[derive(Debug)]
pub(crate) struct LimitPlan {
    rlimits: Vec<(PosixRlimit, bool)>,
    oom_score_adj: Option<(i32, bool)>,
    sched: Option<Sched>,
    io: Option<IoPriority>,
    cpus: Option<Vec<usize>>,
}

impl LimitPlan {
    /// Reads the specification.
    pub(crate) fn new(process: &Process, asked: &Asked) -> Result<LimitPlan> {
        let mut rlimits: Vec<(PosixRlimit, bool)> = Vec::new();
        for limit in process.rlimits().iter().flatten() {
            if rlimits.iter().any(|(l, _)| l.typ() == limit.typ()) {
                return Err(Error::Spec(format!("rlimit {} is given twice", limit.typ()).into()));
            }
            rlimits.push((*limit, asked.rlimits.contains(&limit.typ())));
        }
        let cpus = process.exec_cpu_affinity().as_ref();
        let cpus = cpus.and_then(|a| a.cpu_affinity_final().clone().or(a.initial().clone()));
        Ok(LimitPlan {
            rlimits,
            oom_score_adj: process.oom_score_adj().map(|adj| (adj, asked.oom_score_adj)),
            sched: process.scheduler().as_ref().map(sched),
            io: process.io_priority().as_ref().map(|io| IoPriority {
                class: match io.class() {
                    IOPriorityClass::IoprioClassRt => 1,
                    IOPriorityClass::IoprioClassBe => 2,
                    IOPriorityClass::IoprioClassIdle => 3,
                },
                level: io.priority().clamp(0, 7) as u8,
            }),
            cpus: cpus.map(|text| parse_cpus(&text)).transpose()?,
        })
    }

    /// Sets the resource limits: late, for a low one would starve our own work.
    pub(crate) fn apply_rlimits(&self, channel: &Channel) -> Result<()> {
        for (limit, asked) in &self.rlimits {
            set_rlimit(limit, *asked, channel)?;
        }
        Ok(())
    }

    /// Sets all else, while `/proc` is the host's.
    pub(crate) fn apply(&self, channel: &Channel) -> Result<()> {
        if let Some((adj, asked)) = self.oom_score_adj {
            set_oom_score(adj, asked, channel)?;
        }
        if let Some(sched) = self.sched {
            sys::process::set_sched(sched)
                .context(Step::Scheduler, || "error setting scheduler policy")?;
        }
        if let Some(io) = self.io {
            sys::process::set_ioprio(io)
                .context(Step::Scheduler, || "error setting I/O priority")?;
        }
        if let Some(cpus) = &self.cpus {
            sys::process::set_affinity(cpus)
                .context(Step::Scheduler, || "error setting CPU affinity")?;
        }
        Ok(())
    }
}

fn set_rlimit(limit: &PosixRlimit, asked: bool, channel: &Channel) -> Result<()> {
    let (soft, hard) = (limit.soft(), limit.hard());
    match sys::process::set_rlimit(resource(limit.typ()), soft, hard) {
        // Raising the hard limit takes CAP_SYS_RESOURCE, which the host may keep from us.
        Err(e) if e.raw_os_error() == Some(sys::errno::EPERM) && !asked => {
            let Ok((_, max)) = sys::process::get_rlimit(resource(limit.typ())) else {
                return Ok(());
            };
            channel.warn(&format!(
                "{} cannot be raised to {soft}:{hard} on this host (CAP_SYS_RESOURCE is missing): \
                 it is {}:{max}",
                limit.typ(),
                soft.min(max),
            ));
            let _ = sys::process::set_rlimit(resource(limit.typ()), soft.min(max), max);
            Ok(())
        }
        other => other.context(Step::Rlimit, || {
            format!("error setting rlimit type {}: {soft}:{hard}", limit.typ())
        }),
    }
}

fn set_oom_score(adj: i32, asked: bool, channel: &Channel) -> Result<()> {
    let path = "/proc/self/oom_score_adj";
    match sys::fs::write_file(path, adj.to_string()) {
        // Lowering it below what was inherited takes CAP_SYS_RESOURCE.
        Err(e)
            if matches!(e.raw_os_error(), Some(sys::errno::EPERM | sys::errno::EACCES))
                && !asked =>
        {
            let is = std::fs::read_to_string(path).unwrap_or_default();
            if is.trim() != adj.to_string() {
                channel.warn(&format!(
                    "oom_score_adj cannot be lowered to {adj} on this host (CAP_SYS_RESOURCE is \
                     missing): it is {}",
                    is.trim()
                ));
            }
            Ok(())
        }
        other => other.context(Step::OomScore, || format!("failed to set oom_score_adj to {adj}")),
    }
}

/// `RLIMIT_*` of `include/uapi/asm-generic/resource.h`.
fn resource(typ: PosixRlimitType) -> u32 {
    match typ {
        PosixRlimitType::RlimitCpu => 0,
        PosixRlimitType::RlimitFsize => 1,
        PosixRlimitType::RlimitData => 2,
        PosixRlimitType::RlimitStack => 3,
        PosixRlimitType::RlimitCore => 4,
        PosixRlimitType::RlimitRss => 5,
        PosixRlimitType::RlimitNproc => 6,
        PosixRlimitType::RlimitNofile => 7,
        PosixRlimitType::RlimitMemlock => 8,
        PosixRlimitType::RlimitAs => 9,
        PosixRlimitType::RlimitLocks => 10,
        PosixRlimitType::RlimitSigpending => 11,
        PosixRlimitType::RlimitMsgqueue => 12,
        PosixRlimitType::RlimitNice => 13,
        PosixRlimitType::RlimitRtprio => 14,
        PosixRlimitType::RlimitRttime => 15,
    }
}

fn sched(s: &oci_spec::runtime::Scheduler) -> Sched {
    let policy = match s.policy() {
        LinuxSchedulerPolicy::SchedOther => 0,
        LinuxSchedulerPolicy::SchedFifo => 1,
        LinuxSchedulerPolicy::SchedRr => 2,
        LinuxSchedulerPolicy::SchedBatch => 3,
        LinuxSchedulerPolicy::SchedIso => 4,
        LinuxSchedulerPolicy::SchedIdle => 5,
        LinuxSchedulerPolicy::SchedDeadline => 6,
    };
    let bit = |flag: &LinuxSchedulerFlag| match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    };
    Sched {
        policy,
        flags: s.flags().iter().flatten().fold(0, |all, flag| all | bit(flag)),
        nice: s.nice().unwrap_or(0),
        priority: s.priority().unwrap_or(0) as u32,
        runtime: s.runtime().unwrap_or(0),
        deadline: s.deadline().unwrap_or(0),
        period: s.period().unwrap_or(0),
    }
}

/// `0-2,7` → 0, 1, 2, 7.
fn parse_cpus(text: &str) -> Result<Vec<usize>> {
    let bad = || Error::Spec(format!("invalid execCPUAffinity {text:?}").into());
    let mut out = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) =
            (first.parse().map_err(|_| bad())?, last.parse().map_err(|_| bad())?);
        if last < first || last >= 1024 {
            return Err(bad());
        }
        out.extend(first..=last);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists() {
        assert_eq!(parse_cpus("0-2,7").unwrap(), [0, 1, 2, 7]);
        assert!(parse_cpus("2-1").is_err());
        assert!(parse_cpus("0-9999999").is_err());
    }
}
