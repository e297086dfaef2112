//! Where a kernel is, and where its modules may be; which of the named kernels and agents it is.

use std::io;
use std::path::{Path, PathBuf};

use super::error::{Error, Step};
use super::{Wanted, extract, install, note};
use crate::machine::Arch;

/// A kernel's file and the roots that may have its modules.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) kernel: PathBuf,
    pub(super) roots: Vec<PathBuf>,
}

/// Looks for it in the order that the module's head tells.
pub(super) fn find(wanted: &Wanted<'_>) -> Result<Found, Error> {
    for path in wanted.kernels {
        match named(path) {
            Ok(found) if is_for_others(extract::architecture(&found.kernel), wanted.arch) => {}
            other => return other,
        }
    }
    let installed = install::root(wanted.state, wanted.arch);
    if let Some(found) = in_root(&installed, None)? {
        return Ok(found);
    }
    if Arch::host() == Some(wanted.arch) {
        let running = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        if let Some(found) = in_root(Path::new("/"), Some(running.trim()))? {
            return Ok(found);
        }
    }
    Err(Error::None(wanted.arch))
}

/// The agent for the guests.
pub(super) fn agent<'a>(wanted: &Wanted<'a>) -> Result<&'a Path, Error> {
    let fits = |path: &&PathBuf| !is_for_others(note::architecture(path), wanted.arch);
    match wanted.agents.iter().find(fits) {
        Some(path) if path.exists() => Ok(path),
        Some(path) => Err(Error::AgentGone(path.clone())),
        None => Err(Error::NoAgent(wanted.arch)),
    }
}

/// Whether a file is of use to other guests. One of which that is not known is not: what is wrong
/// with it is said later.
fn is_for_others(found: Option<Arch>, wanted: Arch) -> bool {
    found.is_some_and(|arch| arch != wanted)
}

/// The kernel that a caller names: a file, or the newest one of a directory.
pub(super) fn named(path: &Path) -> Result<Found, Error> {
    let about = std::fs::metadata(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::NotThere(path.into()),
        _ => Error::Named { path: path.into(), source },
    })?;
    if about.is_dir() {
        return in_root(path, None)?.ok_or_else(|| Error::Empty(path.to_owned()));
    }
    // `<root>/boot/vmlinuz-…`, or with `lib/modules` or `modules` beside the kernel itself.
    let parent = path.parent().map_or_else(PathBuf::new, Path::to_owned);
    let mut roots = vec![parent.clone()];
    if let Some(root) = parent.parent() {
        roots.push(root.to_owned());
    }
    roots.push(PathBuf::from("/"));
    Ok(Found { kernel: path.to_owned(), roots })
}

/// A kernel as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Of which guests.
    pub arch: Arch,
    /// Its version, as its file is called.
    pub version: String,
    /// The file.
    pub path: PathBuf,
    /// It is the one that guests boot when none is named.
    pub used: bool,
}

/// The kernels that are found by themselves, below the directory `vm` of the data root and in the
/// host's `/boot`: the highest version of each place first.
///
/// # Errors
/// [`Error::File`].
pub fn list(state: &Path) -> Result<Vec<Listed>, Error> {
    let mut all = Vec::new();
    for arch in Arch::ALL {
        let wanted = Wanted { state, kernels: &[], agents: &[], arch };
        let used = match find(&wanted) {
            Err(Error::None(_)) => None,
            other => Some(other?.kernel),
        };
        let host = (Arch::host() == Some(arch)).then(|| PathBuf::from("/"));
        for root in [install::root(state, arch)].into_iter().chain(host) {
            for (version, path) in kernels(&root)?.into_iter().rev() {
                let used = used.as_ref() == Some(&path);
                all.push(Listed { arch, version, path, used });
            }
        }
    }
    Ok(all)
}

/// The kernel in a root: that of a release if it is there, else the one with the highest version.
fn in_root(root: &Path, release: Option<&str>) -> Result<Option<Found>, Error> {
    let mut all = kernels(root)?;
    let running = all.iter().position(|(version, _)| Some(version.as_str()) == release);
    let kernel = match running {
        Some(at) => Some(all.swap_remove(at)),
        None => all.pop(),
    };
    Ok(kernel.map(|(_, kernel)| Found { kernel, roots: vec![root.to_owned()] }))
}

/// Versions and files of the kernels in a root, the highest last.
fn kernels(root: &Path) -> Result<Vec<(String, PathBuf)>, Error> {
    let mut all = Vec::new();
    for directory in [root.join("boot"), root.to_owned()] {
        let entries = match std::fs::read_dir(&directory) {
            Err(error) if is_missing(&error) => continue,
            other => other.step("list", &directory)?,
        };
        for entry in entries {
            let name = entry.step("list", &directory)?.file_name();
            let Some(name) = name.to_str() else { continue };
            let version = name.strip_prefix("vmlinuz").or_else(|| name.strip_prefix("vmlinux"));
            let Some(version) = version.filter(|v| v.is_empty() || v.starts_with('-')) else {
                continue;
            };
            all.push((version.trim_start_matches('-').to_owned(), directory.join(name)));
        }
    }
    all.sort_by_key(|(version, path)| (order(version), path.clone()));
    Ok(all)
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The numbers of a version, so that 6.10 is higher than 6.9.
fn order(version: &str) -> Vec<u64> {
    version
        .split(|c: char| !c.is_ascii_digit())
        .filter(|digits| !digits.is_empty())
        .map(|digits| digits.parse().unwrap_or(u64::MAX))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted<'a>(state: &'a Path, kernels: &'a [PathBuf]) -> Wanted<'a> {
        Wanted { state, kernels, agents: &[], arch: Arch::X86_64 }
    }

    #[test]
    fn the_newest_kernel_of_a_root_is_taken() {
        let dir = tempfile::tempdir().expect("directory");
        let boot = dir.path().join("boot");
        std::fs::create_dir(&boot).expect("create");
        for name in ["vmlinuz-6.9.1", "vmlinuz-6.10.0-1-cloud", "vmlinuzfoo", "initrd.img-7"] {
            std::fs::write(boot.join(name), "").expect("write");
        }
        let found = find(&wanted(dir.path(), &[dir.path().to_owned()])).expect("found");
        assert_eq!(found.kernel, boot.join("vmlinuz-6.10.0-1-cloud"));
        assert_eq!(found.roots, [dir.path()]);
        let found = in_root(dir.path(), Some("6.9.1")).expect("lists").expect("found");
        assert_eq!(found.kernel, boot.join("vmlinuz-6.9.1"));
    }

    #[test]
    fn what_was_installed_comes_before_the_hosts_own() {
        let dir = tempfile::tempdir().expect("directory");
        let boot = install::root(dir.path(), Arch::X86_64).join("boot");
        std::fs::create_dir_all(&boot).expect("create");
        std::fs::write(boot.join("vmlinuz-1.0"), "").expect("write");
        let found = find(&wanted(dir.path(), &[])).expect("found");
        assert_eq!(found.kernel, boot.join("vmlinuz-1.0"));
    }

    #[test]
    fn what_was_named_and_is_not_there_is_said() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("vmlinuz");
        let error = find(&wanted(dir.path(), std::slice::from_ref(&path))).expect_err("missing");
        assert!(
            error.to_string().contains("vmlinuz: name another one with --vm-kernel"),
            "{error}"
        );
        let error = find(&wanted(dir.path(), &[dir.path().to_owned()])).expect_err("empty");
        assert!(error.to_string().contains("no vmlinuz"), "{error}");
    }
}
