//! `spec`: an example to begin with.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::args::Args;
use super::{Error, FileContext, Result, features};

/// `spec`.
pub(super) fn spec(args: &mut Args) -> Result<i32> {
    let mut bundle = PathBuf::from(".");
    while let Some(option) = args.option()? {
        match option.as_str() {
            "--bundle" | "-b" => bundle = args.value()?.into(),
            "--rootless" => {
                if args.flag()? {
                    return Err(Error::Usage("this runtime needs root".into()));
                }
            }
            other => return Err(args.unknown(other)),
        }
    }
    args.end()?;
    let path = bundle.join("config.json");
    if path.exists() {
        return Err(Error::Usage("File config.json exists. Remove it first".into()));
    }
    let text = format!("{:#}\n", example());
    std::fs::write(&path, text).file(|| format!("cannot write {}", path.display()))?;
    Ok(0)
}

fn example() -> Value {
    let caps = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
    let mount = |destination: &str, fs_type: &str, source: &str, options: &[&str]| json!({"destination": destination, "type": fs_type, "source": source, "options": options});
    json!({
        "ociVersion": features::OCI_VERSION,
        "process": {
            "terminal": true,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "TERM=xterm"],
            "cwd": "/",
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "isopod",
        "mounts": [
            mount("/proc", "proc", "proc", &[]),
            mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts", "devpts",
                &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            mount("/dev/shm", "tmpfs", "shm",
                &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
            mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            mount("/sys/fs/cgroup", "cgroup", "cgroup",
                &["nosuid", "noexec", "nodev", "relatime", "ro"]),
        ],
        "linux": {
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"},
                {"type": "uts"}, {"type": "mount"}, {"type": "cgroup"}],
            "maskedPaths": ["/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys",
                "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
                "/proc/sched_debug", "/sys/firmware", "/proc/scsi"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                "/proc/sysrq-trigger"]
        }
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_example_is_a_specification() {
        let spec: oci_spec::runtime::Spec = serde_json::from_value(super::example()).unwrap();
        assert_eq!(spec.mounts().as_ref().unwrap().len(), 7);
    }
}
