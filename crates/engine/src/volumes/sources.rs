//! What mounts of a container show: sources on the host, or detached mounts of the stores.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount;
use types::Error;
use types::mount::{MountKind, MountPoint};

use super::idmap;
use crate::container::volumes as mounts;
use crate::record::Record;
use crate::spec::mounts::{bind, long_tmpfs, mount};
use crate::spec::{Joined, users};
use crate::{Engine, from_image, from_volume};

impl Engine {
    /// The mounts that a container asked for, with sources on the host.
    pub(crate) fn resolve_mounts(
        &self,
        record: &Record,
        joined: &Joined,
        user: &users::User,
        trees: &mut Vec<OwnedFd>,
    ) -> Result<Vec<Mount>, Error> {
        let mut list = Vec::new();
        for point in &record.mounts {
            list.extend(self.resolve_mount(record, point, user, trees)?);
        }
        if let Some(pid) = joined.ipc {
            let path = format!("/proc/{pid}/ns/mnt");
            let tree = std::fs::File::open(path)
                .and_then(|namespace| sys::foreign::clone_tree(namespace, "/dev/shm"))
                .map_err(|error| {
                    Error::conflict(format!("cannot share the other container's /dev/shm: {error}"))
                })?;
            let options = ["bind", "nosuid", "noexec", "nodev"];
            list.push(mount("/dev/shm", "bind", take_along(tree, trees), &options));
        }
        Ok(list)
    }

    /// One mount; `user` is whom the container's first process runs as.
    pub(crate) fn resolve_mount(
        &self,
        record: &Record,
        point: &MountPoint,
        user: &users::User,
        trees: &mut Vec<OwnedFd>,
    ) -> Result<Option<Mount>, Error> {
        Ok(match point.kind {
            MountKind::Bind => {
                check_propagation(point)?;
                let made = bind(record, point, Path::new(&point.source));
                Some(self.with_own_ids(record, point, user, made))
            }
            MountKind::Volume => {
                let source = self.volume_source(record, point, trees)?;
                Some(bind(record, point, &source))
            }
            MountKind::Image => {
                let source = self.image_source(record, point, trees)?;
                Some(bind(record, point, &source))
            }
            MountKind::Tmpfs => {
                let long = mounts::long_form(&record.host, &point.destination);
                long.map(long_tmpfs).transpose()?
            }
            _ => None,
        })
    }

    /// Lets what the container's user writes into a bind belong to the owner of its source: when
    /// that was asked for, or by itself where user ids are remapped.
    fn with_own_ids(
        &self,
        record: &Record,
        point: &MountPoint,
        user: &users::User,
        mut made: Mount,
    ) -> Mount {
        let asked = mounts::asked_idmap(record, point);
        let Ok(source) = sys::fs::open_host(&point.source, sys::fs::OFlags::PATH) else {
            return made;
        };
        let Ok(stat) = sys::entry::stat_fd(&source) else { return made };
        let ids =
            idmap::ids(asked, record.remapped, (user.uid, user.gid), (stat.st_uid, stat.st_gid));
        let Some((uids, gids)) = ids else { return made };
        if asked.is_none() && !self.can_map(&source) {
            return made;
        }
        made.set_uid_mappings(Some(uids)).set_gid_mappings(Some(gids));
        if let Some(options) = made.options_mut() {
            options.push("idmap".to_owned());
        }
        made
    }

    /// Whether a file system takes id maps: not all do (EINVAL; NFS, FUSE before 6.12).
    fn can_map(&self, source: &OwnedFd) -> bool {
        let userns = self.remap_namespace.as_ref().map(AsFd::as_fd);
        let change = sys::mount::SetAttr { userns, ..Default::default() };
        sys::mount::clone_tree(source, false)
            .and_then(|tree| sys::mount::set_attr(tree, false, change))
            .is_ok()
    }

    /// Where a volume's files are on the host, as far down as the subpath says; a volume that is
    /// a mount of its own (driver options) goes along as a tree.
    fn volume_source(
        &self,
        record: &Record,
        point: &MountPoint,
        trees: &mut Vec<OwnedFd>,
    ) -> Result<PathBuf, Error> {
        let volume = self.volumes.get(&point.name).map_err(from_volume)?;
        let long = mounts::long_form(&record.host, &point.destination);
        let subpath = long
            .and_then(|mount| mount.volume_options.as_ref())
            .map(|options| options.subpath.as_str())
            .filter(|subpath| !subpath.is_empty());
        // The container may have put links into the volume: resolved inside it, never out.
        let failed = |error: std::io::Error| {
            let subpath = subpath.unwrap_or_default();
            Error::invalid(format!(
                "cannot access path {subpath} in volume {}: {error}",
                point.name
            ))
        };
        if volume.options.as_ref().is_some_and(|options| !options.is_empty()) {
            let tree = self.volume_tree(&point.name, Some(record))?;
            let tree = match subpath {
                Some(subpath) => sys::foreign::part(tree, subpath).map_err(failed)?,
                None => tree,
            };
            return Ok(take_along(tree, trees));
        }
        let source = PathBuf::from(volume.mountpoint);
        let Some(subpath) = subpath else { return Ok(source) };
        let root = sys::fs::Root::open_host(&source).map_err(failed)?;
        let inside = root.open_path(subpath).map_err(failed)?;
        let tree = sys::mount::clone_tree(&inside, false).map_err(failed)?;
        Ok(take_along(tree, trees))
    }

    /// An image's files, as far down as the subpath says, read-only.
    fn image_source(
        &self,
        record: &Record,
        point: &MountPoint,
        trees: &mut Vec<OwnedFd>,
    ) -> Result<PathBuf, Error> {
        let image = self.images.resolve(&point.source).map_err(from_image)?;
        let options = image::MountOptions {
            userns: record.remapped.and(self.remap_namespace.as_ref()).map(AsFd::as_fd),
            read_only: true,
            ..image::MountOptions::default()
        };
        let tree = self.images.mount_image(&image, options).map_err(from_image)?;
        let long = mounts::long_form(&record.host, &point.destination);
        let subpath = long
            .and_then(|mount| mount.image_options.as_ref())
            .map(|options| options.subpath.as_str())
            .filter(|subpath| !subpath.is_empty());
        let Some(subpath) = subpath else { return Ok(take_along(tree, trees)) };
        let failed = |error: std::io::Error| {
            Error::invalid(format!(
                "cannot access path {subpath} in image {}: {error}",
                point.source
            ))
        };
        let tree = sys::foreign::part(tree, subpath).map_err(failed)?;
        Ok(take_along(tree, trees))
    }
}

/// A bind can share mounts with the host only where the host shares them
/// (mount_namespaces(7); the optional fields of /proc/self/mountinfo, proc(5)).
fn check_propagation(point: &MountPoint) -> Result<(), Error> {
    let (accepted, what) = match point.propagation.as_str() {
        "shared" | "rshared" => (&["shared:"][..], "shared"),
        "slave" | "rslave" => (&["shared:", "master:"][..], "shared or slave"),
        _ => return Ok(()),
    };
    let failed = |error: std::io::Error| {
        Error::invalid(format!("cannot look at bind source {}: {error}", point.source))
    };
    let source = std::fs::canonicalize(&point.source).map_err(failed)?;
    let table = std::fs::read_to_string("/proc/self/mountinfo").map_err(failed)?;
    let mut found: Option<(PathBuf, bool)> = None;
    for line in table.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let Some(target) = fields.get(4).map(|text| PathBuf::from(text.replace("\\040", " ")))
        else {
            continue;
        };
        let optional = fields.iter().skip(6).take_while(|field| **field != "-");
        let fits = optional.clone().any(|field| accepted.iter().any(|p| field.starts_with(p)));
        // Of several mounts in one place the last one shows.
        let nearer = found
            .as_ref()
            .is_none_or(|(best, _)| target.components().count() >= best.components().count());
        if source.starts_with(&target) && nearer {
            found = Some((target, fits));
        }
    }
    match found {
        Some((_, true)) | None => Ok(()),
        Some((target, false)) => Err(Error::invalid(format!(
            "path {} is mounted on {} but it is not a {what} mount",
            point.source,
            target.display()
        ))),
    }
}

/// Sends a detached mount along; returns how the specification names it.
pub(crate) fn take_along(tree: OwnedFd, trees: &mut Vec<OwnedFd>) -> PathBuf {
    trees.push(tree);
    proto::launch::mount_source(trees.len() - 1)
}
