//! What a volume's options say is to be mounted.
//!
//! The local driver's options are those of mount(8): `type`, `device` and `o`. [`plan`] turns them
//! into a [`Source`], without touching anything; [`Source::mount`] makes the detached mount.

use std::collections::BTreeMap;
use std::io;
use std::net::ToSocketAddrs;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use sys::mount::{self, Attr, FsContext, SetAttr};

use crate::error::{Error, Result};

/// Where the files of a volume are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// In the volume's own directory.
    Directory,
    /// In a directory of the host (`o=bind`).
    Bind {
        /// The directory.
        path: PathBuf,
        /// `rbind`: with the mounts below.
        recursive: bool,
        /// `MOUNT_ATTR_*`.
        attr: Attr,
    },
    /// In a file system of its own.
    FileSystem {
        /// `tmpfs`, `nfs`, `ext4`, …
        kind: String,
        /// What it is told as `source`.
        device: String,
        /// Its options; a flag has no value.
        options: Vec<(String, Option<String>)>,
        /// `MOUNT_ATTR_*`.
        attr: Attr,
    },
}

/// Reads the options.
///
/// # Errors
/// [`Error::BadOption`] for keys other than `type`, `o`, `device`; [`Error::NoQuota`] for `size`;
/// [`Error::MissingDevice`].
pub(crate) fn plan(name: &str, options: &BTreeMap<String, String>) -> Result<Source> {
    if options.contains_key("size") {
        return Err(Error::NoQuota);
    }
    for key in options.keys() {
        if !matches!(key.as_str(), "type" | "o" | "device") {
            return Err(Error::BadOption { name: name.to_owned(), option: key.clone() });
        }
    }
    if options.is_empty() {
        return Ok(Source::Directory);
    }
    let get = |key: &str| options.get(key).map(String::as_str).unwrap_or_default();
    let (kind, device) = (get("type"), get("device"));
    if device.is_empty() {
        return Err(Error::MissingDevice { name: name.to_owned() });
    }
    let mut attr: Attr = 0;
    let mut bind = None;
    let mut rest = Vec::new();
    for word in get("o").split(',').filter(|word| !word.is_empty()) {
        match word {
            "bind" => bind = Some(bind.unwrap_or(false)),
            "rbind" => bind = Some(true),
            "ro" => attr |= mount::RDONLY,
            "nosuid" => attr |= mount::NOSUID,
            "nodev" => attr |= mount::NODEV,
            "noexec" => attr |= mount::NOEXEC,
            "noatime" => attr |= mount::NOATIME,
            "nodiratime" => attr |= mount::NODIRATIME,
            "strictatime" => attr |= mount::STRICTATIME,
            "rw" | "suid" | "dev" | "exec" | "atime" | "relatime" | "defaults" => {}
            _ => rest.push(match word.split_once('=') {
                Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                None => (word.to_owned(), None),
            }),
        }
    }
    if let Some(recursive) = bind {
        return Ok(Source::Bind { path: PathBuf::from(device), recursive, attr });
    }
    Ok(Source::FileSystem { kind: kind.to_owned(), device: device.to_owned(), options: rest, attr })
}

impl Source {
    /// Whether the files are gone when nobody has the volume mounted, or are elsewhere.
    pub(crate) fn is_directory(&self) -> bool {
        matches!(self, Self::Directory)
    }

    /// Whether every mount has its own files, in memory.
    pub(crate) fn in_memory(&self) -> bool {
        matches!(self, Self::FileSystem { kind, .. } if kind == "tmpfs")
    }

    /// Sets the attributes of a mount of a file system anew, whatever it has.
    pub(crate) fn dress(&self, tree: BorrowedFd<'_>) -> io::Result<()> {
        let Self::FileSystem { attr, .. } = self else { return Ok(()) };
        let all = mount::RDONLY | mount::NOSUID | mount::NODEV | mount::NOEXEC | mount::NODIRATIME;
        let clear = (all & !attr) | mount::ATIME_MASK;
        mount::set_attr(tree, false, SetAttr { set: *attr, clear, ..SetAttr::default() })
    }

    /// Makes the detached mount; `data` is the volume's own directory.
    ///
    /// # Errors
    /// Those of the mount calls, and of looking up an NFS server's name.
    pub(crate) fn mount(&self, data: &Path) -> io::Result<OwnedFd> {
        match self {
            Self::Directory => mount::clone_tree_at(std::fs::File::open("/")?, data, true),
            Self::Bind { path, recursive, attr } => {
                if !path.is_absolute() {
                    return Err(io::ErrorKind::NotFound.into());
                }
                let tree = mount::clone_tree_at(std::fs::File::open("/")?, path, *recursive)?;
                if *attr != 0 {
                    mount::set_attr(&tree, false, set_attr(*attr))?;
                }
                Ok(tree)
            }
            Self::FileSystem { kind, device, options, attr } => {
                let context = FsContext::open(kind)?;
                configure(&context, kind, device, options)
                    .and_then(|()| context.mount(*attr))
                    .map_err(|error| explain(error, &context))
            }
        }
    }
}

/// An atime value replaces the one that is there, so the old one must be cleared with it.
fn set_attr(attr: Attr) -> SetAttr<'static> {
    let clear = if attr & mount::ATIME_MASK != 0 { mount::ATIME_MASK } else { 0 };
    SetAttr { set: attr, clear, ..SetAttr::default() }
}

fn configure(
    context: &FsContext,
    kind: &str,
    device: &str,
    options: &[(String, Option<String>)],
) -> io::Result<()> {
    context.string("source", device)?;
    for (key, value) in options {
        match value {
            // The kernel knows no names of hosts; mount.nfs(8) looks them up, and so does Docker.
            Some(host) if key == "addr" && (kind.starts_with("nfs") || kind == "cifs") => {
                context.string(key, address(host)?)?;
            }
            Some(value) => context.string(key, value)?,
            None => context.flag(key)?,
        }
    }
    Ok(())
}

fn address(host: &str) -> io::Result<String> {
    let found = (host, 0).to_socket_addrs()?.next();
    found.map(|found| found.ip().to_string()).ok_or_else(|| io::ErrorKind::HostUnreachable.into())
}

/// Adds what the file system itself said about a failure.
fn explain(error: io::Error, context: &FsContext) -> io::Error {
    let log = context.log();
    if log.is_empty() { error } else { io::Error::new(error.kind(), format!("{error} ({log})")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn options_become_a_source() {
        assert_eq!(plan("v", &options(&[])).expect("plain"), Source::Directory);
        assert_eq!(
            plan("v", &options(&[("type", "none"), ("o", "bind,ro"), ("device", "/srv")]))
                .expect("bind"),
            Source::Bind { path: "/srv".into(), recursive: false, attr: mount::RDONLY }
        );
        assert_eq!(
            plan("v", &options(&[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m,nodev")]))
                .expect("tmpfs"),
            Source::FileSystem {
                kind: "tmpfs".into(),
                device: "tmpfs".into(),
                options: vec![("size".into(), Some("1m".into()))],
                attr: mount::NODEV,
            }
        );
    }

    #[test]
    fn unknown_options_are_refused() {
        let error = plan("v", &options(&[("typ", "x")])).expect_err("typo");
        assert_eq!(error.to_string(), "create v: invalid option: \"typ\"");
        let error = plan("v", &options(&[("type", "tmpfs")])).expect_err("no device");
        assert_eq!(error.to_string(), "create v: missing device in volume options");
    }
}
