//! v2 memory: `memory.max`, `memory.low`, `memory.swap.max`.

use oci_spec::runtime::LinuxMemory;

use crate::cgroup::files::{Knobs, number};
use crate::cgroup::plan::{Step, write};
use crate::cgroup::v1::memory::swappiness;
use crate::cgroup::{Error, Missing};

pub(in crate::cgroup) fn plan(memory: &LinuxMemory, knobs: &dyn Knobs) -> Result<Vec<Step>, Error> {
    let mut steps = Vec::new();
    let limit = memory.limit().filter(|&limit| limit != 0);
    if memory.check_before_update() == Some(true)
        && let Some(limit) = limit.filter(|&limit| limit > 0)
        && let Some(usage) = knobs.read("memory.current").as_deref().and_then(number)
        && usage > limit as u64
    {
        return Err(Error::BelowUsage { limit, usage });
    }
    if let Some(swap) = swap(memory, limit, knobs)? {
        // Without swap accounting, "no swap limit" and "no swap" are what there is anyway.
        if knobs.has("memory.swap.max") || swap > 0 {
            steps.push(write("memory.swap.max", max(swap), Missing::SwapLimit).into());
        }
    }
    if let Some(limit) = limit {
        steps.push(write("memory.max", max(limit), Missing::MemoryLimit).into());
    }
    if let Some(bytes) = memory.reservation().filter(|&bytes| bytes != 0) {
        steps.push(write("memory.low", max(bytes), Missing::MemoryReservation).into());
    }
    if memory.kernel().is_some_and(|bytes| bytes > 0) {
        steps.push(Step::Lacks(Missing::KernelMemory));
    }
    if memory.kernel_tcp().is_some_and(|bytes| bytes > 0) {
        steps.push(Step::Lacks(Missing::KernelMemoryTcp));
    }
    if swappiness(memory)?.is_some() {
        steps.push(Step::Lacks(Missing::Swappiness));
    }
    if memory.disable_oom_killer() == Some(true) {
        steps.push(Step::Lacks(Missing::OomKillDisable));
    }
    Ok(steps)
}

fn max(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

/// OCI's figure is memory and swap together (as v1 has it), the unified tree wants swap alone. -1 is no limit.
fn swap(memory: &LinuxMemory, limit: Option<i64>, knobs: &dyn Knobs) -> Result<Option<i64>, Error> {
    let invalid = |value: i64| Error::Value {
        what: "memory+swap limit (it must be at least the memory limit)",
        value: value.to_string(),
    };
    match memory.swap().filter(|&swap| swap != 0) {
        // As on v1, unlimited memory takes swap along.
        None => Ok(limit.filter(|&limit| limit == -1)),
        Some(-1) => Ok(Some(-1)),
        Some(both) => {
            let now = || knobs.read("memory.max").as_deref().and_then(number);
            let limit = match limit {
                Some(limit) => u64::try_from(limit).ok(),
                None => now().filter(|&limit| limit != u64::MAX),
            };
            let swap = limit.and_then(|limit| both.checked_sub(i64::try_from(limit).ok()?));
            swap.filter(|&swap| swap >= 0).map(Some).ok_or_else(|| invalid(both))
        }
    }
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::LinuxMemoryBuilder;

    use super::*;
    use crate::cgroup::files::fake::Fake;

    fn lines(memory: &LinuxMemory, files: &[(&str, &str)]) -> Result<Vec<String>, Error> {
        let steps = plan(memory, &Fake::new(files))?;
        let line = |step| match step {
            Step::Write(w) => format!("{} {}", w.file, w.value),
            Step::Lacks(missing) => format!("lacks {missing:?}"),
            Step::AnyOrder(_) => unreachable!(),
        };
        Ok(steps.into_iter().map(line).collect())
    }

    fn memory(limit: Option<i64>, swap: Option<i64>) -> LinuxMemory {
        let mut memory = LinuxMemory::default();
        memory.set_limit(limit).set_swap(swap);
        memory
    }

    #[test]
    fn swap_is_the_difference() {
        let there = [("memory.swap.max", "max"), ("memory.max", "100")];
        let plan = |limit, swap| lines(&memory(limit, swap), &there).unwrap();
        assert_eq!(plan(Some(100), Some(300)), ["memory.swap.max 200", "memory.max 100"]);
        assert_eq!(plan(Some(100), Some(100)), ["memory.swap.max 0", "memory.max 100"]);
        assert_eq!(plan(Some(100), Some(-1)), ["memory.swap.max max", "memory.max 100"]);
        assert_eq!(plan(Some(-1), None), ["memory.swap.max max", "memory.max max"]);
        assert_eq!(plan(Some(100), None), ["memory.max 100"]);
        // An update of swap alone counts from the limit that is there.
        assert_eq!(plan(None, Some(150)), ["memory.swap.max 50"]);
    }

    #[test]
    fn swap_below_or_without_memory_is_refused() {
        assert!(lines(&memory(Some(100), Some(50)), &[]).is_err());
        assert!(lines(&memory(None, Some(50)), &[("memory.max", "max")]).is_err());
        assert!(lines(&memory(Some(-1), Some(50)), &[]).is_err());
    }

    #[test]
    fn without_swap_accounting_only_a_real_limit_matters() {
        assert_eq!(lines(&memory(Some(9), Some(9)), &[]).unwrap(), ["memory.max 9"]);
        assert_eq!(
            lines(&memory(Some(9), Some(10)), &[]).unwrap(),
            ["memory.swap.max 1", "memory.max 9"]
        );
    }

    #[test]
    fn what_v2_lacks() {
        let memory = LinuxMemoryBuilder::default()
            .reservation(7)
            .kernel(1)
            .kernel_tcp(1)
            .swappiness(1u64)
            .disable_oom_killer(true)
            .build()
            .unwrap();
        assert_eq!(
            lines(&memory, &[]).unwrap(),
            [
                "memory.low 7",
                "lacks KernelMemory",
                "lacks KernelMemoryTcp",
                "lacks Swappiness",
                "lacks OomKillDisable"
            ]
        );
    }
}
