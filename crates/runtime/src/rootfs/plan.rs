//! What the mounts of a specification mean: fstab options sorted into attributes, propagation and
//! what the file system itself is told. Pure.

use std::path::PathBuf;

use oci_spec::runtime::Mount;
use sys::mount::{self as m, Attr, MountPropagationFlags as Propagation};
use sys::process::IdMap;

use crate::error::{Error, Result};
use crate::namespaces::id_maps;

/// One mount of the specification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MountPlan {
    /// Where, inside the root.
    pub dest: PathBuf,
    /// What.
    pub kind: Kind,
    /// Attributes of the mount itself.
    pub attr: Change,
    /// Attributes of it and all mounts below (`rro`, …).
    pub attr_rec: Change,
    /// Propagation, and whether for all mounts below too.
    pub propagation: Option<(Propagation, bool)>,
}

/// Attributes to set and to clear.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    pub set: Attr,
    pub clear: Attr,
}

impl Change {
    fn set(&mut self, bits: Attr) {
        self.set |= bits;
        self.clear &= !bits;
    }

    fn clear(&mut self, bits: Attr) {
        self.clear |= bits;
        self.set &= !bits;
    }

    /// The atime values exclude each other and 0 is one of them (relatime).
    fn atime(&mut self, value: Attr) {
        self.set = self.set & !m::ATIME_MASK | value;
        self.clear |= m::ATIME_MASK;
    }

    pub(crate) fn is_none(self) -> bool {
        self.set == 0 && self.clear == 0
    }
}

/// The kinds of mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A view of a host path.
    Bind {
        /// On the host; relative to the bundle.
        source: PathBuf,
        /// With the mounts below it.
        recursive: bool,
        /// Ids as seen through the mount.
        idmap: Option<IdMapping>,
    },
    /// A file system of its own.
    New {
        /// `tmpfs`, `proc`, …
        fs_type: String,
        /// What it calls its source.
        source: Option<PathBuf>,
        /// Its own options.
        data: Vec<(String, Option<String>)>,
        /// Begin with what the image has there (`tmpcopyup`).
        copy_up: bool,
    },
    /// The container's view of its cgroups, whatever version.
    Cgroup,
    /// New attributes for what is there already.
    Remount,
}

/// How an idmapped mount maps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdMapping {
    pub uids: Vec<IdMap>,
    pub gids: Vec<IdMap>,
    /// All mounts below too (`ridmap`).
    pub recursive: bool,
}

/// Plans one mount. `container` is the id map of the container's user namespace, which `idmap`
/// without maps of its own means.
pub(crate) fn plan(mount: &Mount, container: (&[IdMap], &[IdMap])) -> Result<MountPlan> {
    let dest = mount.destination().clone();
    let mut plan = MountPlan {
        dest,
        kind: Kind::Remount,
        attr: Change::default(),
        attr_rec: Change::default(),
        propagation: None,
    };
    let fs_type = mount.typ().as_deref().unwrap_or("");
    let mut bind = (fs_type == "bind").then_some(false);
    let (mut idmap, mut remount, mut copy_up, mut data) = (None, false, false, Vec::new());
    for option in mount.options().iter().flatten() {
        match option.as_str() {
            "bind" => bind = Some(bind.unwrap_or(false)),
            "rbind" => bind = Some(true),
            "remount" => remount = true,
            "idmap" => idmap = Some(false),
            "ridmap" => idmap = Some(true),
            "tmpcopyup" => copy_up = true,
            "defaults" | "" => {}
            option if attribute(option, &mut plan.attr) => {}
            option if recursive_attribute(option, &mut plan.attr_rec) => {}
            option => match propagation(option) {
                Some(p) => plan.propagation = Some(p),
                None => data.push(match option.split_once('=') {
                    Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                    None => (option.to_owned(), None),
                }),
            },
        }
    }
    let (uids, gids) =
        (id_maps(mount.uid_mappings().as_ref()), id_maps(mount.gid_mappings().as_ref()));
    plan.kind = match (bind, fs_type) {
        _ if remount => Kind::Remount,
        (Some(recursive), _) => Kind::Bind {
            source: mount.source().clone().ok_or_else(|| {
                Error::Spec(format!("mount {} has no source", plan.dest.display()).into())
            })?,
            recursive,
            idmap: id_mapping(idmap, uids, gids, container, &plan.dest)?,
        },
        (None, "cgroup" | "cgroup2") => Kind::Cgroup,
        (None, "") => {
            return Err(Error::Spec(
                format!("mount {} has neither a type nor the option bind", plan.dest.display())
                    .into(),
            ));
        }
        (None, fs_type) => Kind::New {
            fs_type: fs_type.to_owned(),
            source: mount.source().clone(),
            data: filter_data(fs_type, data, plan.attr),
            copy_up,
        },
    };
    Ok(plan)
}

fn id_mapping(
    option: Option<bool>,
    uids: Vec<IdMap>,
    gids: Vec<IdMap>,
    container: (&[IdMap], &[IdMap]),
    dest: &std::path::Path,
) -> Result<Option<IdMapping>> {
    if uids.is_empty() != gids.is_empty() {
        return Err(Error::Spec(
            format!("mount {}: uidMappings and gidMappings go together", dest.display()).into(),
        ));
    }
    if option.is_none() && uids.is_empty() {
        return Ok(None);
    }
    let recursive = option.unwrap_or(false);
    let (uids, gids) =
        if uids.is_empty() { (container.0.to_vec(), container.1.to_vec()) } else { (uids, gids) };
    if uids.is_empty() {
        return Err(Error::Spec(
            format!(
                "mount {}: idmap without mappings and without a user namespace",
                dest.display()
            )
            .into(),
        ));
    }
    Ok(Some(IdMapping { uids, gids, recursive }))
}

/// Options that `fsopen` does not know but `mount(8)` does, and the reverse.
fn filter_data(
    fs_type: &str,
    data: Vec<(String, Option<String>)>,
    attr: Change,
) -> Vec<(String, Option<String>)> {
    const VIRTUAL: [&str; 7] =
        ["proc", "sysfs", "tmpfs", "devpts", "mqueue", "securityfs", "overlay"];
    let mut out: Vec<_> = data
        .into_iter()
        // Flags of mount(2) without a meaning for a fresh instance; `newinstance` is every devpts
        // since 4.7.
        .filter(|(key, _)| {
            !matches!(
                key.as_str(),
                "newinstance"
                    | "loud"
                    | "silent"
                    | "norelatime"
                    | "nomand"
                    | "mand"
                    | "iversion"
                    | "noiversion"
            )
        })
        .collect();
    // A disk that is read-only itself can only be mounted when its file system knows so. The
    // virtual ones share one superblock, where the mount's own attribute does.
    if attr.set & m::RDONLY != 0 && !VIRTUAL.contains(&fs_type) {
        out.push(("ro".into(), None));
    }
    out
}

/// Options about the one mount.
fn attribute(option: &str, change: &mut Change) -> bool {
    match option {
        "ro" => change.set(m::RDONLY),
        "rw" => change.clear(m::RDONLY),
        "nosuid" => change.set(m::NOSUID),
        "suid" => change.clear(m::NOSUID),
        "nodev" => change.set(m::NODEV),
        "dev" => change.clear(m::NODEV),
        "noexec" => change.set(m::NOEXEC),
        "exec" => change.clear(m::NOEXEC),
        "nosymfollow" => change.set(m::NOSYMFOLLOW),
        "symfollow" => change.clear(m::NOSYMFOLLOW),
        "nodiratime" => change.set(m::NODIRATIME),
        "diratime" => change.clear(m::NODIRATIME),
        "noatime" => change.atime(m::NOATIME),
        "strictatime" => change.atime(m::STRICTATIME),
        "relatime" | "atime" | "nostrictatime" => change.atime(0),
        _ => return false,
    }
    true
}

/// The same with an `r` before it, about all mounts below too.
fn recursive_attribute(option: &str, change: &mut Change) -> bool {
    match option {
        "rnostrictatime" => {
            change.atime(0);
            true
        }
        "relatime" => false,
        _ => option.strip_prefix('r').is_some_and(|plain| attribute(plain, change)),
    }
}

fn propagation(option: &str) -> Option<(Propagation, bool)> {
    let (plain, recursive) = match option {
        "rshared" | "rslave" | "rprivate" | "runbindable" => (&option[1..], true),
        _ => (option, false),
    };
    let kind = match plain {
        "shared" => Propagation::SHARED,
        "slave" => Propagation::DOWNSTREAM,
        "private" => Propagation::PRIVATE,
        "unbindable" => Propagation::UNBINDABLE,
        _ => return None,
    };
    Some((kind, recursive))
}

/// The specification's `rootfsPropagation`.
pub(crate) fn root_propagation(text: &str) -> Result<(Propagation, bool)> {
    propagation(text)
        .ok_or_else(|| Error::Spec(format!("rootfsPropagation={text} is not supported").into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(json: &str) -> MountPlan {
        plan(&serde_json::from_str(json).unwrap(), (&[], &[])).unwrap()
    }

    #[test]
    fn options_are_sorted() {
        let p = planned(
            r#"{"destination":"/dev","type":"tmpfs","source":"tmpfs",
                "options":["nosuid","strictatime","mode=755","size=65536k"]}"#,
        );
        assert_eq!(p.attr.set, m::NOSUID | m::STRICTATIME);
        assert_eq!(p.attr.clear, m::ATIME_MASK);
        let Kind::New { data, fs_type, copy_up, .. } = p.kind else { panic!() };
        assert_eq!((fs_type.as_str(), copy_up), ("tmpfs", false));
        assert_eq!(
            data,
            [("mode".into(), Some("755".into())), ("size".into(), Some("65536k".into()))]
        );
    }

    #[test]
    fn binds() {
        let p = planned(
            r#"{"destination":"/x","source":"/y","options":["rbind","rro","ro","rslave","rw"]}"#,
        );
        assert!(matches!(p.kind, Kind::Bind { recursive: true, idmap: None, .. }));
        assert_eq!(p.attr_rec.set, m::RDONLY);
        assert_eq!((p.attr.set, p.attr.clear), (0, m::RDONLY));
        assert_eq!(p.propagation, Some((Propagation::DOWNSTREAM, true)));
        let p = planned(r#"{"destination":"/x","type":"bind","source":"/y"}"#);
        assert!(matches!(p.kind, Kind::Bind { recursive: false, .. }));
    }

    #[test]
    fn idmap_needs_maps() {
        let mount: Mount = serde_json::from_str(
            r#"{"destination":"/x","type":"bind","source":"/y","options":["idmap"]}"#,
        )
        .unwrap();
        assert!(plan(&mount, (&[], &[])).is_err());
        let map = [IdMap { inside: 0, outside: 1000, size: 10 }];
        let p = plan(&mount, (&map, &map)).unwrap();
        assert!(matches!(
            p.kind,
            Kind::Bind { idmap: Some(IdMapping { recursive: false, .. }), .. }
        ));
    }
}
