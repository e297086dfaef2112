//! What processes hold of the machine's memory, from `/proc`.

use std::fs;
use std::path::Path;

/// Resident kibibytes of a process.
pub(super) fn resident(pid: i32) -> u64 {
    field(&format!("/proc/{pid}/status"), "VmRSS:")
}

/// Kibibytes that go when the process goes: its private pages, clean and dirty.
pub(super) fn private(pid: i32) -> u64 {
    let path = format!("/proc/{pid}/smaps_rollup");
    field(&path, "Private_Clean:") + field(&path, "Private_Dirty:")
}

/// The parent of a process.
pub(super) fn parent(pid: i32) -> i32 {
    field(&format!("/proc/{pid}/status"), "PPid:") as i32
}

/// Whether a process is called so: its own name starts with `name`. The file it executes says
/// less, for ours is a sealed copy on a mount that nobody sees.
pub(super) fn is_called(pid: i32, name: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|own| own.starts_with(name))
}

/// Every process.
pub(super) fn processes() -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Whether the command line of a process names something below `folder`.
pub(super) fn names(pid: i32, folder: &Path) -> bool {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&words).contains(&folder.display().to_string())
}

fn field(path: &str, name: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}
