//! v1 memory: `memory.*`.

use oci_spec::runtime::LinuxMemory;

use crate::cgroup::files::{Knobs, number};
use crate::cgroup::plan::{Step, write};
use crate::cgroup::{Error, Missing};

const LIMIT: &str = "memory.limit_in_bytes";
const SWAP: &str = "memory.memsw.limit_in_bytes";

/// `kernel` is the running version, (major, minor).
pub(in crate::cgroup) fn plan(
    memory: &LinuxMemory,
    kernel: (u32, u32),
    knobs: &dyn Knobs,
) -> Result<Vec<Step>, Error> {
    let mut steps = Vec::new();
    let limit = memory.limit().filter(|&limit| limit != 0);
    let swap = memory.swap().filter(|&swap| swap != 0);
    if memory.check_before_update() == Some(true)
        && let Some(limit) = limit.filter(|&limit| limit > 0)
        && let Some(usage) = knobs.read("memory.usage_in_bytes").as_deref().and_then(number)
        && usage > limit as u64
    {
        return Err(Error::BelowUsage { limit, usage });
    }
    limits(limit, swap, knobs, &mut steps);
    if let Some(bytes) = memory.reservation().filter(|&bytes| bytes != 0) {
        steps.push(write("memory.soft_limit_in_bytes", bytes, Missing::MemoryReservation).into());
    }
    if let Some(bytes) = memory.kernel().filter(|&bytes| bytes != 0) {
        // 5.16 refuses the limit with ENOTSUPP, 6.1 and later take the value and forget it.
        if kernel >= (5, 16) {
            steps.push(Step::Lacks(Missing::KernelMemory));
        } else {
            steps.push(write("memory.kmem.limit_in_bytes", bytes, Missing::KernelMemory).into());
        }
    }
    if let Some(bytes) = memory.kernel_tcp().filter(|&bytes| bytes != 0) {
        let file = "memory.kmem.tcp.limit_in_bytes";
        steps.push(write(file, bytes, Missing::KernelMemoryTcp).into());
    }
    if let Some(value) = swappiness(memory)? {
        steps.push(write("memory.swappiness", value, Missing::Swappiness).into());
    }
    // "false" is what a new cgroup has.
    if memory.disable_oom_killer() == Some(true) {
        steps.push(write("memory.oom_control", 1, Missing::OomKillDisable).into());
    }
    if let Some(wanted) = memory.use_hierarchy() {
        // From 5.11 on the file always holds 1 and takes nothing else (EINVAL).
        let wanted = if wanted { "1" } else { "0" };
        if knobs.read("memory.use_hierarchy").is_some_and(|now| now != wanted) {
            steps.push(write("memory.use_hierarchy", wanted, Missing::MemoryLimit).into());
        }
    }
    Ok(steps)
}

/// The kernel keeps limit ≤ limit with swap at all times (EINVAL), so whichever of the two makes
/// room goes first.
fn limits(limit: Option<i64>, swap: Option<i64>, knobs: &dyn Knobs, steps: &mut Vec<Step>) {
    // No limit and nothing said about swap: no limit with swap either, or the new limit could not
    // be above the old limit with swap.
    let swap = match (limit, swap) {
        (Some(-1), None) if knobs.has(SWAP) => Some(-1),
        _ => swap,
    };
    let set_limit = limit.map(|bytes| write(LIMIT, bytes, Missing::MemoryLimit).into());
    let set_swap = swap.map(|bytes| write(SWAP, bytes, Missing::SwapLimit).into());
    let raises = |swap: i64| {
        let now = knobs.read(LIMIT).as_deref().and_then(number).unwrap_or(u64::MAX);
        swap == -1 || now < swap as u64
    };
    match (set_limit, set_swap) {
        (Some(limit), Some(set_swap)) if swap.is_some_and(raises) => {
            steps.extend([set_swap, limit]);
        }
        (limit, swap) => steps.extend(limit.into_iter().chain(swap)),
    }
}

/// 0 to 100; Docker's -1 (here the greatest number) means: leave it.
pub(in crate::cgroup) fn swappiness(memory: &LinuxMemory) -> Result<Option<u64>, Error> {
    match memory.swappiness() {
        None | Some(u64::MAX) => Ok(None),
        Some(value @ 0..=100) => Ok(Some(value)),
        Some(value) => Err(Error::Value { what: "memory swappiness", value: value.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::LinuxMemoryBuilder;
    use proptest::prelude::*;

    use super::*;
    use crate::cgroup::files::fake::Fake;

    fn order(steps: &[Step]) -> Vec<(String, String)> {
        steps
            .iter()
            .map(|step| match step {
                Step::Write(w) => (w.file.to_string(), w.value.clone()),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    fn both(limit: i64, swap: i64, now: &str) -> Vec<(String, String)> {
        let memory = LinuxMemoryBuilder::default().limit(limit).swap(swap).build().unwrap();
        let fake = Fake::new(&[(LIMIT, now), (SWAP, "9223372036854771712")]);
        order(&plan(&memory, (6, 18), &fake).unwrap())
    }

    #[test]
    fn a_new_cgroup_gets_the_limit_first() {
        let steps = both(100, 200, "9223372036854771712");
        assert_eq!(steps[0].0, LIMIT);
        assert_eq!(steps[1], (SWAP.to_owned(), "200".to_owned()));
    }

    #[test]
    fn raising_starts_with_swap() {
        assert_eq!(both(300, 600, "100")[0].0, SWAP);
        assert_eq!(both(300, -1, "100")[0].0, SWAP);
    }

    #[test]
    fn unlimited_memory_takes_swap_along() {
        let memory = LinuxMemoryBuilder::default().limit(-1).build().unwrap();
        let fake = Fake::new(&[(LIMIT, "100"), (SWAP, "100")]);
        let steps = order(&plan(&memory, (6, 18), &fake).unwrap());
        assert_eq!(steps, [(SWAP.to_owned(), "-1".into()), (LIMIT.to_owned(), "-1".into())]);
        let steps = order(&plan(&memory, (6, 18), &Fake::new(&[(LIMIT, "100")])).unwrap());
        assert_eq!(steps.len(), 1);
    }

    #[test]
    fn the_rest() {
        let memory = LinuxMemoryBuilder::default()
            .reservation(5)
            .kernel(6)
            .kernel_tcp(7)
            .swappiness(60u64)
            .disable_oom_killer(true)
            .use_hierarchy(true)
            .build()
            .unwrap();
        let old = Fake::new(&[("memory.use_hierarchy", "0")]);
        let files: Vec<_> =
            order(&plan(&memory, (5, 10), &old).unwrap()).into_iter().map(|(f, _)| f).collect();
        assert_eq!(
            files,
            [
                "memory.soft_limit_in_bytes",
                "memory.kmem.limit_in_bytes",
                "memory.kmem.tcp.limit_in_bytes",
                "memory.swappiness",
                "memory.oom_control",
                "memory.use_hierarchy"
            ]
        );
        let new = plan(&memory, (6, 1), &Fake::default()).unwrap();
        assert!(new.contains(&Step::Lacks(Missing::KernelMemory)));
        let mut wrong = LinuxMemory::default();
        wrong.set_swappiness(Some(101));
        assert!(plan(&wrong, (6, 1), &old).is_err());
        wrong.set_swappiness(Some(u64::MAX));
        assert_eq!(plan(&wrong, (6, 1), &old).unwrap(), []);
    }

    #[test]
    fn check_before_update_refuses_a_limit_below_usage() {
        let memory =
            LinuxMemoryBuilder::default().limit(100).check_before_update(true).build().unwrap();
        let fake = Fake::new(&[("memory.usage_in_bytes", "101")]);
        assert!(matches!(
            plan(&memory, (6, 1), &fake),
            Err(Error::BelowUsage { limit: 100, usage: 101 })
        ));
    }

    proptest! {
        /// Whatever the old and new pair, a kernel that keeps limit ≤ memsw takes every write.
        #[test]
        fn every_transition_is_accepted(
            old in (1u64..1000, 0u64..1000), new in (1i64..1000, 0i64..1000), unlimited: bool,
        ) {
            let (mut limit, mut memsw) = (old.0, old.0 + old.1);
            let swap = if unlimited { -1 } else { new.0 + new.1 };
            for (file, value) in both(new.0, swap, &limit.to_string()) {
                let value = value.parse::<i64>().map(|v| if v < 0 { u64::MAX } else { v as u64 });
                if file == LIMIT { limit = value.unwrap() } else { memsw = value.unwrap() }
                prop_assert!(limit <= memsw);
            }
            prop_assert_eq!(limit, new.0 as u64);
        }
    }
}
