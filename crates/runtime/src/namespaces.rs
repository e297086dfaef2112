//! Which namespaces are new, which are joined, which are the host's.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespaceType};
use sys::namespace::{self, Kinds};
use sys::process::IdMap;

use crate::error::{Context, Error, Result, Step};

/// The decision, made from the specification alone.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Namespaces {
    /// To be made.
    pub new: Kinds,
    /// To be joined, by path.
    pub join: Vec<(Kinds, PathBuf)>,
}

impl Namespaces {
    /// Reads the list of the specification.
    pub(crate) fn plan(linux: Option<&Linux>) -> Result<Namespaces> {
        let mut plan = Namespaces::default();
        let list = linux.and_then(|l| l.namespaces().as_ref());
        for ns in list.into_iter().flatten() {
            let kind = kind_of(ns.typ());
            if plan.has(kind) {
                return Err(Error::Spec(
                    format!("malformed spec file: duplicated ns {:?}", name_of(kind)).into(),
                ));
            }
            match ns.path().as_ref().filter(|p| !p.as_os_str().is_empty()) {
                Some(path) => plan.join.push((kind, path.clone())),
                None => plan.new |= kind,
            }
        }
        Ok(plan)
    }

    /// Whether the container has a namespace of this kind that is not simply the caller's.
    pub(crate) fn has(&self, kind: Kinds) -> bool {
        self.all() & kind != 0
    }

    /// All kinds that are new or joined.
    pub(crate) fn all(&self) -> Kinds {
        self.join.iter().fold(self.new, |all, (kind, _)| all | kind)
    }

    /// The network namespace is handed in as a descriptor: neither make nor look up one.
    pub(crate) fn network_given(&mut self) {
        self.new &= !namespace::NET;
        self.join.retain(|(kind, _)| *kind != namespace::NET);
    }

    /// Opens what is to be joined; the user namespace comes last, for after it the caller has no
    /// rights over the others.
    pub(crate) fn open(&self) -> Result<Vec<(OwnedFd, Kinds)>> {
        let mut out = Vec::with_capacity(self.join.len());
        for (kind, path) in &self.join {
            let file = File::open(path).context(Step::Namespace, || {
                format!("cannot open the {} namespace {}", name_of(*kind), path.display())
            })?;
            out.push((OwnedFd::from(file), *kind));
        }
        out.sort_by_key(|(_, kind)| *kind == namespace::USER);
        Ok(out)
    }
}

fn kind_of(typ: LinuxNamespaceType) -> Kinds {
    match typ {
        LinuxNamespaceType::Mount => namespace::MOUNT,
        LinuxNamespaceType::Cgroup => namespace::CGROUP,
        LinuxNamespaceType::Uts => namespace::UTS,
        LinuxNamespaceType::Ipc => namespace::IPC,
        LinuxNamespaceType::User => namespace::USER,
        LinuxNamespaceType::Pid => namespace::PID,
        LinuxNamespaceType::Network => namespace::NET,
        LinuxNamespaceType::Time => namespace::TIME,
    }
}

/// As the specification calls it.
pub(crate) fn name_of(kind: Kinds) -> &'static str {
    match kind {
        namespace::MOUNT => "mount",
        namespace::CGROUP => "cgroup",
        namespace::UTS => "uts",
        namespace::IPC => "ipc",
        namespace::USER => "user",
        namespace::PID => "pid",
        namespace::NET => "network",
        namespace::TIME => "time",
        _ => "unknown",
    }
}

/// The specification's id map as `sys` takes it.
pub(crate) fn id_maps(maps: Option<&Vec<LinuxIdMapping>>) -> Vec<IdMap> {
    maps.into_iter()
        .flatten()
        .map(|m| IdMap { inside: m.container_id(), outside: m.host_id(), size: m.size() })
        .collect()
}

/// Joins the namespaces in order, but for those of the kinds `born` that this process is in since
/// its birth.
pub(crate) fn join_all(list: &[(OwnedFd, Kinds)], born: Kinds) -> Result<()> {
    for (fd, kinds) in list {
        let kinds = kinds & !born;
        if kinds == 0 {
            continue;
        }
        namespace::join(fd, kinds).context(Step::Namespace, || {
            let names: Vec<_> = (0..32)
                .map(|bit| kinds & (1 << bit))
                .filter(|kind| *kind != 0)
                .map(name_of)
                .collect();
            format!("cannot join the {} namespace of the container", names.join(", "))
        })?;
    }
    Ok(())
}

/// Text for `/proc/self/timens_offsets`.
pub(crate) fn time_offsets(linux: &Linux) -> io::Result<Option<String>> {
    use std::fmt::Write as _;
    let mut out = String::new();
    for (clock, offset) in linux.time_offsets().iter().flatten() {
        let (secs, nanos) = (offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0));
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let _ = writeln!(out, "{clock} {secs} {nanos}");
    }
    Ok((!out.is_empty()).then_some(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linux(json: &str) -> Linux {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn absent_means_host() {
        let l = linux(r#"{"namespaces":[{"type":"pid"},{"type":"ipc","path":"/proc/1/ns/ipc"}]}"#);
        let plan = Namespaces::plan(Some(&l)).unwrap();
        assert_eq!(plan.new, namespace::PID);
        assert_eq!(plan.join, [(namespace::IPC, PathBuf::from("/proc/1/ns/ipc"))]);
        assert!(plan.has(namespace::IPC) && !plan.has(namespace::NET));
    }

    #[test]
    fn twice_is_refused() {
        let l = linux(r#"{"namespaces":[{"type":"pid"},{"type":"pid"}]}"#);
        assert!(Namespaces::plan(Some(&l)).is_err());
    }
}
