//! Limits: what fits together, and what this host can do.

use types::Error;
use types::host::Capabilities;
use types::resources::Resources;

use super::{Checked, refuse};

/// The smallest memory limit: below it not even the set-up fits.
const MEMORY_MIN: i64 = 6 << 20;

/// Checks all limits of a container and fills in what follows from them; returns warnings.
pub(crate) fn resources(
    limits: &mut Resources,
    support: &Capabilities,
    cpus: usize,
) -> Result<Vec<String>, Error> {
    if limits.memory == 0 && limits.memory_swap > 0 {
        refuse("You should always set the Memory limit when using Memoryswap limit, see usage")?;
    }
    let warnings = changes(limits, support, cpus)?;
    if limits.memory == 0 && limits.memory_swap > 0 {
        // Memory has been discarded; swap goes with it.
        limits.memory_swap = 0;
    }
    complete(limits, support);
    Ok(warnings)
}

/// Fills in what follows from limits.
pub(crate) fn complete(limits: &mut Resources, support: &Capabilities) {
    if limits.memory > 0 && limits.memory_swap != -1 && !support.swap_limit {
        limits.memory_swap = -1;
    }
    if limits.memory > 0 && limits.memory_swap == 0 {
        limits.memory_swap = limits.memory.saturating_mul(2);
    }
}

/// Checks limits by themselves, be they all of a container's or only those that change; returns
/// warnings.
pub(crate) fn changes(
    limits: &mut Resources,
    support: &Capabilities,
    cpus: usize,
) -> Result<Vec<String>, Error> {
    let mut warnings = Vec::new();
    memory(limits, support, &mut warnings)?;
    processor(limits, cpus)?;
    cpusets(limits, support)?;
    if limits.blkio_weight > 0 && !(10..=1000).contains(&limits.blkio_weight) {
        refuse("Range of blkio weight is from 10 to 1000")?;
    }
    if limits.blkio_weight > 0 && !support.blkio_weight {
        warnings.push(
            "Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight \
             discarded."
                .to_owned(),
        );
        limits.blkio_weight = 0;
    }
    if limits.pids_limit.is_some_and(|limit| limit < -1) {
        refuse("invalid PIDs limit: it must be -1, 0 or a positive number")?;
    }
    if limits.oom_kill_disable == Some(true) && !support.oom_kill_disable {
        warnings.push(
            "Your kernel does not support OomKillDisable. OomKillDisable discarded.".to_owned(),
        );
        limits.oom_kill_disable = None;
    }
    if limits.oom_kill_disable == Some(true) && limits.memory == 0 {
        warnings.push(
            "OOM killer is disabled for the container, but no memory limit is set, this can \
             result in the system running out of resources."
                .to_owned(),
        );
    }
    if !limits.device_requests.is_empty() {
        let wanted = limits.device_requests.iter().flat_map(|r| r.capabilities.iter().flatten());
        let wanted: Vec<_> = wanted.map(String::as_str).collect();
        refuse(format!(
            "could not select device driver {:?} with capabilities: [[{}]]",
            limits.device_requests[0].driver,
            wanted.join(" ")
        ))?;
    }
    for ulimit in &limits.ulimits {
        if ulimit.soft > ulimit.hard && ulimit.hard != -1 {
            refuse(format!(
                "ulimit soft limit must be less than or equal to hard limit: {} > {}",
                ulimit.soft, ulimit.hard
            ))?;
        }
        if crate::spec::process::rlimit_name(&ulimit.name).is_none() {
            refuse(format!("invalid ulimit type: {}", ulimit.name))?;
        }
    }
    Ok(warnings)
}

fn memory(limits: &mut Resources, support: &Capabilities, warnings: &mut Vec<String>) -> Checked {
    let mut discard = |value: &mut i64, supported: bool, what: &str| {
        if *value > 0 && !supported {
            warnings.push(format!(
                "Your kernel does not support {what} capabilities or the cgroup is not mounted. \
                 Limitation discarded."
            ));
            *value = 0;
        }
    };
    discard(&mut limits.memory, support.memory_limit, "memory limit");
    discard(&mut limits.memory_reservation, support.memory_reservation, "memory soft limit");
    discard(&mut limits.kernel_memory, support.kernel_memory, "kernel memory limit");
    discard(&mut limits.kernel_memory_tcp, support.kernel_memory_tcp, "kernel memory TCP limit");
    if limits.memory != 0 && limits.memory < MEMORY_MIN {
        refuse("Minimum memory limit allowed is 6MB")?;
    }
    if limits.memory > 0 && limits.memory_swap > 0 && !support.swap_limit {
        warnings.push(
            "Your kernel does not support swap limit capabilities or the cgroup is not mounted. \
             Memory limited without swap."
                .to_owned(),
        );
        limits.memory_swap = -1;
    }
    if limits.memory > 0 && limits.memory_swap > 0 && limits.memory_swap < limits.memory {
        refuse("Minimum memoryswap limit should be larger than memory limit, see usage")?;
    }
    // -1 is how clients write "as it is".
    limits.memory_swappiness = limits.memory_swappiness.filter(|value| *value != -1);
    if let Some(swappiness) = limits.memory_swappiness {
        if !(-1..=100).contains(&swappiness) {
            refuse(format!("Invalid value: {swappiness}, valid memory swappiness range is 0-100"))?;
        }
        if swappiness != -1 && !support.memory_swappiness {
            warnings.push(
                "Your kernel does not support memory swappiness capabilities or the cgroup is not \
                 mounted. Memory swappiness discarded."
                    .to_owned(),
            );
            limits.memory_swappiness = None;
        }
    }
    if limits.memory_reservation > 0 && limits.memory_reservation < MEMORY_MIN {
        refuse("Minimum memory reservation allowed is 6MB")?;
    }
    if limits.memory > 0 && limits.memory_reservation > limits.memory {
        refuse("Minimum memory limit can not be less than memory reservation limit, see usage")?;
    }
    Ok(())
}

fn processor(limits: &Resources, cpus: usize) -> Checked {
    if limits.nano_cpus > 0 && limits.cpu_period > 0 {
        refuse("Conflicting options: Nano CPUs and CPU Period cannot both be set.")?;
    }
    if limits.nano_cpus > 0 && limits.cpu_quota > 0 {
        refuse("Conflicting options: Nano CPUs and CPU Quota cannot both be set.")?;
    }
    let most = i64::try_from(cpus).unwrap_or(i64::MAX).saturating_mul(1_000_000_000);
    if limits.nano_cpus < 0 || limits.nano_cpus > most {
        refuse(format!(
            "range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
        ))?;
    }
    if limits.cpu_shares < 0 {
        refuse(format!(
            "invalid CPU shares ({}): value must be a positive integer",
            limits.cpu_shares
        ))?;
    }
    if limits.cpu_period != 0 && !(1000..=1_000_000).contains(&limits.cpu_period) {
        refuse(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        )?;
    }
    if limits.cpu_quota > 0 && limits.cpu_quota < 1000 {
        refuse("CPU cfs quota can not be less than 1ms (i.e. 1000)")?;
    }
    Ok(())
}

fn cpusets(limits: &Resources, support: &Capabilities) -> Checked {
    for (what, asked, available) in [
        ("CPUs", &limits.cpuset_cpus, &support.cpuset_cpus),
        ("memory nodes", &limits.cpuset_mems, &support.cpuset_mems),
    ] {
        if asked.is_empty() {
            continue;
        }
        let short = if what == "CPUs" { "cpuset cpus" } else { "cpuset mems" };
        let Some(wanted) = list(asked) else {
            return refuse(format!("Invalid value {asked} for {short}"));
        };
        let have = list(available).unwrap_or_default();
        if !wanted.iter().all(|number| have.contains(number)) {
            refuse(format!(
                "Requested {what} are not available - requested {asked}, available: {available}"
            ))?;
        }
    }
    Ok(())
}

/// The numbers of a kernel list such as `0-2,7`; `None` when it is none.
fn list(text: &str) -> Option<Vec<u32>> {
    let mut numbers = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to) = (from.trim().parse::<u32>().ok()?, to.trim().parse::<u32>().ok()?);
        if from > to || to > 8192 {
            return None;
        }
        numbers.extend(from..=to);
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Capabilities {
        Capabilities {
            memory_limit: true,
            swap_limit: true,
            memory_reservation: true,
            memory_swappiness: true,
            oom_kill_disable: true,
            cpuset: true,
            cpuset_cpus: "0-1".to_owned(),
            cpuset_mems: "0".to_owned(),
            blkio_weight: true,
            ..Capabilities::default()
        }
    }

    fn verdict(change: impl FnOnce(&mut Resources)) -> Result<Vec<String>, String> {
        let mut limits = Resources::default();
        change(&mut limits);
        resources(&mut limits, &all(), 2).map_err(|error| error.message)
    }

    #[test]
    fn limits_are_refused_in_dockers_words() {
        let refused = |change: fn(&mut Resources), words: &str| {
            let message = verdict(change).expect_err(words);
            assert!(message.contains(words), "{message}");
        };
        refused(|l| l.memory = 4096, "Minimum memory limit allowed is 6MB");
        refused(|l| l.memory_swap = 1 << 30, "always set the Memory limit");
        refused(|l| l.memory_swappiness = Some(101), "valid memory swappiness range is 0-100");
        refused(|l| l.nano_cpus = 3_000_000_000, "only 2 CPUs available");
        refused(|l| l.cpu_period = 1, "can not be less than 1ms");
        refused(|l| l.cpuset_cpus = "0-5".to_owned(), "Requested CPUs are not available");
        refused(|l| l.cpuset_cpus = "0-x".to_owned(), "Invalid value 0-x for cpuset cpus");
        refused(|l| l.blkio_weight = 5, "Range of blkio weight is from 10 to 1000");
    }

    #[test]
    fn swap_follows_memory() {
        let mut limits = Resources { memory: 64 << 20, ..Resources::default() };
        resources(&mut limits, &all(), 2).expect("fine");
        assert_eq!(limits.memory_swap, 128 << 20);
    }

    #[test]
    fn what_the_kernel_lacks_is_a_warning() {
        let mut limits = Resources { memory: 64 << 20, ..Resources::default() };
        let warnings = resources(&mut limits, &Capabilities::default(), 2).expect("fine");
        assert_eq!(limits.memory, 0);
        assert_eq!(warnings.len(), 1);
    }
}
