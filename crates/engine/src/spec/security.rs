//! Privileges: capabilities, seccomp, and the labels of AppArmor and SELinux.

use std::path::Path;

use oci_spec::runtime::{Capabilities, Linux, LinuxCapabilities, LinuxSeccomp};
use proto::seccomp::{self, Machine, Profile};
use types::Error;
use types::capability::{self, CapabilitySet};
use types::container::HostConfig;

use crate::config::Config;
use crate::record::Record;

/// `--security-opt`, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// The text of a profile, or `unconfined`; `None`: the daemon's.
    pub(crate) seccomp: Option<String>,
    pub(crate) apparmor: Option<String>,
    pub(crate) process_label: Option<String>,
    pub(crate) mount_label: Option<String>,
    pub(crate) no_new_privileges: Option<bool>,
}

impl Options {
    /// Reads the options; both `key=value` and the old `key:value` are understood.
    pub(crate) fn parse(options: &[String]) -> Result<Self, Error> {
        let mut read = Self::default();
        let mut labels = Vec::new();
        for option in options {
            let (key, value) = match option.split_once(['=', ':']) {
                Some(pair) => pair,
                None if option == "no-new-privileges" => ("no-new-privileges", "true"),
                None => {
                    return Err(Error::invalid(format!("invalid --security-opt 1: \"{option}\"")));
                }
            };
            match key {
                "seccomp" => read.seccomp = Some(value.to_owned()),
                "apparmor" => read.apparmor = apparmor(value)?,
                "label" => labels.push(value.to_owned()),
                "no-new-privileges" => {
                    read.no_new_privileges = Some(value.parse().map_err(|_| {
                        Error::invalid(format!("invalid --security-opt 2: \"{option}\""))
                    })?);
                }
                "systempaths" if value == "unconfined" => {}
                "writable-cgroups" => {}
                _ => {
                    return Err(Error::invalid(format!("invalid --security-opt 2: \"{option}\"")));
                }
            }
        }
        if !labels.is_empty() && !labels.iter().any(|label| label == "disable") {
            (read.process_label, read.mount_label) = selinux(&labels)?;
        }
        Ok(read)
    }
}

/// The AppArmor profile, where the host has AppArmor.
fn apparmor(profile: &str) -> Result<Option<String>, Error> {
    if profile == "unconfined" || profile.is_empty() {
        return Ok(None);
    }
    let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled")
        .is_ok_and(|text| text.trim() == "Y");
    if enabled {
        Ok(Some(profile.to_owned()))
    } else {
        Err(Error::invalid(format!(
            "cannot use AppArmor profile '{profile}': AppArmor is not enabled on this host; leave \
             the option out or use apparmor=unconfined"
        )))
    }
}

/// Process and mount labels from `user:`, `role:`, `type:` and `level:`.
fn selinux(labels: &[String]) -> Result<(Option<String>, Option<String>), Error> {
    if !Path::new("/sys/fs/selinux/enforce").exists() {
        return Err(Error::invalid(
            "cannot set an SELinux label: SELinux is not enabled on this host; leave the option \
             out or use label=disable",
        ));
    }
    let mut parts = ["system_u", "system_r", "container_t", "s0"].map(str::to_owned);
    for label in labels {
        let (key, value) = label.split_once(':').unwrap_or((label, ""));
        let place = match key {
            "user" => 0,
            "role" => 1,
            "type" => 2,
            "level" => 3,
            _ => return Err(Error::invalid(format!("invalid label option: {label}"))),
        };
        value.clone_into(&mut parts[place]);
    }
    let mount = format!("system_u:object_r:container_file_t:{}", parts[3]);
    Ok((Some(parts.join(":")), Some(mount)))
}

/// The capabilities that a container gets, and what it does not get though it usually would.
#[derive(Debug)]
pub(crate) struct Privileges {
    pub(crate) set: CapabilitySet,
    pub(crate) warnings: Vec<String>,
}

pub(crate) fn privileges(host: &HostConfig, available: CapabilitySet) -> Result<Privileges, Error> {
    let resolved = capability::resolve(&host.cap_add, &host.cap_drop, host.privileged, available)
        .map_err(|error| Error::invalid(error.to_string()))?;
    let warnings = if resolved.lacking.is_empty() {
        Vec::new()
    } else {
        vec![format!(
            "the daemon itself lacks {}: the container goes without",
            resolved.lacking.names().join(", ")
        )]
    };
    Ok(Privileges { set: resolved.set, warnings })
}

/// The five sets of a process. A process that is not root starts with none in effect, unless it
/// is privileged on purpose; what it may regain by executing a file is bounded.
pub(crate) fn capabilities(
    set: CapabilitySet,
    unprivileged_user: bool,
    _privileged: bool,
) -> Result<LinuxCapabilities, Error> {
    let names = oci_names(set)?;
    let held = if unprivileged_user { Capabilities::new() } else { names.clone() };
    let mut sets = LinuxCapabilities::default();
    sets.set_bounding(Some(names))
        .set_effective(Some(held.clone()))
        .set_permitted(Some(held))
        .set_inheritable(Some(Capabilities::new()))
        .set_ambient(Some(Capabilities::new()));
    Ok(sets)
}

fn oci_names(set: CapabilitySet) -> Result<Capabilities, Error> {
    let name = |name: String| {
        serde_json::from_value(serde_json::Value::String(name))
            .map_err(|error| Error::system(format!("unknown capability: {error}")))
    };
    set.names().into_iter().map(name).collect()
}

/// Sets the seccomp profile; says whether the built-in one is to be used.
pub(crate) fn set_seccomp(
    linux: &mut Linux,
    record: &Record,
    options: &Options,
    config: &Config,
) -> Result<bool, Error> {
    let host = &record.host;
    let chosen = match &options.seccomp {
        Some(chosen) => Some(chosen.as_str()),
        None if host.privileged => Some("unconfined"),
        None => config.seccomp_profile.as_deref(),
    };
    match chosen {
        None | Some("" | "builtin") => Ok(true),
        Some("unconfined") => Ok(false),
        Some(text) => {
            linux.set_seccomp(Some(profile(text, record)?));
            Ok(false)
        }
    }
}

/// Reads a profile in Docker's format (which contains the OCI format).
fn profile(text: &str, record: &Record) -> Result<LinuxSeccomp, Error> {
    let set = privileges(&record.host, CapabilitySet::full())?.set;
    let name = rustix::system::uname();
    let kernel = seccomp::kernel_version(&name.release().to_string_lossy());
    let machine = match record.architecture() {
        "arm64" => Machine::Aarch64,
        _ => Machine::X86_64,
    };
    Profile::parse(text)
        .and_then(|profile| profile.resolve(set, kernel, machine))
        .map_err(|error| Error::invalid(format!("Decoding seccomp profile failed: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(option: &str) -> Result<Options, Error> {
        Options::parse(&[option.to_owned()])
    }

    #[test]
    fn security_options_have_two_spellings() {
        assert_eq!(parse("no-new-privileges").expect("bare").no_new_privileges, Some(true));
        assert_eq!(parse("no-new-privileges:false").expect("old").no_new_privileges, Some(false));
        assert_eq!(
            parse("seccomp=unconfined").expect("new").seccomp.as_deref(),
            Some("unconfined")
        );
        assert_eq!(parse("label=disable").expect("label").process_label, None);
        for bad in ["nonsense", "no-new-privileges=maybe", "what=ever"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
