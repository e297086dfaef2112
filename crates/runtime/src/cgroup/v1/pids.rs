//! The pids controller, the same on v1 and v2.

use oci_spec::runtime::LinuxPids;

use crate::cgroup::Missing;
use crate::cgroup::plan::{Step, write};

/// 0 means: leave it; below: no limit.
pub(in crate::cgroup) fn plan(pids: &LinuxPids) -> Vec<Step> {
    match pids.limit() {
        0 => Vec::new(),
        limit @ 1.. => vec![write("pids.max", limit, Missing::PidsLimit).into()],
        _ => vec![write("pids.max", "max", Missing::PidsLimit).into()],
    }
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::LinuxPidsBuilder;

    use super::*;

    #[test]
    fn plans() {
        let plan = |limit: i64| plan(&LinuxPidsBuilder::default().limit(limit).build().unwrap());
        assert_eq!(plan(0), []);
        assert_eq!(plan(5), [write("pids.max", 5, Missing::PidsLimit).into()]);
        assert_eq!(plan(-1), [write("pids.max", "max", Missing::PidsLimit).into()]);
    }
}
