//! Collecting garbage while registries serve.
//!
//! ```text
//! 1. mark     read all manifests that stay; note what they refer to        (nobody waits)
//! 2. links    alone: take away manifests, then links of blobs, that were not noted and are still
//!             old                                                          (pushes wait)
//! 3. blobs    alone: list all links there are now; remove old blobs without one
//! ```
//!
//! Between 1 and 2 a client may push a manifest that needs something we did not note. It touches
//! the links of all it needs, under the gate, so step 2 finds them young and leaves them.

mod mark;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use types::digest::Digest;

use crate::name::Name;
use crate::storage::{Result, Step, Storage, StorageError, absent, digests_in, names_in};
use mark::{Marked, Terms};

/// Uploads that nobody has gone on with for so long are removed.
const FORGOTTEN: Duration = Duration::from_secs(7 * 86_400);

/// How to collect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    /// Only say what would go.
    pub(crate) dry_run: bool,
    /// Manifests go that nothing leads to.
    pub(crate) untagged: bool,
    /// Manifests go, with their tags, that nobody has asked for in so long.
    pub(crate) unused: Option<Duration>,
    /// What is younger stays.
    pub(crate) grace: Duration,
}

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Manifests taken out of repositories.
    pub(crate) manifests: Vec<(Name, Digest)>,
    /// Blobs taken out of repositories.
    pub(crate) links: usize,
    /// Blobs removed.
    pub(crate) blobs: Vec<(Digest, u64)>,
    /// Blobs that nobody needs and that are too young to go.
    pub(crate) young: usize,
    /// Uploads removed.
    pub(crate) uploads: usize,
    /// What could not be done.
    pub(crate) failures: Vec<StorageError>,
    dry_run: bool,
}

impl Report {
    /// What people are told.
    pub(crate) fn lines(&self) -> Vec<String> {
        let verb = if self.dry_run { "would remove" } else { "removed" };
        let mut lines = Vec::new();
        for (name, digest) in &self.manifests {
            lines.push(format!("{verb} manifest {digest} of {name}"));
        }
        for (digest, size) in &self.blobs {
            lines.push(format!("{verb} blob {digest} ({size} bytes)"));
        }
        let bytes: u64 = self.blobs.iter().map(|(_, size)| size).sum();
        lines.push(format!(
            "{verb} {} manifests, {} links, {} blobs ({bytes} bytes), {} uploads",
            self.manifests.len(),
            self.links,
            self.blobs.len(),
            self.uploads
        ));
        if self.young > 0 {
            lines.push(format!(
                "{} unused blobs are younger than the grace time and stay for now (see --grace)",
                self.young
            ));
        }
        lines
    }

    /// Goes on after a failure, and remembers it.
    fn note<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.failures.push(error)).ok()
    }
}

/// Removes what nobody needs.
pub(crate) fn collect(storage: &Storage, how: How) -> Result<Report> {
    let mut report = Report { dry_run: how.dry_run, ..Report::default() };
    // With no grace at all, what comes from now on is still young.
    let now = SystemTime::now();
    let cutoff = now - how.grace;
    let unused = how.unused.map(|unused| now - unused);
    let terms = Terms { untagged: how.untagged, cutoff, unused };
    let names = storage.all_repositories()?;
    let mut marked = Vec::new();
    for name in names {
        let found = mark::mark(storage, &name, terms)?;
        marked.push((name, found));
    }
    let mut gone = BTreeSet::new();
    for (name, found) in &marked {
        let _gate = storage.alone()?;
        gone.extend(links(storage, name, found, how, cutoff, &mut report));
    }
    blobs(storage, &marked, how, cutoff, &gone, &mut report)?;
    if !how.dry_run {
        let swept = storage.blobs().sweep(FORGOTTEN).map_err(StorageError::from);
        report.uploads = report.note(swept).map_or(0, |swept| swept.len());
    }
    Ok(report)
}

/// Step 2 for one repository. Gives the links that went, or would have gone.
fn links(
    storage: &Storage,
    name: &Name,
    marked: &Marked,
    how: How,
    cutoff: SystemTime,
    report: &mut Report,
) -> Vec<(Name, Digest)> {
    let repository = storage.repository(name);
    let mut gone = Vec::new();
    for digest in &marked.unused {
        let link = place(repository.folder(), "_manifests", digest);
        if report.note(is_old(&link, cutoff)) != Some(true) {
            continue;
        }
        if !how.dry_run && report.note(repository.remove_manifest(digest)) != Some(true) {
            continue;
        }
        report.manifests.push((name.clone(), digest.clone()));
        gone.push((name.clone(), digest.clone()));
    }
    let linked = report.note(digests_in(&repository.folder().join("_blobs"))).unwrap_or_default();
    for digest in linked.iter().filter(|digest| !marked.needed.contains(*digest)) {
        let link = place(repository.folder(), "_blobs", digest);
        if report.note(is_old(&link, cutoff)) != Some(true) {
            continue;
        }
        if !how.dry_run {
            let removed = absent(fs::remove_file(&link)).step("remove", &link);
            if report.note(removed).is_none() {
                continue;
            }
        }
        report.links += 1;
        gone.push((name.clone(), digest.clone()));
    }
    if !how.dry_run {
        tidy(repository.folder(), &storage.repositories(), cutoff);
    }
    gone
}

fn place(folder: &Path, kind: &str, digest: &Digest) -> std::path::PathBuf {
    folder.join(kind).join(digest.algorithm()).join(digest.hex())
}

/// Whether a link is there and old enough to go.
fn is_old(link: &Path, cutoff: SystemTime) -> Result<bool> {
    let time =
        absent(fs::metadata(link).and_then(|found| found.modified())).step("look at", link)?;
    Ok(time.is_some_and(|time| time < cutoff))
}

/// Removes unfinished files of processes that are gone, and then directories that are empty; what
/// is not, or cannot be, is left alone.
fn tidy(folder: &Path, top: &Path, cutoff: SystemTime) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        let own = entry.file_name().to_string_lossy().starts_with('_');
        if kind.is_dir() && own {
            tidy_links(&entry.path(), cutoff);
        }
    }
    // `remove_dir` refuses what is not empty.
    let mut empty = folder;
    while empty != top && fs::remove_dir(empty).is_ok() {
        let Some(parent) = empty.parent() else { return };
        empty = parent;
    }
}

fn tidy_links(folder: &Path, cutoff: SystemTime) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            tidy_links(&entry.path(), cutoff);
        } else if entry.file_name().to_string_lossy().starts_with('.')
            && is_old(&entry.path(), cutoff).unwrap_or(false)
        {
            // Failing to remove it costs some bytes.
            let _ = fs::remove_file(entry.path());
        }
    }
    let _ = fs::remove_dir(folder);
}

/// Step 3.
fn blobs(
    storage: &Storage,
    marked: &[(Name, Marked)],
    how: How,
    cutoff: SystemTime,
    gone: &BTreeSet<(Name, Digest)>,
    report: &mut Report,
) -> Result<()> {
    let _gate = storage.alone()?;
    let mut linked = BTreeSet::new();
    for name in storage.all_repositories()? {
        let folder = storage.repository(&name).folder().to_owned();
        for kind in names_in(&folder)?
            .iter()
            .filter(|kind| ["_blobs", "_manifests"].contains(&kind.as_str()))
        {
            let found = digests_in(&folder.join(kind))?;
            // In a dry run the links are still there.
            linked.extend(
                found.into_iter().filter(|digest| {
                    !how.dry_run || !gone.contains(&(name.clone(), digest.clone()))
                }),
            );
        }
    }
    let needed: BTreeSet<&Digest> =
        marked.iter().flat_map(|(_, found)| found.needed.iter()).collect();
    let age_needed = SystemTime::now().duration_since(cutoff).unwrap_or_default();
    for (digest, size) in storage.blobs().list()? {
        // What manifests need stays even where its link was lost.
        if needed.contains(&digest) {
            continue;
        }
        // A link that nobody needs is there because it is young.
        if linked.contains(&digest) {
            report.young += 1;
            continue;
        }
        let age = storage.blobs().age(&digest).map_err(StorageError::from);
        match report.note(age).flatten() {
            Some(age) if age >= age_needed => {}
            Some(_) => {
                report.young += 1;
                continue;
            }
            None => continue,
        }
        if !how.dry_run {
            let removed = storage.blobs().remove(&digest).map_err(StorageError::from);
            if report.note(removed).is_none() {
                continue;
            }
        }
        report.blobs.push((digest, size));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
