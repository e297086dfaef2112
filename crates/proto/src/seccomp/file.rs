//! Profile files in Docker's format: the OCI profile plus rules that count only with certain
//! capabilities, architectures or kernels.

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag,
};
use serde::Deserialize;
use thiserror::Error as ThisError;
use types::capability::CapabilitySet;

use super::{Machine, profile, rule};

/// Why a profile file cannot be used. The texts are Docker's where it has one.
#[derive(Debug, ThisError)]
pub enum Error {
    /// Not JSON, or not of this shape.
    #[error("Decoding seccomp profile failed: {0}")]
    Decode(#[from] serde_json::Error),
    /// Two ways to say one thing.
    #[error(
        "both 'architectures' and 'archMap' are specified in the seccomp profile, use either 'architectures' or 'archMap'"
    )]
    BothArchitectures,
    /// Two ways to say one thing.
    #[error(
        "both 'name' and 'names' are specified in the seccomp profile, use either 'name' or 'names'"
    )]
    BothNames,
    /// Neither a known architecture nor one to be passed over.
    #[error("unknown architecture in the seccomp profile: {0}")]
    Architecture(String),
    /// Not `major.minor`.
    #[error("invalid minKernel in the seccomp profile: {0}")]
    Kernel(String),
}

/// A parsed profile file.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    default_action: LinuxSeccompAction,
    #[serde(default)]
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default)]
    arch_map: Option<Vec<ArchEntry>>,
    #[serde(default)]
    flags: Option<Vec<LinuxSeccompFilterFlag>>,
    #[serde(default)]
    syscalls: Option<Vec<Row>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchEntry {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    /// The form of old profiles.
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    names: Option<Vec<String>>,
    action: LinuxSeccompAction,
    #[serde(default)]
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<LinuxSeccompArg>>,
    #[serde(default)]
    includes: Option<Filter>,
    #[serde(default)]
    excludes: Option<Filter>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    arches: Option<Vec<String>>,
    #[serde(default)]
    min_kernel: Option<String>,
}

impl Profile {
    /// Parses the content of a profile file.
    ///
    /// # Errors
    /// All of [`Error`]; what is found here need not be looked for again by [`Profile::resolve`].
    pub fn parse(json: &str) -> Result<Profile, Error> {
        let profile: Profile = serde_json::from_str(json)?;
        let filled = |list: Option<usize>| list.unwrap_or(0) > 0;
        if filled(profile.architectures.as_ref().map(Vec::len))
            && filled(profile.arch_map.as_ref().map(Vec::len))
        {
            return Err(Error::BothArchitectures);
        }
        for row in profile.syscalls.iter().flatten() {
            if row.name.as_ref().is_some_and(|name| !name.is_empty())
                && filled(row.names.as_ref().map(Vec::len))
            {
                return Err(Error::BothNames);
            }
            for filter in [&row.includes, &row.excludes].into_iter().flatten() {
                if let Some(version) = &filter.min_kernel
                    && parse_kernel(version).is_none()
                {
                    return Err(Error::Kernel(version.clone()));
                }
            }
        }
        Ok(profile)
    }

    /// The profile for a container with these capabilities (its bounding set).
    ///
    /// # Errors
    /// [`Error::Architecture`].
    pub fn resolve(
        &self,
        caps: CapabilitySet,
        kernel: (u32, u32),
        machine: Machine,
    ) -> Result<LinuxSeccomp, Error> {
        let mut calls = Vec::new();
        for row in self.syscalls.iter().flatten() {
            if row.counts(caps, kernel, machine) {
                let names = match &row.name {
                    Some(name) if !name.is_empty() => vec![name.clone()],
                    _ => row.names.clone().unwrap_or_default(),
                };
                let args = row.args.clone().unwrap_or_default();
                calls.push(rule(names, row.action, row.errno_ret, args));
            }
        }
        let architectures = self.architectures(machine)?;
        let mut resolved =
            profile(self.default_action, self.default_errno_ret, architectures, calls);
        resolved.set_flags(self.flags.clone());
        Ok(resolved)
    }

    /// Of the map only the machine's own entry; a list as it is.
    fn architectures(&self, machine: Machine) -> Result<Vec<Arch>, Error> {
        let parse = |name: &String| {
            serde_json::from_value(name.as_str().into())
                .map_err(|_| Error::Architecture(name.clone()))
        };
        if let Some(list) = self.architectures.as_ref().filter(|list| !list.is_empty()) {
            return list.iter().map(parse).collect();
        }
        let own = match machine {
            Machine::X86_64 => "SCMP_ARCH_X86_64",
            Machine::Aarch64 => "SCMP_ARCH_AARCH64",
        };
        let entry = self.arch_map.iter().flatten().find(|entry| entry.architecture == own);
        let Some(entry) = entry else { return Ok(Vec::new()) };
        let below = entry.sub_architectures.iter().flatten();
        std::iter::once(&entry.architecture).chain(below).map(parse).collect()
    }
}

impl Row {
    /// `excludes` strikes the row when any of it applies; of `includes` all must: every capability,
    /// one of the architectures, the kernel.
    fn counts(&self, caps: CapabilitySet, kernel: (u32, u32), machine: Machine) -> bool {
        let has = |name: &String| name.parse().is_ok_and(|cap| caps.contains(cap));
        let here = |name: &String| name == machine.name();
        let since = |version: &String| parse_kernel(version).is_some_and(|least| kernel >= least);
        let excluded = self.excludes.as_ref().is_some_and(|filter| {
            filter.caps.iter().flatten().any(has)
                || filter.arches.iter().flatten().any(here)
                || filter.min_kernel.as_ref().is_some_and(since)
        });
        let included = self.includes.as_ref().is_none_or(|filter| {
            filter.caps.iter().flatten().all(has)
                && filter
                    .arches
                    .as_ref()
                    .is_none_or(|list| list.is_empty() || list.iter().any(here))
                && filter.min_kernel.as_ref().is_none_or(since)
        });
        included && !excluded
    }
}

fn parse_kernel(version: &str) -> Option<(u32, u32)> {
    let (major, minor) = version.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPS: CapabilitySet = CapabilitySet::EMPTY;

    fn names(json: &str, caps: CapabilitySet, machine: Machine) -> Vec<String> {
        let profile = Profile::parse(json).unwrap().resolve(caps, (6, 1), machine).unwrap();
        profile.syscalls().iter().flatten().flat_map(|call| call.names().clone()).collect()
    }

    #[test]
    fn rows_count_by_capability_machine_and_kernel() {
        let json = r#"{"defaultAction": "SCMP_ACT_ERRNO", "comment": "x", "syscalls": [
            {"names": ["a"], "action": "SCMP_ACT_ALLOW", "args": null, "includes": {}, "excludes": {}},
            {"name": "b", "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["c"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["d"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
            {"names": ["e"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "6.1"}},
            {"names": ["f"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "6.2"}}]}"#;
        let admin = ["SYS_ADMIN".parse().unwrap()].into_iter().collect();
        assert_eq!(names(json, CAPS, Machine::X86_64), ["a", "c", "e"]);
        assert_eq!(names(json, admin, Machine::Aarch64), ["a", "b", "d", "e"]);
    }

    #[test]
    fn architectures_come_from_the_list_or_the_map() {
        let arches = |json: &str| {
            let profile = Profile::parse(json).unwrap();
            profile.resolve(CAPS, (6, 1), Machine::X86_64).map(|p| p.architectures().clone())
        };
        let list = r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"]}"#;
        assert_eq!(arches(list).unwrap(), Some(vec![Arch::ScmpArchX86]));
        let map = r#"{"defaultAction": "SCMP_ACT_ALLOW", "archMap": [
            {"architecture": "SCMP_ARCH_FUTURE", "subArchitectures": ["SCMP_ARCH_OTHER"]},
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X32"]}]}"#;
        let expected = vec![Arch::ScmpArchX86_64, Arch::ScmpArchX32];
        assert_eq!(arches(map).unwrap(), Some(expected));
        let odd = r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_ODD"]}"#;
        assert!(matches!(arches(odd), Err(Error::Architecture(_))));
    }

    #[test]
    fn contradictions_and_rubbish_are_refused() {
        let parse = |json: &str| Profile::parse(json).unwrap_err().to_string();
        assert!(parse("{").starts_with("Decoding seccomp profile failed: "));
        assert!(parse(r#"{"defaultAction": "SCMP_ACT_MAYBE"}"#).starts_with("Decoding"));
        let both = r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"],
            "archMap": [{"architecture": "SCMP_ARCH_X86_64"}]}"#;
        assert!(parse(both).contains("'architectures' and 'archMap'"));
        let both = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"name": "a", "names": ["b"], "action": "SCMP_ACT_ALLOW"}]}"#;
        assert!(parse(both).contains("'name' and 'names'"));
        let kernel = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["b"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "four"}}]}"#;
        assert!(parse(kernel).contains("minKernel"));
    }
}
