//! What is mounted into a container: binds, volumes, tmpfs and images, resolved from the many
//! ways in which they can be asked for.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use types::Error;
use types::container::{ContainerConfig, HostConfig};
use types::mount::{DriverConfig, Mount, MountKind, MountPoint};

use super::Container;
use super::table::Containers;
use crate::record::Record;

/// One mount that was asked for, before its volume exists.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) point: MountPoint,
    /// The volume's labels and driver, should it have to be made.
    pub(crate) labels: std::collections::BTreeMap<String, String>,
    pub(crate) driver: DriverConfig,
    /// Fill a new volume with what the image has there.
    pub(crate) copy: bool,
    /// Make a bind's source if it is missing.
    pub(crate) make_source: bool,
}

impl Wanted {
    pub(super) fn new(point: MountPoint) -> Self {
        let copy = point.kind == MountKind::Volume;
        Self {
            point,
            labels: std::collections::BTreeMap::new(),
            driver: DriverConfig::default(),
            copy,
            make_source: false,
        }
    }
}

/// A path in the container, made absolute and free of `.` and `..`.
pub(crate) fn clean(path: &str) -> Result<String, Error> {
    if !path.starts_with('/') {
        return Err(Error::invalid(format!(
            "invalid mount path: '{path}' mount path must be absolute"
        )));
    }
    let mut clean = PathBuf::from("/");
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            _ => {}
        }
    }
    if clean == Path::new("/") {
        return Err(Error::invalid("invalid specification: destination can't be '/'"));
    }
    Ok(clean.to_string_lossy().into_owned())
}

/// Everything that the specification and the image ask for, by destination, without doubles.
///
/// # Errors
/// Docker's words for what is malformed, and for two mounts in one place.
pub(crate) fn wanted(
    config: &ContainerConfig,
    host: &HostConfig,
    containers: &Containers,
) -> Result<Vec<Wanted>, Error> {
    let mut all: Vec<Wanted> = Vec::new();
    let add = |all: &mut Vec<Wanted>, wanted: Wanted, explicit: bool| {
        let place = &wanted.point.destination;
        match all.iter().position(|other| other.point.destination == *place) {
            Some(_) if explicit => Err(Error::invalid(format!("Duplicate mount point: {place}"))),
            Some(at) => {
                all[at] = wanted;
                Ok(())
            }
            None => {
                all.push(wanted);
                Ok(())
            }
        }
    };
    for from in &host.volumes_from {
        for inherited in inherited(from, containers)? {
            add(&mut all, inherited, false)?;
        }
    }
    let inherited = all.len();
    let mut seen = BTreeSet::new();
    for bind in &host.binds {
        let wanted = parse_bind(bind, &host.volume_driver)?;
        let doubled = !seen.insert(wanted.point.destination.clone());
        add(&mut all, wanted, doubled)?;
    }
    for mount in &host.mounts {
        if let Some(wanted) = from_mount(mount)? {
            let doubled = !seen.insert(wanted.point.destination.clone());
            add(&mut all, wanted, doubled)?;
        }
    }
    for place in host.tmpfs.keys() {
        if !seen.insert(clean(place)?) {
            return Err(Error::invalid(format!("Duplicate mount point: {place}")));
        }
    }
    debug_assert!(inherited <= all.len());
    for place in config.volumes.keys() {
        let destination = clean(place)?;
        let taken = all.iter().any(|other| other.point.destination == destination)
            || seen.contains(&destination);
        if !taken {
            all.push(Wanted::new(MountPoint {
                kind: MountKind::Volume,
                destination,
                driver: "local".to_owned(),
                rw: true,
                ..MountPoint::default()
            }));
        }
    }
    Ok(all)
}

/// The mounts of another container (`--volumes-from NAME[:ro|rw]`).
fn inherited(from: &str, containers: &Containers) -> Result<Vec<Wanted>, Error> {
    let (name, mode) = from.split_once(':').unwrap_or((from, ""));
    if !matches!(mode, "" | "ro" | "rw" | "z" | "Z") {
        return Err(Error::invalid(format!("invalid mode: {mode}")));
    }
    // 404 would be about the image: the command line would go and pull it.
    let other = containers.find(name).map_err(|error| Error::invalid(error.message))?;
    let mounts = other.record().mounts.clone();
    Ok(mounts
        .into_iter()
        .map(|point| {
            let rw = point.rw && mode != "ro";
            Wanted { copy: false, ..Wanted::new(MountPoint { rw, ..point }) }
        })
        .collect())
}

/// Reads `source:target[:options]` or `target`.
pub(super) fn parse_bind(text: &str, volume_driver: &str) -> Result<Wanted, Error> {
    let invalid = || Error::invalid(format!("invalid volume specification: '{text}'"));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, mode) = match parts[..] {
        [target] => ("", target, ""),
        [source, target] => (source, target, ""),
        [source, target, mode] => (source, target, mode),
        _ => return Err(invalid()),
    };
    if parts.len() > 1 && source.is_empty() || target.is_empty() {
        return Err(invalid());
    }
    let destination = clean(target).map_err(|error| {
        let kind = if source.starts_with('/') { "bind" } else { "volume" };
        Error::invalid(format!(
            "invalid volume specification: '{text}': invalid mount config for type \"{kind}\": {}",
            error.message
        ))
    })?;
    let mut point =
        MountPoint { destination, mode: mode.to_owned(), rw: true, ..MountPoint::default() };
    let mut copy = true;
    for option in mode.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => point.rw = false,
            "rw" | "z" | "Z" | "consistent" | "cached" | "delegated" | "copy" => {}
            "idmap" | "noidmap" if source.starts_with('/') => {}
            "nocopy" => copy = false,
            "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave"
                if source.starts_with('/') =>
            {
                option.clone_into(&mut point.propagation);
            }
            other => {
                return Err(Error::invalid(format!("invalid mode: {other}")));
            }
        }
    }
    if source.starts_with('/') {
        point.kind = MountKind::Bind;
        source.clone_into(&mut point.source);
        if point.propagation.is_empty() {
            "rprivate".clone_into(&mut point.propagation);
        }
        return Ok(Wanted { make_source: true, copy: false, ..Wanted::new(point) });
    }
    point.kind = MountKind::Volume;
    source.clone_into(&mut point.name);
    if !source.is_empty() && volume::check_name(source).is_err() {
        return Err(Error::invalid(format!(
            "create {source}: \"{source}\" includes invalid characters for a local volume name, \
             only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host \
             directory, use absolute path"
        )));
    }
    point.driver = if volume_driver.is_empty() { "local" } else { volume_driver }.to_owned();
    if mode.is_empty() && !source.is_empty() && point.driver == "local" {
        // Docker shows what it takes for meant.
        "z".clone_into(&mut point.mode);
    }
    Ok(Wanted { copy, ..Wanted::new(point) })
}

/// Reads the long form; tmpfs needs nothing made and comes back as `None`.
pub(super) fn from_mount(mount: &Mount) -> Result<Option<Wanted>, Error> {
    let invalid = |why: String| {
        Error::invalid(format!("invalid mount config for type \"{}\": {why}", mount.kind.as_str()))
    };
    if mount.target.is_empty() {
        return Err(invalid("field Target must not be empty".to_owned()));
    }
    let destination = clean(&mount.target)?;
    let mut point =
        MountPoint { kind: mount.kind, destination, rw: !mount.read_only, ..MountPoint::default() };
    for (given, kind, what) in [
        (mount.bind_options.is_some(), MountKind::Bind, "BindOptions"),
        (mount.volume_options.is_some(), MountKind::Volume, "VolumeOptions"),
        (mount.tmpfs_options.is_some(), MountKind::Tmpfs, "TmpfsOptions"),
        (mount.image_options.is_some(), MountKind::Image, "ImageOptions"),
    ] {
        if given && kind != mount.kind {
            return Err(invalid(format!("field {what} must not be specified")));
        }
    }
    match mount.kind {
        MountKind::Tmpfs => {
            if !mount.source.is_empty() {
                return Err(invalid("field Source must not be specified".to_owned()));
            }
            Ok(None)
        }
        MountKind::Bind => {
            if mount.source.is_empty() {
                return Err(invalid("field Source must not be empty".to_owned()));
            }
            if !mount.source.starts_with('/') {
                return Err(invalid(format!(
                    "invalid mount path: '{}' mount path must be absolute",
                    mount.source
                )));
            }
            let options = mount.bind_options.clone().unwrap_or_default();
            if !options.create_mountpoint && !Path::new(&mount.source).exists() {
                return Err(invalid(format!("bind source path does not exist: {}", mount.source)));
            }
            mount.source.clone_into(&mut point.source);
            point.propagation = if options.propagation.is_empty() {
                "rprivate".into()
            } else {
                options.propagation
            };
            let known = ["private", "rprivate", "shared", "rshared", "slave", "rslave"];
            if !known.contains(&point.propagation.as_str()) {
                return Err(invalid(format!("invalid propagation mode: {}", point.propagation)));
            }
            let make_source = options.create_mountpoint;
            Ok(Some(Wanted { make_source, copy: false, ..Wanted::new(point) }))
        }
        MountKind::Volume => {
            let options = mount.volume_options.clone().unwrap_or_default();
            mount.source.clone_into(&mut point.name);
            if !mount.source.is_empty() && volume::check_name(&mount.source).is_err() {
                return Err(invalid(format!("invalid volume name: {:?}", mount.source)));
            }
            if mount.source.is_empty() && !options.subpath.is_empty() {
                return Err(invalid("must not set Subpath when using anonymous volumes".into()));
            }
            check_subpath(&options.subpath).map_err(invalid)?;
            point.driver = "local".to_owned();
            let copy = !options.no_copy && options.subpath.is_empty();
            let driver = options.driver_config.unwrap_or_default();
            let labels = options.labels;
            Ok(Some(Wanted { copy, driver, labels, ..Wanted::new(point) }))
        }
        MountKind::Image => {
            if mount.source.is_empty() {
                return Err(invalid("field Source must not be empty".to_owned()));
            }
            check_subpath(&mount.image_options.clone().unwrap_or_default().subpath)
                .map_err(invalid)?;
            mount.source.clone_into(&mut point.source);
            point.rw = false;
            Ok(Some(Wanted { copy: false, ..Wanted::new(point) }))
        }
        MountKind::Npipe | MountKind::Cluster => {
            Err(invalid("this type does not exist on Linux without a swarm".to_owned()))
        }
    }
}

fn check_subpath(path: &str) -> Result<(), String> {
    let inside = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    if inside { Ok(()) } else { Err(format!("subpath must be a relative path: {path:?}")) }
}

/// The long form of the mount at `destination`, if it was asked for in that form.
pub(crate) fn long_form<'a>(host: &'a HostConfig, destination: &str) -> Option<&'a Mount> {
    host.mounts.iter().find(|mount| clean(&mount.target).is_ok_and(|at| at == destination))
}

/// Whether a bind mount was asked to show its files as the container's user's own, or not to; both
/// forms have a word for it.
pub(crate) fn asked_idmap(record: &Record, point: &MountPoint) -> Option<bool> {
    let long = long_form(&record.host, &point.destination);
    if let Some(asked) = long.and_then(|mount| mount.bind_options.as_ref()?.id_map) {
        return Some(asked);
    }
    let mut words = point.mode.split(',').rev();
    words.find_map(|word| match word {
        "idmap" => Some(true),
        "noidmap" => Some(false),
        _ => None,
    })
}

/// The volumes that a container uses, by name.
pub(crate) fn names(container: &Container) -> Vec<String> {
    of(&container.record()).map(str::to_owned).collect()
}

/// The same of a record.
pub(crate) fn of(record: &Record) -> impl Iterator<Item = &str> {
    let mounts = record.mounts.iter().chain(&record.unsettled);
    let volumes = mounts.filter(|mount| mount.kind == MountKind::Volume);
    volumes.map(|mount| mount.name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::container::Empty;

    fn host(binds: &[&str]) -> HostConfig {
        HostConfig {
            binds: binds.iter().map(|&bind| bind.to_owned()).collect(),
            ..HostConfig::default()
        }
    }

    fn resolve(host: &HostConfig, volumes: &[&str]) -> Result<Vec<Wanted>, Error> {
        let volumes = volumes.iter().map(|&at| (at.to_owned(), Empty {})).collect();
        let config = ContainerConfig { volumes, ..ContainerConfig::default() };
        wanted(&config, host, &Containers::default())
    }

    #[test]
    fn binds_and_volumes_are_told_apart() {
        let host = host(&["/src:/a:ro", "data:/b/../c", "/anonymous"]);
        let all = resolve(&host, &["/c", "/image"]).expect("valid");
        let found: Vec<_> = all
            .iter()
            .map(|w| (w.point.kind.as_str(), w.point.destination.as_str(), w.point.rw))
            .collect();
        assert_eq!(
            found,
            [
                ("bind", "/a", false),
                ("volume", "/c", true),
                ("volume", "/anonymous", true),
                ("volume", "/image", true)
            ]
        );
        assert_eq!(all[0].point.propagation, "rprivate");
    }

    #[test]
    fn malformed_mounts_are_refused() {
        for bad in ["a:b", ":/a", "/a:", "/a:/b:bogus", "/a:/b:ro:x", "/a:/", "x y:/a"] {
            assert!(resolve(&host(&[bad]), &[]).is_err(), "{bad}");
        }
        let doubled = resolve(&host(&["/x:/a", "/y:/a"]), &[]).expect_err("doubled");
        assert_eq!(doubled.message, "Duplicate mount point: /a");
    }
}
