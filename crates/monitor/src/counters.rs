//! What a container uses: its cgroups' counters and its network interfaces'.

use proto::control::{Sample, interfaces};
use runtime::cgroup::{self, Cgroup};
use types::Timestamp;

/// Reads everything once.
pub(crate) fn sample(cgroup: &Cgroup, pid: i32) -> Result<Sample, cgroup::Error> {
    let stats = cgroup.stats()?;
    // The process may end at any moment; then there are no interfaces any more.
    let interfaces = std::fs::read_to_string(format!("/proc/{pid}/net/dev"))
        .map(|text| interfaces(&text))
        .unwrap_or_default();
    Ok(Sample { at: Timestamp::now(), stats, interfaces })
}
