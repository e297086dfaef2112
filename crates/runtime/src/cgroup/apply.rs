//! From the resources of an OCI specification to the plans of each controller, and their execution.

use oci_spec::runtime::LinuxResources;

use super::devices::Policy;
use super::files::{Dir, Knobs};
use super::layout::{Controller, Version};
use super::place::{Place, Places};
use super::plan::{Step, execute, lack};
use super::{Error, Missing, OnMissing, Warning, capabilities, tree, v1, v2};

/// Where a controller is not mounted at all: every plan for it is a list of what is missing.
struct Absent;

impl Knobs for Absent {
    fn has(&self, _: &str) -> bool {
        false
    }

    fn read(&self, _: &str) -> Option<String> {
        None
    }
}

/// One call of [`apply`].
struct Run<'a> {
    places: &'a Places,
    path: &'a str,
    on_missing: OnMissing,
    warnings: Vec<Warning>,
}

type Plan = Result<Vec<Step>, Error>;

/// Sets every limit that `resources` names; the rest stays.
pub(super) fn apply(
    places: &Places,
    path: &str,
    resources: &LinuxResources,
    on_missing: OnMissing,
) -> Result<Vec<Warning>, Error> {
    let mut run = Run { places, path, on_missing, warnings: Vec::new() };
    if let Some(list) = resources.devices().as_deref().filter(|list| !list.is_empty()) {
        run.devices(&Policy::new(list)?)?;
    }
    if let Some(cpu) = resources.cpu() {
        run.one(Controller::Cpuset, |_| Ok(v1::cpuset::plan(cpu)), |_| Ok(v2::cpuset::plan(cpu)))?;
        run.one(Controller::Cpu, |_| v1::cpu::plan(cpu), |knobs| v2::cpu::plan(cpu, knobs))?;
    }
    if let Some(memory) = resources.memory() {
        let kernel = capabilities::kernel_version();
        run.one(
            Controller::Memory,
            |knobs| v1::memory::plan(memory, kernel, knobs),
            |knobs| v2::memory::plan(memory, knobs),
        )?;
    }
    if let Some(pids) = resources.pids() {
        run.one(Controller::Pids, |_| Ok(v1::pids::plan(pids)), |_| Ok(v1::pids::plan(pids)))?;
    }
    if let Some(io) = resources.block_io() {
        run.one(Controller::Io, |_| Ok(v1::blkio::plan(io)), |knobs| Ok(v2::io::plan(io, knobs)))?;
    }
    if let Some(limits) = resources.hugepage_limits().as_deref().filter(|list| !list.is_empty()) {
        run.enable_beside_v1(Controller::Hugetlb, "hugetlb");
        run.one(
            Controller::Hugetlb,
            |_| v1::hugetlb::plan(limits),
            |knobs| v2::hugetlb::plan(limits, knobs),
        )?;
    }
    if let Some(network) = resources.network() {
        let none = |steps: Vec<Step>| Ok(missing(steps));
        let (class, priorities) = (v1::network::class(network), v1::network::priorities(network));
        let no_class = class.clone();
        run.one(Controller::NetCls, |_| Ok(class), |_| none(no_class))?;
        let no_priorities = priorities.clone();
        run.one(Controller::NetPrio, |_| Ok(priorities), |_| none(no_priorities))?;
    }
    if let Some(limits) = resources.rdma().as_ref().filter(|map| !map.is_empty()) {
        run.enable_beside_v1(Controller::Rdma, "rdma");
        run.one(Controller::Rdma, |_| Ok(v1::rdma::plan(limits)), |_| Ok(v1::rdma::plan(limits)))?;
    }
    if let Some(values) = resources.unified().as_ref().filter(|map| !map.is_empty()) {
        let steps = v2::unified::plan(values)?;
        let dir = places.unified.as_ref().map(|(_, dir)| dir);
        run.steps(dir, steps)?;
    }
    Ok(run.warnings)
}

/// The same steps where there is nothing to write them to.
fn missing(steps: Vec<Step>) -> Vec<Step> {
    let what = |step| match step {
        Step::Write(write) => vec![write.missing],
        Step::AnyOrder(writes) => writes.into_iter().map(|write| write.missing).collect(),
        Step::Lacks(missing) => vec![missing],
    };
    let mut all: Vec<Missing> = steps.into_iter().flat_map(what).collect();
    all.dedup();
    all.into_iter().map(Step::Lacks).collect()
}

impl Run<'_> {
    fn one(
        &mut self,
        controller: Controller,
        v1: impl FnOnce(&dyn Knobs) -> Plan,
        v2: impl FnOnce(&dyn Knobs) -> Plan,
    ) -> Result<(), Error> {
        match self.places.of(controller) {
            Some(Place::V1(dir)) => self.steps(Some(dir), v1(dir)?),
            Some(Place::Unified(dir)) => self.steps(Some(dir), v2(dir)?),
            None if self.places.version == Version::V2 => self.steps(None, v2(&Absent)?),
            None => self.steps(None, v1(&Absent)?),
        }
    }

    fn steps(&mut self, dir: Option<&Dir>, steps: Vec<Step>) -> Result<(), Error> {
        match dir {
            Some(dir) => execute(dir, steps, self.on_missing, &mut self.warnings),
            None => {
                let lacking = missing(steps).into_iter().filter_map(|step| match step {
                    Step::Lacks(missing) => Some(missing),
                    _ => None,
                });
                for missing in lacking {
                    lack(missing, self.on_missing, &mut self.warnings)?;
                }
                Ok(())
            }
        }
    }

    /// A controller that lives in the unified tree although others do not: turned on now that it is
    /// needed.
    fn enable_beside_v1(&mut self, controller: Controller, name: &str) {
        if self.places.version == Version::Hybrid
            && let Some(Place::Unified(_)) = self.places.of(controller)
            && let Some((tree, _)) = &self.places.unified
        {
            self.warnings.extend(tree::enable(&tree.mount, self.path, &[name]));
        }
    }

    /// Unlike a limit, this is a wall: where it cannot be put up nothing goes on.
    fn devices(&mut self, policy: &Policy) -> Result<(), Error> {
        match (self.places.of(Controller::Devices), &self.places.unified) {
            (Some(Place::V1(dir)), _) => {
                let steps = v1::devices::plan(policy, &dir.text("devices.list")?)?;
                execute(dir, steps, OnMissing::Fail, &mut self.warnings)
            }
            (_, Some((_, dir))) => v2::devices::enforce(dir, policy),
            _ if policy.allows_all() => Ok(()),
            _ => Err(Error::Unsupported(Missing::Devices)),
        }
    }
}
