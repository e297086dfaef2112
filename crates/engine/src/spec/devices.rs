//! Devices of the host inside the container, and the rules about who may use which.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType};
use rustix::fs::{FileType, major, minor, stat};
use types::Error;
use types::container::HostConfig;
use types::resources::DeviceMapping;

/// Nodes to make, and rules in the order in which they hold.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) nodes: Vec<LinuxDevice>,
    pub(crate) rules: Vec<LinuxDeviceCgroup>,
}

/// Directories of /dev whose nodes are each container's own, or mean nothing in another one.
const OWN: [&str; 6] = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts"];

/// Asks the host for the devices that a container is to have.
pub(crate) fn find(host: &HostConfig) -> Result<Found, Error> {
    if host.privileged {
        let mut nodes = Vec::new();
        collect(Path::new("/dev"), Path::new("/dev"), &mut nodes);
        return Ok(Found { nodes, rules: vec![rule(true, None, None, None, "rwm")] });
    }
    let mut found = Found { nodes: Vec::new(), rules: default_rules() };
    for mapping in &host.resources.devices {
        map(mapping, &mut found)?;
    }
    for text in &host.resources.device_cgroup_rules {
        found.rules.push(parse_rule(text)?);
    }
    Ok(found)
}

/// The right to every device, and none of the host's.
pub(crate) fn all_allowed() -> Found {
    Found { nodes: Vec::new(), rules: vec![rule(true, None, None, None, "rwm")] }
}

fn map(mapping: &DeviceMapping, found: &mut Found) -> Result<(), Error> {
    let source = Path::new(&mapping.path_on_host);
    let target = match mapping.path_in_container.as_str() {
        "" => source,
        path => Path::new(path),
    };
    let access = match mapping.cgroup_permissions.as_str() {
        "" => "rwm",
        access if access.bytes().all(|b| b"rwm".contains(&b)) => access,
        access => return Err(Error::invalid(format!("invalid device mode: {access}"))),
    };
    let failed = |error: &dyn std::fmt::Display| {
        Error::invalid(format!(
            "error gathering device information while adding custom device \"{}\": {error}",
            source.display()
        ))
    };
    // Device nodes may be reached over links such as /dev/disk/by-id/….
    let real = std::fs::canonicalize(source).map_err(|_| failed(&"no such file or directory"))?;
    let before = found.nodes.len();
    if real.is_dir() {
        collect(&real, target, &mut found.nodes);
    } else if let Some(node) = node(&real, target) {
        found.nodes.push(node);
    }
    if found.nodes.len() == before {
        return Err(failed(&"not a device node"));
    }
    for node in &found.nodes[before..] {
        let (kind, major, minor) = (node.typ(), node.major(), node.minor());
        found.rules.push(rule(true, Some(kind), Some(major), Some(minor), access));
    }
    Ok(())
}

/// Every device node below a directory. What vanishes or cannot be read is left out.
fn collect(directory: &Path, target: &Path, nodes: &mut Vec<LinuxDevice>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let path = entry.path();
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            if !OWN.iter().any(|own| name == **own) {
                collect(&path, &target.join(&name), nodes);
            }
        } else if name != "console" && !kind.is_symlink() {
            nodes.extend(node(&path, &target.join(&name)));
        }
    }
}

fn node(path: &Path, target: &Path) -> Option<LinuxDevice> {
    let found = stat(path).ok()?;
    let kind = match FileType::from_raw_mode(found.st_mode) {
        FileType::BlockDevice => LinuxDeviceType::B,
        FileType::CharacterDevice => LinuxDeviceType::C,
        _ => return None,
    };
    let mut node = LinuxDevice::default();
    node.set_path(PathBuf::from(target))
        .set_typ(kind)
        .set_major(major(found.st_rdev).into())
        .set_minor(minor(found.st_rdev).into())
        .set_file_mode(Some(found.st_mode & 0o7777))
        .set_uid(Some(found.st_uid))
        .set_gid(Some(found.st_gid));
    Some(node)
}

fn rule(
    allow: bool,
    kind: Option<LinuxDeviceType>,
    major: Option<i64>,
    minor: Option<i64>,
    access: &str,
) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(allow)
        .set_typ(Some(kind.unwrap_or(LinuxDeviceType::A)))
        .set_major(major)
        .set_minor(minor)
        .set_access(Some(access.to_owned()));
    rule
}

/// Nothing, but making nodes, and the devices that every container has
/// (numbers: the kernel's devices.txt).
fn default_rules() -> Vec<LinuxDeviceCgroup> {
    const CHARACTER: [(i64, Option<i64>); 9] = [
        (1, Some(3)), // null
        (1, Some(5)), // zero
        (1, Some(7)), // full
        (1, Some(8)), // random
        (1, Some(9)), // urandom
        (5, Some(0)), // tty
        (5, Some(1)), // console
        (5, Some(2)), // ptmx
        (136, None),  // pts/*
    ];
    let character = Some(LinuxDeviceType::C);
    let mut rules = vec![
        rule(false, None, None, None, "rwm"),
        rule(true, character, None, None, "m"),
        rule(true, Some(LinuxDeviceType::B), None, None, "m"),
    ];
    rules.extend(CHARACTER.map(|(major, minor)| rule(true, character, Some(major), minor, "rwm")));
    rules
}

/// Reads a rule such as `c 13:* rwm`.
fn parse_rule(text: &str) -> Result<LinuxDeviceCgroup, Error> {
    let invalid = || Error::invalid(format!("invalid device cgroup rule format: '{text}'"));
    let mut words = text.split_ascii_whitespace();
    let (Some(kind), Some(numbers), Some(access), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(invalid());
    };
    let kind = match kind {
        "a" => LinuxDeviceType::A,
        "b" => LinuxDeviceType::B,
        "c" => LinuxDeviceType::C,
        _ => return Err(invalid()),
    };
    let (major, minor) = numbers.split_once(':').ok_or_else(invalid)?;
    let number = |text: &str| match text {
        "*" => Ok(None),
        text => text.parse::<u32>().map(|n| Some(n.into())).map_err(|_| invalid()),
    };
    if access.is_empty() || !access.bytes().all(|b| b"rwm".contains(&b)) {
        return Err(invalid());
    }
    Ok(rule(true, Some(kind), number(major)?, number(minor)?, access))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read() {
        let rule = parse_rule("c 13:* rw").expect("valid");
        assert_eq!((rule.major(), rule.minor()), (Some(13), None));
        for bad in ["", "c 13 rw", "x 1:2 r", "c 1:2 q", "c a:b r", "c 1:2 r extra"] {
            assert!(parse_rule(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_device_is_found_with_its_number() {
        let mut host = HostConfig::default();
        host.resources.devices.push(DeviceMapping {
            path_on_host: "/dev/null".to_owned(),
            path_in_container: "/dev/nothing".to_owned(),
            cgroup_permissions: "r".to_owned(),
        });
        let found = find(&host).expect("found");
        assert_eq!(found.nodes[0].path(), Path::new("/dev/nothing"));
        assert_eq!((found.nodes[0].major(), found.nodes[0].minor()), (1, 3));
        assert_eq!(found.rules.last().and_then(|r| r.access().clone()).as_deref(), Some("r"));
        "/etc/passwd".clone_into(&mut host.resources.devices[0].path_on_host);
        assert!(find(&host).is_err());
    }
}
