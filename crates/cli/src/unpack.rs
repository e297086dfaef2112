//! Unpacking an archive that came from a container or a build, which nobody should trust: every path is
//! resolved below the destination by the kernel (`openat2` with `RESOLVE_BENEATH`), so neither
//! `..` nor a link that the archive itself made leads out of it.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use anyhow::Context as _;
use bytes::Bytes;
use docker_api::client::{Incoming, next_data};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Timespec, Timestamps};
use tokio::sync::mpsc;

use crate::pipe::Inlet;

/// Where entries go.
pub(crate) struct Route {
    /// The directory that gets them.
    pub(crate) directory: String,
    /// The first component of their names; `.` or `/` when they have none in common.
    pub(crate) from: String,
    /// What stands for it.
    pub(crate) to: String,
}

/// What is done about device nodes: an archive's word is not enough to make them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Devices {
    /// They are an error.
    Refuse,
    /// They are left out.
    LeaveOut,
}

/// Unpacks the body of an answer; returns how many bytes of files it held.
pub(crate) async fn unpack(mut body: Incoming, route: Route) -> anyhow::Result<u64> {
    let (sender, receiver) = mpsc::channel::<Bytes>(4);
    let work = std::thread::Builder::new().name("unpack".into()).spawn(move || {
        let mut pipe = Inlet::new(receiver);
        let outcome = extract(&mut pipe, &route, Devices::Refuse);
        // What follows the archive is read as well, so that the connection can be used again.
        let _ = io::copy(&mut pipe, &mut io::sink());
        outcome
    })?;
    while let Some(data) = next_data(&mut body).await? {
        if sender.send(data).await.is_err() {
            break;
        }
    }
    drop(sender);
    work.join().map_err(|_| anyhow::anyhow!("unpacking failed"))?
}

/// Where an entry goes, below the destination; `None` for the destination itself.
fn place(name: &Path, route: &Route) -> anyhow::Result<Option<PathBuf>> {
    let mut parts = Vec::new();
    for part in name.components() {
        match part {
            Component::Normal(part) => parts.push(part),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                anyhow::bail!("invalid path in archive: {}", name.display());
            }
        }
    }
    let mut path = PathBuf::new();
    if route.from == "." || route.from == "/" {
        // The archive's first component is the directory itself and has no name.
        if route.to != "." && route.to != "/" {
            path.push(&route.to);
        }
    } else if let Some((first, _)) = parts.split_first()
        && first.to_string_lossy() == route.from
    {
        path.push(&route.to);
        parts.remove(0);
    }
    path.extend(parts);
    Ok(Some(path).filter(|path| !path.as_os_str().is_empty()))
}

fn beneath(root: impl AsFd, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);

/// Opens the directory of an entry, making what is missing on the way.
fn parent(root: &OwnedFd, path: &Path) -> anyhow::Result<OwnedFd> {
    let wanted = path.parent().unwrap_or(Path::new(""));
    let mut made = PathBuf::new();
    let mut directory = beneath(root, &made, DIRECTORY)?;
    for part in wanted.components() {
        made.push(part);
        directory = match beneath(root, &made, DIRECTORY) {
            Err(rustix::io::Errno::NOENT) => {
                rustix::fs::mkdirat(&directory, part.as_os_str(), Mode::from_raw_mode(0o755))?;
                beneath(root, &made, DIRECTORY)
            }
            other => other,
        }
        .with_context(|| format!("{} leads out of the destination", made.display()))?;
    }
    Ok(directory)
}

/// Unpacks an archive.
///
/// # Errors
/// Paths that lead out of the destination, devices, and what the file system refuses.
pub(crate) fn extract(
    pipe: &mut impl Read,
    route: &Route,
    devices: Devices,
) -> anyhow::Result<u64> {
    let root =
        rustix::fs::open(route.directory.as_str(), DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .with_context(|| route.directory.clone())?;
    let mut archive = tar::Archive::new(pipe);
    let mut total = 0;
    // Modes and times of directories come last: they may forbid writing, and writing changes them.
    let mut directories = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.into_owned();
        let Some(path) = place(&name, route)? else { continue };
        let kind = entry.header().entry_type();
        if kind.is_block_special() || kind.is_character_special() {
            match devices {
                Devices::LeaveOut => continue,
                Devices::Refuse => anyhow::bail!(
                    "{}: is a device, which is not copied out of a container",
                    path.display()
                ),
            }
        }
        total += one(&root, &path, &mut entry, route, &mut directories)
            .with_context(|| path.display().to_string())?;
    }
    for (path, mode, time) in directories.into_iter().rev() {
        let directory = beneath(&root, &path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        rustix::fs::fchmod(&directory, Mode::from_raw_mode(mode))?;
        rustix::fs::futimens(&directory, &times(time))?;
    }
    Ok(total)
}

fn times(seconds: i64) -> Timestamps {
    let at = Timespec { tv_sec: seconds, tv_nsec: 0 };
    Timestamps { last_access: at, last_modification: at }
}

fn one(
    root: &OwnedFd,
    path: &Path,
    entry: &mut tar::Entry<'_, impl Read>,
    route: &Route,
    directories: &mut Vec<(PathBuf, u32, i64)>,
) -> anyhow::Result<u64> {
    let directory = parent(root, path)?;
    let name = path.file_name().context("a name is missing")?;
    let mode = entry.header().mode()? & 0o7777;
    let time = i64::try_from(entry.header().mtime()?).unwrap_or(i64::MAX);
    let kind = entry.header().entry_type();
    let existing = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW).ok();
    let is_dir =
        existing.is_some_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir());
    if kind.is_dir() {
        if existing.is_some() && !is_dir {
            anyhow::bail!("cannot overwrite non-directory with directory");
        }
        if !is_dir {
            rustix::fs::mkdirat(&directory, name, Mode::from_raw_mode(0o700))?;
        }
        directories.push((path.to_owned(), mode, time));
        return Ok(0);
    }
    if is_dir {
        anyhow::bail!("cannot overwrite directory with non-directory");
    }
    if existing.is_some() {
        rustix::fs::unlinkat(&directory, name, AtFlags::empty())?;
    }
    let mut size = 0;
    if kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse() {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file =
            File::from(rustix::fs::openat(&directory, name, flags, Mode::from_raw_mode(0o600))?);
        size = io::copy(entry, &mut file)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
    } else if kind.is_symlink() {
        let target = entry.link_name()?.context("a link without a target")?;
        rustix::fs::symlinkat(target.as_ref(), &directory, name)?;
    } else if kind.is_hard_link() {
        let target = entry.link_name()?.context("a link without a target")?;
        let target = place(&target, route)?.context("a link to the destination itself")?;
        let from = parent(root, &target)?;
        let target = target.file_name().context("a link without a target")?;
        rustix::fs::linkat(&from, target, &directory, name, AtFlags::empty())?;
        return Ok(0);
    } else if kind.is_fifo() {
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(&directory, name, kind, Mode::from_raw_mode(mode), 0)?;
    } else {
        anyhow::bail!("is nothing that a file system holds");
    }
    rustix::fs::utimensat(&directory, name, &times(time), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(from: &str, to: &str) -> Route {
        Route { directory: "/d".into(), from: from.into(), to: to.into() }
    }

    fn placed(name: &str, route: &Route) -> Option<String> {
        place(Path::new(name), route).expect("valid").map(|p| p.to_string_lossy().into_owned())
    }

    #[test]
    fn the_first_component_is_renamed() {
        assert_eq!(placed("etc/passwd", &route("etc", "new")), Some("new/passwd".into()));
        assert_eq!(placed("etc/", &route("etc", "etc")), Some("etc".into()));
        assert_eq!(placed("./a/b", &route(".", ".")), Some("a/b".into()));
        assert_eq!(placed("./a", &route(".", "new")), Some("new/a".into()));
        assert_eq!(placed("./", &route(".", ".")), None);
        assert_eq!(placed("/abs/x", &route("abs", "abs")), Some("abs/x".into()));
        assert!(place(Path::new("a/../../x"), &route("a", "a")).is_err());
    }

    #[test]
    fn an_archive_does_not_lead_out_of_its_destination() {
        let base = std::env::temp_dir().join(format!("isopod-unpack-{}", std::process::id()));
        let inside = base.join("in");
        std::fs::create_dir_all(&inside).expect("made");
        let mut builder = tar::Builder::new(Vec::new());
        let mut link = tar::Header::new_gnu();
        link.set_entry_type(tar::EntryType::Symlink);
        link.set_size(0);
        builder.append_link(&mut link, "a/out", "../..").expect("added");
        let mut file = tar::Header::new_gnu();
        file.set_size(1);
        file.set_mode(0o644);
        builder.append_data(&mut file, "a/out/evil", &b"x"[..]).expect("added");
        let bytes = builder.into_inner().expect("whole");
        let (sender, receiver) = mpsc::channel(1);
        sender.try_send(bytes.into()).expect("room");
        drop(sender);
        let mut pipe = Inlet::new(receiver);
        let route = Route {
            directory: inside.to_string_lossy().into_owned(),
            from: "a".into(),
            to: "a".into(),
        };
        let outcome = extract(&mut pipe, &route, Devices::Refuse);
        let escaped =
            base.join("evil").exists() || base.parent().is_some_and(|p| p.join("evil").exists());
        std::fs::remove_dir_all(&base).expect("removed");
        assert!(outcome.is_err(), "refused");
        assert!(!escaped);
    }
}
