//! Making and removing the directories.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::files::Dir;
use super::layout::{Controller, Version};
use super::place::Places;
use super::{Error, Warning, path, v1, v2};

/// How long a removal waits for processes that are on their way out: a killed process leaves its
/// cgroup only when the kernel is through with its memory.
const REMOVE_PATIENCE: Duration = Duration::from_secs(2);

/// What to do with a directory that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Existing {
    /// Left over from a crash: away with it, so that no old limit lives on. Fails if it has processes.
    Replace,
    /// Somebody (systemd) made it for us.
    Keep,
}

/// Makes every directory. A hierarchy that is read-only or forbidden is dropped from `places` with
/// a warning; every other failure removes what was made.
pub(super) fn create(
    places: &mut Places,
    path: &str,
    existing: Existing,
) -> Result<Vec<Warning>, Error> {
    let mut warnings = Vec::new();
    let mut made = Vec::new();
    let outcome = create_all(places, path, existing, &mut made, &mut warnings);
    if outcome.is_err() {
        // The first failure is the one to tell.
        let _ = remove(made.iter());
    }
    outcome.map(|()| warnings)
}

fn create_all(
    places: &mut Places,
    path: &str,
    existing: Existing,
    made: &mut Vec<Dir>,
    warnings: &mut Vec<Warning>,
) -> Result<(), Error> {
    let mut skipped = Vec::new();
    for (at, place) in places.v1.iter().enumerate() {
        let cpuset = place.hierarchy.has(Controller::Cpuset);
        let mount = &place.hierarchy.mount;
        match make(mount, path, &place.dir, existing, |parent, new| {
            if cpuset {
                v1::cpuset::inherit(parent, new).and_then(|()| v1::cpuset::clone_children(new))
            } else {
                Ok(())
            }
        }) {
            Ok(()) => made.push(place.dir.clone()),
            Err(error) if forbidden(&error) => {
                let (hierarchy, why) = (place.hierarchy.label.clone(), error.to_string());
                warnings.push(Warning::HierarchySkipped { hierarchy, why });
                skipped.push(at);
                continue;
            }
            Err(error) => return Err(error),
        }
        if cpuset {
            fill_cpuset(mount, path, &place.dir)?;
        }
    }
    for at in skipped.into_iter().rev() {
        places.v1.remove(at);
    }
    if let Some((tree, dir)) = &places.unified {
        let wanted: Vec<_> = match places.version {
            // Beside v1 the tree is for finding, freezing and killing; its odd controller is turned on when
            // a limit for it is asked for.
            Version::Hybrid | Version::V1 => Vec::new(),
            Version::V2 => tree.controllers.iter().map(String::as_str).collect(),
        };
        match make(&tree.mount, path, dir, existing, |_, _| Ok(())) {
            Ok(()) => {
                made.push(dir.clone());
                warnings.extend(enable(&tree.mount, path, &wanted));
            }
            Err(error) if forbidden(&error) && !places.v1.is_empty() => {
                let (hierarchy, why) = ("unified".to_owned(), error.to_string());
                warnings.push(Warning::HierarchySkipped { hierarchy, why });
                places.unified = None;
            }
            Err(error) => return Err(error),
        }
    }
    if places.v1.is_empty() && places.unified.is_none() {
        return Err(Error::NotMounted);
    }
    Ok(())
}

/// Turns controllers on all the way from the root to the container's parent.
pub(super) fn enable(mount: &Path, path: &str, wanted: &[&str]) -> Vec<Warning> {
    if wanted.is_empty() {
        return Vec::new();
    }
    let mut warnings = v2::controllers::enable(&Dir(mount.to_owned()), wanted);
    for above in path::ancestors(path) {
        let refused = |name: &&str| {
            let is = |warning: &Warning| matches!(warning, Warning::ControllerUnavailable { controller, .. } if controller == name);
            warnings.iter().any(is)
        };
        let wanted: Vec<_> = wanted.iter().copied().filter(|name| !refused(name)).collect();
        warnings.extend(v2::controllers::enable(&Dir(mount.join(above)), &wanted));
    }
    warnings
}

fn forbidden(error: &Error) -> bool {
    // EPERM, EACCES, EROFS: a hierarchy that is not ours to write, as in a container.
    matches!(error.errno(), Some(1 | 13 | 30))
}

/// Makes one directory and, when they lack, those above it; `prepare` gets (parent, new) for each of the latter.
fn make(
    mount: &Path,
    path: &str,
    dir: &Dir,
    existing: Existing,
    prepare: impl Fn(&Dir, &Dir) -> Result<(), Error>,
) -> Result<(), Error> {
    let failed = |source| Error::Create { path: dir.path().to_owned(), source };
    // A prune may take the parent away between our two steps.
    for _ in 0..5 {
        match std::fs::create_dir(dir.path()) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut parent = Dir(mount.to_owned());
                for above in path::ancestors(path) {
                    let new = Dir(mount.join(above));
                    match std::fs::create_dir(new.path()) {
                        Ok(()) => prepare(&parent, &new)?,
                        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                        Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                        Err(error) => return Err(failed(error)),
                    }
                    parent = new;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if existing == Existing::Keep {
                    return Ok(());
                }
                remove_below(dir.path()).map_err(failed)?;
            }
            Err(error) => return Err(failed(error)),
        }
    }
    Err(failed(io::ErrorKind::NotFound.into()))
}

/// `cgroup.clone_children` of the parent has usually done this; where it has not (a parent that somebody else made,
/// a sibling with exclusive processors), each level gets what the one above has.
fn fill_cpuset(mount: &Path, path: &str, dir: &Dir) -> Result<(), Error> {
    if !dir.text("cpuset.cpus")?.trim().is_empty() {
        return Ok(());
    }
    let mut parent = Dir(mount.to_owned());
    for above in path::ancestors(path) {
        let level = Dir(mount.join(above));
        v1::cpuset::inherit(&parent, &level)?;
        parent = level;
    }
    v1::cpuset::inherit(&parent, dir)
}

/// Removes every directory and those that the container made below; waits a bounded time for the busy ones. Does
/// every step; the failures come back together.
pub(super) fn remove<'a>(dirs: impl Iterator<Item = &'a Dir>) -> Vec<Error> {
    let mut pending: Vec<&Dir> = dirs.collect();
    let mut failures = Vec::new();
    let start = Instant::now();
    let mut pause = Duration::from_micros(100);
    loop {
        let late = start.elapsed() > REMOVE_PATIENCE;
        pending.retain(|dir| match remove_below(dir.path()) {
            Ok(()) => false,
            Err(error) if error.raw_os_error() == Some(16) && !late => true,
            Err(source) => {
                failures.push(Error::Remove { path: dir.path().to_owned(), source });
                false
            }
        });
        if pending.is_empty() {
            return failures;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Removes one directory and those below it. Not being there is fine.
fn remove_below(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // EBUSY: processes, or directories below.
        Err(error) if matches!(error.raw_os_error(), Some(16 | 39)) => {
            let below = subdirectories(path);
            if below.is_empty() {
                return Err(error);
            }
            below.iter().try_for_each(|path| remove_below(path))?;
            match std::fs::remove_dir(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            }
        }
        Err(error) => Err(error),
    }
}

/// The cgroups right below this one.
pub(super) fn subdirectories(path: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}
