//! Linux capabilities: their names and numbers, Docker's default set, and what `--cap-add` and
//! `--cap-drop` make of it.
//!
//! Everything is a pure function of its arguments; what this kernel and this daemon have comes in
//! as the `available` set.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Names in the kernel's order: the index is the capability's number (`linux/capability.h`).
const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// What a container gets without flags, as numbers.
const DEFAULT: [u8; 14] = [0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31];

/// One capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capability(u8);

impl Capability {
    /// Read any file and search any directory.
    pub const DAC_READ_SEARCH: Capability = Capability(2);
    /// Configure networks.
    pub const NET_ADMIN: Capability = Capability(12);
    /// Nearly everything.
    pub const SYS_ADMIN: Capability = Capability(21);
    /// Exceed resource limits.
    pub const SYS_RESOURCE: Capability = Capability(24);

    /// Every capability this crate knows, by number.
    pub fn all() -> impl Iterator<Item = Capability> {
        (0..NAMES.len() as u8).map(Capability)
    }

    /// From the kernel's number; `None` above the last one known.
    pub fn from_number(number: u8) -> Option<Capability> {
        (usize::from(number) < NAMES.len()).then_some(Capability(number))
    }

    /// The kernel's number.
    pub fn number(self) -> u8 {
        self.0
    }

    /// The full name, `CAP_CHOWN`.
    pub fn name(self) -> &'static str {
        NAMES[usize::from(self.0)]
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Capability {
    type Err = Error;

    /// `NET_ADMIN`, `cap_net_admin`: the prefix is optional, case does not matter.
    fn from_str(text: &str) -> Result<Capability, Error> {
        let short = strip_prefix(text);
        NAMES
            .iter()
            .position(|name| name[4..].eq_ignore_ascii_case(short))
            .map(|at| Capability(at as u8))
            .ok_or_else(|| Error::Unknown(text.to_owned()))
    }
}

fn strip_prefix(text: &str) -> &str {
    match text.get(..4) {
        Some(prefix) if prefix.eq_ignore_ascii_case("CAP_") => &text[4..],
        _ => text,
    }
}

/// A set of capabilities; the bits are the kernel's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct CapabilitySet(u64);

impl CapabilitySet {
    /// The empty set.
    pub const EMPTY: CapabilitySet = CapabilitySet(0);

    /// From a kernel mask such as `CapBnd` in `/proc/self/status`; bits above the last
    /// capability known here are dropped.
    pub fn from_bits(bits: u64) -> CapabilitySet {
        CapabilitySet(bits & ((1 << NAMES.len()) - 1))
    }

    /// The kernel's mask.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Every capability known here.
    pub fn full() -> CapabilitySet {
        CapabilitySet::from_bits(u64::MAX)
    }

    /// What a container gets without flags.
    pub fn default_set() -> CapabilitySet {
        DEFAULT.iter().map(|&number| Capability(number)).collect()
    }

    /// Whether it is in.
    pub fn contains(self, cap: Capability) -> bool {
        self.0 & (1 << cap.0) != 0
    }

    /// Puts one in.
    pub fn insert(&mut self, cap: Capability) {
        self.0 |= 1 << cap.0;
    }

    /// Takes one out.
    pub fn remove(&mut self, cap: Capability) {
        self.0 &= !(1 << cap.0);
    }

    /// In both.
    pub fn and(self, other: CapabilitySet) -> CapabilitySet {
        CapabilitySet(self.0 & other.0)
    }

    /// In this but not in the other.
    pub fn without(self, other: CapabilitySet) -> CapabilitySet {
        CapabilitySet(self.0 & !other.0)
    }

    /// Nothing in it.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// By number.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        Capability::all().filter(move |&cap| self.contains(cap))
    }

    /// Full names, by number.
    pub fn names(self) -> Vec<String> {
        self.iter().map(|cap| cap.name().to_owned()).collect()
    }
}

impl FromIterator<Capability> for CapabilitySet {
    fn from_iter<I: IntoIterator<Item = Capability>>(caps: I) -> CapabilitySet {
        let mut set = CapabilitySet::EMPTY;
        caps.into_iter().for_each(|cap| set.insert(cap));
        set
    }
}

/// Why `--cap-add` or `--cap-drop` cannot be obeyed. The texts are Docker's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// No such capability anywhere.
    #[error("unknown capability: \"{0}\"")]
    Unknown(String),
    /// A good name in a flag, but bad for this flag.
    #[error("invalid CapAdd: {0}")]
    Add(Flag),
    /// As [`Error::Add`].
    #[error("invalid CapDrop: {0}")]
    Drop(Flag),
}

/// What is wrong with one name in a flag.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Flag {
    /// No such capability anywhere.
    #[error("unknown capability: \"{0}\"")]
    Unknown(String),
    /// The kernel, or this daemon, does not have it.
    #[error(
        "capability not supported by your kernel or not available in the current environment: \"{0}\""
    )]
    Unavailable(&'static str),
}

/// What the flags ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolved {
    /// What the container gets.
    pub set: CapabilitySet,
    /// Capabilities of the default set that the daemon itself lacks and so cannot give: worth one warning.
    pub lacking: CapabilitySet,
}

/// Docker's rules:
/// * privileged: everything available, the flags are not even looked at;
/// * `ALL` in `add`: everything available, minus the names in `drop`;
/// * `ALL` in `drop`: nothing, plus the names in `add`;
/// * else the default set, minus `drop`, plus `add` (a name in both stays in).
///
/// `available` is the bounding set of the daemon. A default capability outside it is left out and reported in
/// [`Resolved::lacking`]; one that was asked for by name is an error.
pub fn resolve(
    add: &[String],
    drop: &[String],
    privileged: bool,
    available: CapabilitySet,
) -> Result<Resolved, Error> {
    if privileged {
        return Ok(Resolved { set: available, lacking: CapabilitySet::EMPTY });
    }
    let (all_added, added) = parse(add, available).map_err(Error::Add)?;
    let (all_dropped, dropped) = parse(drop, available).map_err(Error::Drop)?;
    let base = CapabilitySet::default_set();
    let set = if all_added {
        available.without(dropped)
    } else if all_dropped {
        added
    } else {
        CapabilitySet(base.without(dropped).0 | added.0)
    };
    Ok(Resolved { set: set.and(available), lacking: set.without(available) })
}

/// Names to a set, and whether `ALL` was among them.
fn parse(names: &[String], available: CapabilitySet) -> Result<(bool, CapabilitySet), Flag> {
    let mut set = CapabilitySet::EMPTY;
    let mut all = false;
    for name in names {
        if strip_prefix(name).eq_ignore_ascii_case("ALL") {
            all = true;
            continue;
        }
        let cap: Capability = name.parse().map_err(|_| Flag::Unknown(docker_spelling(name)))?;
        if !available.contains(cap) {
            return Err(Flag::Unavailable(cap.name()));
        }
        set.insert(cap);
    }
    Ok((all, set))
}

/// Docker repeats an unknown name in its normal form: upper case with the prefix.
fn docker_spelling(name: &str) -> String {
    format!("CAP_{}", strip_prefix(name).to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(names: &[&str]) -> Vec<String> {
        names.iter().map(|&n| n.to_owned()).collect()
    }

    fn set(add: &[&str], drop: &[&str]) -> CapabilitySet {
        resolve(&strings(add), &strings(drop), false, CapabilitySet::full()).unwrap().set
    }

    #[test]
    fn numbers_are_the_kernels() {
        for (name, number) in [("CHOWN", 0), ("SYS_ADMIN", 21), ("MKNOD", 27), ("SETFCAP", 31)] {
            assert_eq!(name.parse::<Capability>().unwrap().number(), number, "{name}");
        }
        assert_eq!("cap_checkpoint_restore".parse::<Capability>().unwrap().number(), 40);
        assert_eq!(Capability::from_number(41), None);
        assert_eq!(Capability::SYS_RESOURCE.name(), "CAP_SYS_RESOURCE");
    }

    #[test]
    fn default_set_is_dockers_mask() {
        // CapEff of a process in a container of dockerd's.
        assert_eq!(CapabilitySet::default_set().bits(), 0xa804_25fb);
    }

    #[test]
    fn flags() {
        let default = CapabilitySet::default_set();
        assert_eq!(set(&[], &[]), default);
        assert!(set(&["net_admin"], &[]).contains(Capability::NET_ADMIN));
        assert!(!set(&[], &["CAP_CHOWN"]).contains(Capability(0)));
        assert_eq!(set(&["ALL"], &[]), CapabilitySet::full());
        assert_eq!(set(&["all"], &["SYS_ADMIN"]).bits(), CapabilitySet::full().bits() & !(1 << 21));
        assert_eq!(set(&["KILL"], &["ALL"]).names(), ["CAP_KILL"]);
        assert_eq!(set(&[], &["ALL"]), CapabilitySet::EMPTY);
        // A name in both stays in.
        assert_eq!(set(&["CHOWN"], &["CHOWN"]), default);
    }

    #[test]
    fn errors_are_dockers() {
        let unknown = resolve(&strings(&["foo"]), &[], false, CapabilitySet::full()).unwrap_err();
        assert_eq!(unknown.to_string(), "invalid CapAdd: unknown capability: \"CAP_FOO\"");
        let unknown =
            resolve(&[], &strings(&["cap_bar"]), false, CapabilitySet::full()).unwrap_err();
        assert_eq!(unknown.to_string(), "invalid CapDrop: unknown capability: \"CAP_BAR\"");
        let mut available = CapabilitySet::full();
        available.remove(Capability::SYS_RESOURCE);
        let lacking = resolve(&strings(&["SYS_RESOURCE"]), &[], false, available).unwrap_err();
        assert_eq!(
            lacking.to_string(),
            "invalid CapAdd: capability not supported by your kernel or not available in the \
             current environment: \"CAP_SYS_RESOURCE\""
        );
    }

    #[test]
    fn what_the_daemon_lacks_is_left_out_and_told() {
        let mut available = CapabilitySet::full();
        available.remove("MKNOD".parse().unwrap());
        let resolved = resolve(&[], &[], false, available).unwrap();
        assert_eq!(resolved.lacking.names(), ["CAP_MKNOD"]);
        assert!(!resolved.set.contains("MKNOD".parse().unwrap()));
        let privileged = resolve(&strings(&["nonsense"]), &[], true, available).unwrap();
        assert_eq!(privileged.set, available);
    }

    #[test]
    fn multibyte_names_are_refused_not_panicked_on() {
        assert!("añé".parse::<Capability>().is_err());
        assert!("".parse::<Capability>().is_err());
    }
}
