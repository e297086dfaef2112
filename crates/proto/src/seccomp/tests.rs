//! Our table against Docker's own file, where that is at hand.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use types::capability::{Capability, CapabilitySet};

use super::*;

/// `$ISOPOD_SPECS`, or `shared/specs` beside the workspace.
fn specs() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/specs");
    let directory = std::env::var_os("ISOPOD_SPECS").map_or(beside, PathBuf::from);
    Some(directory.join("docker-seccomp-default.json")).filter(|file| file.exists())
}

type Row = (LinuxSeccompAction, Option<u32>, Vec<(usize, String, u64, u64)>);

/// What each name leads to, rule by rule.
fn by_name(profile: &LinuxSeccomp) -> BTreeMap<String, Vec<Row>> {
    let mut map: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for call in profile.syscalls().iter().flatten() {
        let args = call.args().iter().flatten();
        let args: Vec<_> = args
            .map(|a| (a.index(), a.op().to_string(), a.value(), a.value_two().unwrap_or(0)))
            .collect();
        for name in call.names() {
            let row = (call.action(), call.errno_ret(), args.clone());
            let rows = map.entry(name.clone()).or_default();
            // Twice the same says nothing more.
            if !rows.contains(&row) {
                rows.push(row);
            }
        }
    }
    map
}

#[test]
fn the_table_is_dockers_file() {
    let file = specs().expect(
        "docker-seccomp-default.json: set ISOPOD_SPECS to the directory that holds it, or put \
         shared/specs beside the checkout",
    );
    let docker = Profile::parse(&std::fs::read_to_string(file).unwrap()).unwrap();
    let single = Capability::all().map(|cap| [cap].into_iter().collect::<CapabilitySet>());
    let sets =
        single.chain([CapabilitySet::EMPTY, CapabilitySet::default_set(), CapabilitySet::full()]);
    let mut compared = 0;
    for caps in sets {
        for machine in [Machine::X86_64, Machine::Aarch64] {
            for kernel in [(4, 4), (4, 8), (6, 18)] {
                let theirs = docker.resolve(caps, kernel, machine).unwrap();
                let ours = default_profile(caps, kernel, machine);
                assert_eq!(ours.default_action(), theirs.default_action());
                assert_eq!(ours.default_errno_ret(), theirs.default_errno_ret());
                assert_eq!(ours.architectures(), theirs.architectures());
                assert_eq!(by_name(&ours), by_name(&theirs), "{:?} {machine:?}", caps.names());
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 44 * 2 * 3);
}

#[test]
fn capabilities_open_what_they_are_for() {
    let names = |caps: CapabilitySet| by_name(&default_profile(caps, (6, 1), Machine::X86_64));
    let default = names(CapabilitySet::default_set());
    assert!(default.contains_key("chroot") && !default.contains_key("mount"));
    assert_eq!(default["clone3"], [(LinuxSeccompAction::ScmpActErrno, Some(38), vec![])]);
    let full = names(CapabilitySet::full());
    assert!(full.contains_key("mount") && full.contains_key("init_module"));
    assert_eq!(full["clone"], [(LinuxSeccompAction::ScmpActAllow, None, vec![])]);
}

#[test]
fn kernel_versions() {
    assert_eq!(kernel_version("6.18.0-1+b2"), (6, 18));
    assert_eq!(kernel_version("4.4"), (4, 4));
}
