//! Where each controller lives on this host: read once from `/proc/self/mountinfo`.
//!
//! ```text
//! v1      /sys/fs/cgroup/memory  /sys/fs/cgroup/cpu,cpuacct  …  /sys/fs/cgroup/systemd (no controller)
//! hybrid  the same and a unified tree, with no or few controllers, at /sys/fs/cgroup/unified
//! v2      /sys/fs/cgroup
//! ```
//!
//! A container gets a directory in every hierarchy, also in those that carry no limit for it: a
//! cgroup namespace roots each hierarchy at the place where the process is, and where it is nowhere
//! in particular it would see, and as a privileged process could change, the host's whole tree.

use std::path::{Path, PathBuf};

use super::files::{self, Dir};
use super::{Capabilities, Error, capabilities};

/// Which generation of cgroups carries the controllers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Only v1 hierarchies.
    V1,
    /// v1 hierarchies and a unified tree beside them.
    Hybrid,
    /// One unified tree.
    V2,
}

/// A kernel controller that we know what to do with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Controller {
    /// Bandwidth and weights.
    Cpu,
    /// Processor time counters (v1).
    Cpuacct,
    /// Processor and memory node sets.
    Cpuset,
    /// Memory.
    Memory,
    /// Device access (v1).
    Devices,
    /// Stopping processes (v1).
    Freezer,
    /// Block devices (`blkio`, on v2 `io`).
    Io,
    /// Tasks.
    Pids,
    /// Huge pages.
    Hugetlb,
    /// Packet classes (v1).
    NetCls,
    /// Packet priorities (v1).
    NetPrio,
    /// Remote memory access.
    Rdma,
    /// Performance counters.
    PerfEvent,
    /// Scalar resources (5.13).
    Misc,
}

impl Controller {
    fn from_name(name: &str) -> Option<Controller> {
        Some(match name {
            "cpu" => Controller::Cpu,
            "cpuacct" => Controller::Cpuacct,
            "cpuset" => Controller::Cpuset,
            "memory" => Controller::Memory,
            "devices" => Controller::Devices,
            "freezer" => Controller::Freezer,
            "blkio" | "io" => Controller::Io,
            "pids" => Controller::Pids,
            "hugetlb" => Controller::Hugetlb,
            "net_cls" => Controller::NetCls,
            "net_prio" => Controller::NetPrio,
            "rdma" => Controller::Rdma,
            "perf_event" => Controller::PerfEvent,
            "misc" => Controller::Misc,
            _ => return None,
        })
    }
}

/// One v1 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hierarchy {
    pub(super) mount: PathBuf,
    pub(super) controllers: Vec<Controller>,
    /// `cpu,cpuacct` or `name=systemd`, for messages.
    pub(super) label: String,
}

impl Hierarchy {
    pub(super) fn has(&self, controller: Controller) -> bool {
        self.controllers.contains(&controller)
    }
}

/// The unified tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unified {
    pub(super) mount: PathBuf,
    /// `cgroup.controllers` of the mount's root, as the kernel spells them.
    pub(super) controllers: Vec<String>,
}

impl Unified {
    pub(super) fn has(&self, controller: Controller) -> bool {
        self.controllers.iter().any(|name| Controller::from_name(name) == Some(controller))
    }
}

/// The hierarchies of this host, probed once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    pub(super) version: Version,
    pub(super) v1: Vec<Hierarchy>,
    pub(super) unified: Option<Unified>,
}

/// Where a controller is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Home<'a> {
    V1(&'a Hierarchy),
    Unified(&'a Unified),
}

impl Layout {
    /// Reads `/proc/self/mountinfo`.
    ///
    /// # Errors
    /// [`Error::Probe`], or [`Error::NotMounted`] where there are no cgroups at all.
    pub fn probe() -> Result<Layout, Error> {
        let path = PathBuf::from("/proc/self/mountinfo");
        let text = files::read(&path).map_err(|source| Error::Probe { path, source })?;
        Layout::from_mountinfo(&text, |mount| {
            Dir(mount.to_owned()).text("cgroup.controllers").unwrap_or_default()
        })
    }

    /// The pure part of [`Layout::probe`]; `controllers` reads the unified root's file.
    fn from_mountinfo(text: &str, controllers: impl Fn(&Path) -> String) -> Result<Layout, Error> {
        let mut v1: Vec<Hierarchy> = Vec::new();
        let mut unified = None;
        for mount in text.lines().filter_map(Mount::parse) {
            if mount.fstype == "cgroup2" {
                // The last mount on a path is the one that is seen; another place for the same tree
                // (say /tmp/x) must not replace the usual one.
                if unified.is_none() {
                    let controllers =
                        controllers(&mount.point).split_whitespace().map(str::to_owned).collect();
                    unified = Some(Unified { mount: mount.point, controllers });
                }
            } else if let Some(hierarchy) = mount.hierarchy()
                && !v1.iter().any(|known| known.label == hierarchy.label)
            {
                v1.push(hierarchy);
            }
        }
        let limits = v1.iter().any(|hierarchy| !hierarchy.controllers.is_empty());
        let version = match (limits, &unified) {
            (true, Some(_)) => Version::Hybrid,
            (true, None) => Version::V1,
            (false, Some(_)) => Version::V2,
            (false, None) => return Err(Error::NotMounted),
        };
        Ok(Layout { version, v1, unified })
    }

    /// The generation.
    pub fn version(&self) -> Version {
        self.version
    }

    /// What can be limited here. Looks at a few dozen files; ask once and keep it.
    pub fn capabilities(&self) -> Capabilities {
        capabilities::probe(self)
    }

    pub(super) fn home(&self, controller: Controller) -> Option<Home<'_>> {
        let v1 = self.v1.iter().find(|hierarchy| hierarchy.has(controller)).map(Home::V1);
        v1.or_else(|| self.unified.as_ref().filter(|tree| tree.has(controller)).map(Home::Unified))
    }
}

/// One line of mountinfo that concerns us.
struct Mount<'a> {
    point: PathBuf,
    fstype: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    /// `36 35 98:0 /root /point opts [optional…] - fstype source super-options`
    fn parse(line: &'a str) -> Option<Mount<'a>> {
        let (front, back) = line.split_once(" - ")?;
        let mut back = back.split(' ');
        let fstype = back.next()?;
        if fstype != "cgroup" && fstype != "cgroup2" {
            return None;
        }
        let options = back.nth(1)?;
        let point = unescape(front.split(' ').nth(4)?);
        Some(Mount { point, fstype, options })
    }

    fn hierarchy(self) -> Option<Hierarchy> {
        let named = self.options.split(',').find(|option| option.starts_with("name="));
        let mut label = Vec::new();
        let mut controllers = Vec::new();
        for option in self.options.split(',') {
            if let Some(controller) = Controller::from_name(option) {
                controllers.push(controller);
                label.push(option);
            }
        }
        label.extend(named);
        // A hierarchy of a controller that nobody here knows is left alone.
        (!label.is_empty()).then(|| Hierarchy {
            mount: self.point,
            controllers,
            label: label.join(","),
        })
    }
}

/// mountinfo writes blanks, tabs, newlines and backslashes as three octal digits.
fn unescape(text: &str) -> PathBuf {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = (bytes[at] == b'\\')
            .then(|| text.get(at + 1..at + 4))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(byte) => {
                out.push(byte);
                at += 4;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    use std::os::unix::ffi::OsStringExt;
    std::ffi::OsString::from_vec(out).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 /docker/abc /sys/fs/cgroup/me\\040mory rw - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
42 31 0:39 / /sys/fs/cgroup/odd rw - cgroup cgroup rw,debug";

    #[test]
    fn hybrid_with_comounted_controllers() {
        let layout = Layout::from_mountinfo(HYBRID, |_| "hugetlb".to_owned()).unwrap();
        assert_eq!(layout.version(), Version::Hybrid);
        let labels: Vec<_> = layout.v1.iter().map(|h| h.label.as_str()).collect();
        assert_eq!(labels, ["cpu,cpuacct", "memory", "name=systemd"]);
        assert_eq!(layout.v1[1].mount, Path::new("/sys/fs/cgroup/me mory"));
        assert!(matches!(layout.home(Controller::Cpuacct), Some(Home::V1(_))));
        assert!(matches!(layout.home(Controller::Hugetlb), Some(Home::Unified(_))));
        assert_eq!(layout.home(Controller::Pids), None);
    }

    #[test]
    fn unified_alone_is_v2_even_beside_a_named_hierarchy() {
        let lines: Vec<_> = HYBRID.lines().skip(3).take(2).collect();
        let layout = Layout::from_mountinfo(&lines.join("\n"), |_| "cpu io memory".to_owned());
        let layout = layout.unwrap();
        assert_eq!(layout.version(), Version::V2);
        assert!(matches!(layout.home(Controller::Io), Some(Home::Unified(_))));
    }

    #[test]
    fn v1_alone_and_none_at_all() {
        let layout = Layout::from_mountinfo(HYBRID.lines().nth(1).unwrap(), |_| String::new());
        assert_eq!(layout.unwrap().version(), Version::V1);
        assert!(matches!(
            Layout::from_mountinfo("1 2 0:3 / / rw - ext4 /dev/vda rw", |_| String::new()),
            Err(Error::NotMounted)
        ));
    }

    proptest::proptest! {
        #[test]
        fn hostile_mountinfo_never_panics(text in "(?s)[ -~\n]{0,200}") {
            let _ = Layout::from_mountinfo(&text, |_| String::new());
        }
    }
}
