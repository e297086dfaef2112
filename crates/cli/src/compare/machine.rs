//! Facts about the host, for who reads the figures elsewhere.

use std::fs;

use docker_api::system::Info;
use serde::Serialize;

use super::processes;

/// The host.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Machine {
    /// When it was looked at, RFC 3339.
    pub(super) time: String,
    /// Release of the kernel.
    pub(super) kernel: String,
    /// As it names itself.
    pub(super) system: String,
    /// The processors' name; empty where the kernel has none.
    pub(super) processor: String,
    /// How many of them.
    pub(super) processors: usize,
    /// Bytes of memory.
    pub(super) memory: i64,
    /// Bytes of it that could be used; 0 if that is not known.
    pub(super) available: u64,
    /// How busy it was: the average of the last minute.
    pub(super) load: String,
    /// The daemon's version.
    pub(super) daemon: String,
    /// The version of this program.
    pub(super) client: String,
    /// The cgroups' version.
    pub(super) cgroups: String,
    /// What runs guests' instructions: `kvm` or `tcg` (translation); empty without a machine.
    pub(super) accelerator: String,
}

impl Machine {
    /// Asks the daemon and `/proc`.
    pub(super) fn look(info: &Info) -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let load = read("/proc/loadavg");
        Self {
            time: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            kernel: info.kernel_version.clone(),
            system: info.operating_system.clone(),
            processor: processor(&read("/proc/cpuinfo")),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            memory: info.mem_total,
            available: processes::available().unwrap_or_default(),
            load: load.split(' ').next().unwrap_or_default().to_owned(),
            daemon: info.server_version.clone(),
            client: env!("CARGO_PKG_VERSION").to_owned(),
            cgroups: info.cgroup_version.clone(),
            accelerator: String::new(),
        }
    }
}

/// The first name of a processor in the text of `/proc/cpuinfo`.
fn processor(text: &str) -> String {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let mut names = lines.filter(|(name, _)| name.trim() == "model name");
    names.next().map_or_else(String::new, |(_, value)| value.trim().to_owned())
}

/// What a machine's process was told to run its guest with: the word behind `-accel`, without
/// options.
pub(super) fn accelerator(pid: u32) -> Option<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    told(&String::from_utf8_lossy(&line))
}

fn told(line: &str) -> Option<String> {
    let mut words = line.split('\0').skip_while(|word| *word != "-accel").skip(1);
    words.next()?.split(',').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found() {
        assert_eq!(processor("a\t: b\nmodel name\t: Some CPU @ 1 GHz\n"), "Some CPU @ 1 GHz");
        assert_eq!(processor("Features : fp\n"), "");
        assert_eq!(told("qemu\0-accel\0tcg,thread=multi\0-m"), Some("tcg".to_owned()));
        assert_eq!(told("sleep\x001\0"), None);
    }
}
