//! Kernel parameters of the container's namespaces.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use oci_spec::runtime::Linux;
use sys::fs::{Mode, OFlags, ResolveFlags, Root};
use sys::namespace::{self, Kinds};

use crate::error::{Context, Error, Result, Step};

/// Parameters to set: path below `/proc/sys`, value, and the name as given.
#[derive(Debug, Default)]
pub(crate) struct SysctlPlan {
    list: Vec<(PathBuf, String, String)>,
}

impl SysctlPlan {
    /// Checks that every parameter belongs to a namespace that the container has (`has`), for the
    /// others are the host's.
    pub(crate) fn new(linux: Option<&Linux>, has: impl Fn(Kinds) -> bool) -> Result<SysctlPlan> {
        let mut list = Vec::new();
        for (name, value) in linux.and_then(|l| l.sysctl().as_ref()).into_iter().flatten() {
            let path = path_of(name);
            check(name, &path, &has)?;
            list.push((PathBuf::from(path), value.clone(), name.clone()));
        }
        list.sort();
        Ok(SysctlPlan { list })
    }

    /// Writes them, through the container's procfs or the caller's.
    pub(crate) fn write(&self, proc: Option<&OwnedFd>) -> Result<()> {
        if self.list.is_empty() {
            return Ok(());
        }
        let root = match proc {
            Some(proc) => proc.try_clone().map(Root::from),
            None => Root::open_host("/proc"),
        };
        let root = root.context(Step::Sysctl, || "cannot open /proc")?;
        for (path, value, name) in &self.list {
            let write = || -> io::Result<()> {
                let path = PathBuf::from("sys").join(path);
                // Nothing that a bind of the specification put over it (CVE-2025-52881).
                let flags = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
                let file = root.open_with(path, OFlags::WRONLY, Mode::empty(), flags)?;
                sys::fs::write_fd(&file, value)
            };
            write().context(Step::Sysctl, || format!("failed to write sysctl {name}={value}"))?;
        }
        Ok(())
    }
}

/// `net.ipv4.ip_forward` or `net/ipv4/conf/eth0.1/forwarding`: whichever separator comes first is
/// the separator, as in sysctl(8).
fn path_of(name: &str) -> String {
    if name.find('.') < name.find('/') || !name.contains('/') {
        name.chars()
            .map(|c| {
                if c == '.' {
                    '/'
                } else if c == '/' {
                    '.'
                } else {
                    c
                }
            })
            .collect()
    } else {
        name.to_owned()
    }
}

fn check(name: &str, path: &str, has: &impl Fn(Kinds) -> bool) -> Result<()> {
    const IPC: [&str; 11] = [
        "kernel/msgmax",
        "kernel/msgmnb",
        "kernel/msgmni",
        "kernel/sem",
        "kernel/shmall",
        "kernel/shmmax",
        "kernel/shmmni",
        "kernel/shm_rmid_forced",
        "kernel/msg_next_id",
        "kernel/sem_next_id",
        "kernel/shm_next_id",
    ];
    let refuse = |why: &str| Err(Error::Spec(format!("sysctl {name:?} {why}").into()));
    if path.split('/').any(|part| part.is_empty() || part == ".." || part == ".") {
        return refuse("is not a valid name");
    }
    if IPC.contains(&path) || path.starts_with("fs/mqueue/") {
        if has(namespace::IPC) {
            return Ok(());
        }
        return refuse("is not allowed in the hosts ipc namespace");
    }
    if path.starts_with("net/") {
        if has(namespace::NET) {
            return Ok(());
        }
        return refuse("not allowed in host network namespace");
    }
    match path {
        "kernel/domainname" if has(namespace::UTS) => Ok(()),
        "kernel/domainname" => refuse("is not allowed in the hosts UTS namespace"),
        "kernel/hostname" => {
            refuse("is not allowed as it conflicts with the OCI \"hostname\" field")
        }
        _ if path.starts_with("user/") && has(namespace::USER) => Ok(()),
        _ => refuse("is not in a separate kernel namespace"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(name: &str, kinds: Kinds) -> Result<SysctlPlan> {
        let linux: Linux =
            serde_json::from_value(serde_json::json!({"sysctl": {name: "1"}})).unwrap();
        SysctlPlan::new(Some(&linux), |kind| kinds & kind != 0)
    }

    #[test]
    fn separators() {
        assert_eq!(path_of("net.ipv4.ip_forward"), "net/ipv4/ip_forward");
        assert_eq!(path_of("net/ipv4/conf/eth0.1/x"), "net/ipv4/conf/eth0.1/x");
        assert_eq!(path_of("net.ipv4.conf.eth0/1.x"), "net/ipv4/conf/eth0.1/x");
    }

    #[test]
    fn only_of_own_namespaces() {
        assert!(plan("net.ipv4.ip_forward", namespace::NET).is_ok());
        assert!(plan("net.ipv4.ip_forward", namespace::IPC).is_err());
        assert!(plan("kernel.shmmax", namespace::IPC).is_ok());
        let e = plan("kernel.shmmax", 0).unwrap_err();
        assert_eq!(
            e.to_string(),
            "sysctl \"kernel.shmmax\" is not allowed in the hosts ipc namespace"
        );
        let e = plan("vm.swappiness", u64::MAX).unwrap_err();
        assert!(e.to_string().contains("is not in a separate kernel namespace"));
        assert!(plan("net.../../x", u64::MAX).is_err());
    }
}
