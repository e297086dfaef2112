//! The mounts of a container, in the order in which they are made.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount;
use types::Error;
use types::container::HostConfig;
use types::mount::{MountKind, TmpfsOptions};

use crate::config::Config;
use crate::container::{validate, volumes};
use crate::record::Record;

/// One mount.
pub(crate) fn mount(
    destination: &str,
    kind: &str,
    source: impl Into<PathBuf>,
    options: &[&str],
) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(PathBuf::from(destination))
        .set_typ(Some(kind.to_owned()))
        .set_source(Some(source.into()))
        .set_options(Some(options.iter().map(|&option| option.to_owned()).collect()));
    mount
}

/// Everything: the kernel's file systems, shared memory, the engine's files in /etc, and what
/// the user asked for (`resolved` are binds, volumes and images), parents before children.
pub(crate) fn list(
    record: &Record,
    config: &Config,
    resolved: Vec<Mount>,
) -> Result<Vec<Mount>, Error> {
    let mut own = resolved;
    own.extend(tmpfs(&record.host)?);
    let asked: Vec<PathBuf> = own.iter().map(|mount| mount.destination().clone()).collect();
    let free = |mount: &Mount| !asked.contains(mount.destination());
    let mut all: Vec<Mount> = kernel(&record.host).into_iter().filter(free).collect();
    all.extend(files(record, config).into_iter().filter(free));
    own.sort_by_key(|mount| mount.destination().components().count());
    all.extend(own);
    Ok(all)
}

fn kernel(host: &HostConfig) -> Vec<Mount> {
    let writable = if host.privileged { "rw" } else { "ro" };
    let mut list = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", writable]),
        mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", writable],
        ),
    ];
    // A host that never mounted its message queues still has them.
    let hosts = host.ipc_mode == "host" && Path::new("/dev/mqueue").exists();
    if hosts {
        list.push(mount(
            "/dev/mqueue",
            "bind",
            "/dev/mqueue",
            &["rbind", "nosuid", "noexec", "nodev"],
        ));
    } else {
        list.push(mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]));
    }
    if let Some(shm) = shm(host) {
        list.push(shm);
    }
    list
}

/// /dev/shm: the host's, none, another container's (the caller binds it), or its own.
fn shm(host: &HostConfig) -> Option<Mount> {
    if host.ipc_mode == "none" || validate::joined(&host.ipc_mode).is_some() {
        return None;
    }
    if host.ipc_mode == "host" {
        return Some(mount(
            "/dev/shm",
            "bind",
            "/dev/shm",
            &["rbind", "nosuid", "noexec", "nodev"],
        ));
    }
    let size = format!("size={}", host.shm_size);
    Some(mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", &size]))
}

/// The files that the engine keeps for the container.
fn files(record: &Record, config: &Config) -> Vec<Mount> {
    let directory = config.container_dir(record.id.as_str());
    let writable = if record.host.readonly_rootfs { "ro" } else { "rw" };
    ["resolv.conf", "hostname", "hosts"]
        .into_iter()
        .map(|name| {
            let target = format!("/etc/{name}");
            let options = ["rbind", "rprivate", writable];
            with_ids(mount(&target, "bind", directory.join(name), &options), record)
        })
        .collect()
}

/// Maps ids on a bind mount, so that files keep their owners when user ids are remapped.
pub(crate) fn with_ids(mut mount: Mount, record: &Record) -> Mount {
    let (uids, gids) = super::mappings(record.remapped);
    if uids.is_some() {
        mount.set_uid_mappings(uids).set_gid_mappings(gids);
        if let Some(options) = mount.options_mut() {
            options.push("idmap".to_owned());
        }
    }
    mount
}

/// A bind mount of a host path at the place of a mount point.
pub(crate) fn bind(record: &Record, point: &types::mount::MountPoint, source: &Path) -> Mount {
    let long = volumes::long_form(&record.host, &point.destination);
    let options = long.and_then(|mount| mount.bind_options.clone()).unwrap_or_default();
    let mut words = vec![if options.non_recursive { "bind" } else { "rbind" }];
    let propagation =
        if point.propagation.is_empty() { "rprivate" } else { point.propagation.as_str() };
    words.push(propagation);
    if !point.rw {
        words.push("ro");
        // What is mounted below is read-only too unless the user says otherwise, as since Docker
        // 25: with `ro` alone, `-v /sys:/sys:ro` leaves the cgroups writable.
        if !options.read_only_non_recursive {
            words.push("rro");
        }
    }
    let made = mount(&point.destination, "bind", source, &words);
    // Volumes belong to the engine: their files keep the ids that containers gave them. A bind
    // mount is the host's; whose its files are is decided in `volumes/idmap.rs`.
    if point.kind == MountKind::Volume { with_ids(made, record) } else { made }
}

pub(crate) fn tmpfs(host: &HostConfig) -> Result<Vec<Mount>, Error> {
    let mut list = Vec::new();
    for (place, options) in &host.tmpfs {
        let mut words = vec!["nosuid", "nodev", "noexec"];
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option {
                "exec" | "suid" | "dev" => {
                    words.retain(|word| word.strip_prefix("no") != Some(option))
                }
                _ => words.push(check_tmpfs(option)?),
            }
        }
        list.push(mount(&volumes::clean(place)?, "tmpfs", "tmpfs", &words));
    }
    for asked in host.mounts.iter().filter(|mount| mount.kind == MountKind::Tmpfs) {
        list.push(long_tmpfs(asked)?);
    }
    Ok(list)
}

/// A tmpfs that was asked for in the long form.
pub(crate) fn long_tmpfs(asked: &types::mount::Mount) -> Result<Mount, Error> {
    let given = asked.tmpfs_options.clone().unwrap_or_default();
    let words = words_of_tmpfs(&given, asked.read_only)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Ok(mount(&volumes::clean(&asked.target)?, "tmpfs", "tmpfs", &words))
}

fn words_of_tmpfs(given: &TmpfsOptions, read_only: bool) -> Result<Vec<String>, Error> {
    let mut words: Vec<String> = ["nosuid", "nodev", "noexec"].map(str::to_owned).into();
    if read_only {
        words.push("ro".to_owned());
    }
    if given.size_bytes > 0 {
        words.push(format!("size={}", given.size_bytes));
    }
    if let Some(mode) = given.mode {
        words.push(format!("mode={mode:o}"));
    }
    for option in &given.options {
        let option = option.join("=");
        match option.as_str() {
            "exec" | "suid" | "dev" => {
                words.retain(|word| word.strip_prefix("no") != Some(&option));
            }
            other => words.push(check_tmpfs(other)?.to_owned()),
        }
    }
    Ok(words)
}

/// Lets known options of tmpfs(5) and mount(8) pass.
fn check_tmpfs(option: &str) -> Result<&str, Error> {
    const FLAGS: [&str; 24] = [
        "ro",
        "rw",
        "noexec",
        "nosuid",
        "nodev",
        "atime",
        "noatime",
        "relatime",
        "norelatime",
        "strictatime",
        "nostrictatime",
        "diratime",
        "nodiratime",
        "sync",
        "async",
        "dirsync",
        "defaults",
        "private",
        "rprivate",
        "shared",
        "rshared",
        "slave",
        "rslave",
        "tmpcopyup",
    ];
    const KEYS: [&str; 8] =
        ["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol", "huge"];
    let known = match option.split_once('=') {
        Some((key, _)) => KEYS.contains(&key),
        None => FLAGS.contains(&option),
    };
    if known {
        Ok(option)
    } else {
        // dockerd prints the option's halves as Go prints a list.
        let halves = option.replacen('=', "\" \"", 1);
        Err(Error::invalid(format!("invalid tmpfs option [\"{halves}\"]")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tmpfs_options_are_checked_and_can_lift_the_defaults() {
        let mut host = HostConfig::default();
        host.tmpfs.insert("/run".to_owned(), "rw,exec,size=1m".to_owned());
        let list = tmpfs(&host).expect("valid");
        let options = list[0].options().clone().expect("options");
        assert_eq!(options, ["nosuid", "nodev", "rw", "size=1m"]);
        host.tmpfs.insert("/x".to_owned(), "bogus=1".to_owned());
        assert!(tmpfs(&host).is_err());
    }
}
