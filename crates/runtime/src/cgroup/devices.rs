//! Device rules, made uniform once for the two ways of enforcing them.

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use super::Error;

/// What a rule is about. The numbers are those of `BPF_DEVCG_DEV_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Block = 1,
    Char = 2,
}

/// A set of `r`, `w`, `m`; the bits are those of `BPF_DEVCG_ACC_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Access(pub(super) u8);

impl Access {
    pub(super) const MKNOD: Access = Access(1);
    pub(super) const ALL: Access = Access(7);

    pub(super) fn parse(text: &str) -> Option<Access> {
        text.bytes().try_fold(Access(0), |bits, byte| {
            let bit = match byte {
                b'm' => 1,
                b'r' => 2,
                b'w' => 4,
                _ => return None,
            };
            Some(Access(bits.0 | bit))
        })
    }
}

impl std::fmt::Display for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (bit, letter) in [(2, "r"), (4, "w"), (1, "m")] {
            if self.0 & bit != 0 {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

/// The devices of one rule; `None` is any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Devices {
    pub(super) kind: Kind,
    pub(super) major: Option<u32>,
    pub(super) minor: Option<u32>,
}

/// One exception to the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) allow: bool,
    pub(super) devices: Devices,
    pub(super) access: Access,
}

/// A default and, in their order, the rules that follow it. The last rule that speaks of a device and
/// an access decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) allow: bool,
    pub(super) rules: Vec<Rule>,
}

/// What every container may use whatever its rules say, as with runc and crun: the devices that the
/// OCI specification promises, and making (not opening) any node.
const ALWAYS: [(Kind, Option<u32>, Option<u32>, Access); 10] = [
    (Kind::Char, None, None, Access::MKNOD),
    (Kind::Block, None, None, Access::MKNOD),
    (Kind::Char, Some(1), Some(3), Access::ALL), // null
    (Kind::Char, Some(1), Some(5), Access::ALL), // zero
    (Kind::Char, Some(1), Some(7), Access::ALL), // full
    (Kind::Char, Some(1), Some(8), Access::ALL), // random
    (Kind::Char, Some(1), Some(9), Access::ALL), // urandom
    (Kind::Char, Some(5), Some(0), Access::ALL), // tty
    (Kind::Char, Some(5), Some(2), Access::ALL), // ptmx
    (Kind::Char, Some(136), None, Access::ALL),  // pts/*
];

impl Policy {
    /// The policy of an OCI rule list. A rule for all devices sets the default and forgets what came
    /// before it; a list without one starts from "nothing".
    pub(super) fn new(list: &[LinuxDeviceCgroup]) -> Result<Policy, Error> {
        let mut policy = Policy { allow: false, rules: Vec::new() };
        for entry in list {
            match devices(entry)? {
                None => policy = Policy { allow: entry.allow(), rules: Vec::new() },
                Some(devices) => {
                    let text = entry.access().as_deref().unwrap_or_default();
                    let access = Access::parse(text).ok_or_else(|| Error::Value {
                        what: "device access",
                        value: text.into(),
                    })?;
                    let access = if access.0 == 0 { Access::ALL } else { access };
                    policy.push(Rule { allow: entry.allow(), devices, access });
                }
            }
        }
        if !policy.allow {
            for (kind, major, minor, access) in ALWAYS {
                policy.push(Rule { allow: true, devices: Devices { kind, major, minor }, access });
            }
        }
        Ok(policy)
    }

    fn push(&mut self, rule: Rule) {
        // An equal rule later decides as well as the one earlier, and is only one.
        self.rules.retain(|known| *known != rule);
        self.rules.push(rule);
    }

    /// Nothing is forbidden.
    pub(super) fn allows_all(&self) -> bool {
        self.allow && self.rules.iter().all(|rule| rule.allow)
    }
}

/// `None` is all devices.
fn devices(entry: &LinuxDeviceCgroup) -> Result<Option<Devices>, Error> {
    let kind = match entry.typ().unwrap_or_default() {
        LinuxDeviceType::A => return Ok(None),
        LinuxDeviceType::B => Kind::Block,
        LinuxDeviceType::C | LinuxDeviceType::U => Kind::Char,
        LinuxDeviceType::P => {
            return Err(Error::Value { what: "device type", value: "p".to_owned() });
        }
    };
    Ok(Some(Devices { kind, major: device(entry.major())?, minor: device(entry.minor())? }))
}

fn device(number: Option<i64>) -> Result<Option<u32>, Error> {
    match number {
        None | Some(-1) => Ok(None),
        Some(number) => u32::try_from(number)
            .map(Some)
            .map_err(|_| Error::Value { what: "device number", value: number.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::LinuxDeviceCgroupBuilder;

    use super::*;

    fn all(allow: bool) -> LinuxDeviceCgroup {
        LinuxDeviceCgroupBuilder::default().allow(allow).access("rwm").build().unwrap()
    }

    fn fuse(allow: bool) -> LinuxDeviceCgroup {
        LinuxDeviceCgroupBuilder::default()
            .allow(allow)
            .typ(LinuxDeviceType::C)
            .major(10)
            .minor(229)
            .access("rwm")
            .build()
            .unwrap()
    }

    #[test]
    fn a_rule_for_all_starts_over() {
        let policy = Policy::new(&[fuse(true), all(true)]).unwrap();
        assert!(policy.allows_all());
        let policy = Policy::new(&[all(true), fuse(false)]).unwrap();
        assert!(policy.allow && !policy.allows_all());
        let policy = Policy::new(&[all(false), fuse(true), fuse(true)]).unwrap();
        assert_eq!(policy.rules.len(), 1 + ALWAYS.len());
    }

    #[test]
    fn access_letters() {
        assert_eq!(Access::parse("mrw"), Some(Access::ALL));
        assert_eq!(Access::ALL.to_string(), "rwm");
        assert_eq!(Access::parse("x"), None);
    }

    #[test]
    fn odd_rules_are_refused() {
        let mut entry = fuse(true);
        entry.set_major(Some(-2));
        assert!(Policy::new(&[entry]).is_err());
        let mut entry = fuse(true);
        entry.set_access(Some("rx".to_owned()));
        assert!(Policy::new(&[entry]).is_err());
    }
}
