//! Reading all counters of a container, wherever each controller lives. What cannot be read counts as
//! zero: a container may go away between two files.

use types::stats::Stats;

use super::files::Dir;
use super::layout::Controller;
use super::place::{Place, Places};
use super::{v1, v2};

/// v1's "no limit" is the greatest multiple of the page size; nobody has this much memory.
pub(super) const NO_LIMIT: u64 = 1 << 62;

impl Dir {
    pub(super) fn read_text(&self, file: &str) -> String {
        self.text(file).unwrap_or_default()
    }
}

/// All counters.
pub(super) fn read(places: &Places) -> Stats {
    let mut stats = Stats::default();
    match places.of(Controller::Cpuacct).or_else(|| places.of(Controller::Cpu)) {
        Some(Place::Unified(dir)) => stats.cpu = v2::stats::cpu(dir),
        Some(Place::V1(dir)) => v1::stats::cpuacct(dir, &mut stats.cpu),
        None => {}
    }
    if let Some(Place::V1(dir)) = places.of(Controller::Cpu) {
        v1::stats::cpu(dir, &mut stats.cpu);
    }
    match places.of(Controller::Memory) {
        Some(Place::V1(dir)) => stats.memory = v1::stats::memory(dir),
        Some(Place::Unified(dir)) => {
            stats.memory = v2::stats::memory(dir);
            stats.unified = true;
        }
        None => {}
    }
    if let Some(place) = places.of(Controller::Pids) {
        stats.pids = v1::stats::pids(place.dir());
    }
    match places.of(Controller::Io) {
        Some(Place::V1(dir)) => stats.blkio = v1::stats::blkio(dir),
        Some(Place::Unified(dir)) => stats.blkio = v2::stats::io(dir),
        None => {}
    }
    stats.hugetlb = match places.of(Controller::Hugetlb) {
        Some(Place::V1(dir)) => v1::stats::hugetlb(dir),
        Some(Place::Unified(dir)) => v2::stats::hugetlb(dir),
        None => Vec::new(),
    }
    .into_iter()
    .collect();
    stats
}

/// The sizes for which there is a `hugetlb.<size><suffix>`.
pub(super) fn hugetlb_sizes(dir: &Dir, suffix: &str) -> Vec<String> {
    let names = std::fs::read_dir(dir.path()).into_iter().flatten().flatten();
    let size = |name: &str| {
        let size = name.strip_prefix("hugetlb.")?.strip_suffix(suffix)?;
        (!size.contains('.')).then(|| size.to_owned())
    };
    names.filter_map(|entry| size(entry.file_name().to_str()?)).collect()
}
