//! Verifying everything that the store has, and repairing what can be repaired.
//!
//! Every blob is read and hashed; every layer's tar is made again, hashed, and unpacked beside the
//! layer to compare names and attributes; every image's documents must be there and agree with
//! what the catalog says. [`plan`] decides what is wrong and what could be done about it, without
//! touching anything; [`repair`] does it.
//!
//! What is checked is held meanwhile, so that nothing is "missing" because it was just removed.

mod examine;
mod plan;
mod repair;

use serde::Serialize;
use types::digest::Digest;

use crate::error::Result;
use crate::store::Store;

/// What a problem is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase", tag = "type", content = "name")]
pub enum Subject {
    /// An image, by its id.
    Image(Digest),
    /// A layer, by the digest of its tar.
    Layer(Digest),
    /// A blob that was kept: a compressed layer or a manifest.
    Blob(Digest),
    /// A file below the data root that is none of the store's.
    File(String),
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Image(id) => write!(f, "image {id}"),
            Self::Layer(diff_id) => write!(f, "layer {diff_id}"),
            Self::Blob(digest) => write!(f, "blob {digest}"),
            Self::File(path) => write!(f, "file {path}"),
        }
    }
}

/// What became of a problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "type", content = "detail")]
pub enum Outcome {
    /// It was only reported; this could be done about it.
    Reported(String),
    /// It is as it should be again.
    Repaired(String),
    /// Nothing could bring these images back: they are gone, these are their names and ids. Pull,
    /// load or build them again.
    Dropped(Vec<String>),
    /// It is gone, and nobody needed it.
    Removed,
    /// Nothing can be done about it.
    Hopeless(String),
    /// Repairing it failed.
    Failed(String),
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// What it is about.
    pub subject: Subject,
    /// What is wrong with it, a phrase.
    pub fault: String,
    /// Images that suffer: names, or the id of one without.
    pub images: Vec<String>,
    /// Containers that suffer, by id.
    pub containers: Vec<String>,
    /// What became of it.
    pub outcome: Outcome,
}

impl Problem {
    /// Whether it is a problem no longer.
    pub fn is_solved(&self) -> bool {
        matches!(self.outcome, Outcome::Repaired(_) | Outcome::Dropped(_) | Outcome::Removed)
    }
}

/// A sign of life of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum CheckStep {
    /// This is checked now.
    Checking {
        /// What.
        subject: Subject,
        /// Bytes that have been checked before.
        done: u64,
        /// Bytes to check altogether.
        total: u64,
    },
    /// Something is wrong.
    Found(Problem),
}

/// What a check has found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckReport {
    /// Images that were checked.
    pub images: usize,
    /// Layers that were checked.
    pub layers: usize,
    /// Blobs that were checked, documents among them.
    pub blobs: usize,
    /// Bytes of all those.
    pub bytes: u64,
    /// What is, or was, wrong.
    pub problems: Vec<Problem>,
}

impl CheckReport {
    /// Nothing was wrong.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    /// Nothing is wrong any more.
    pub fn is_solved(&self) -> bool {
        self.problems.iter().all(Problem::is_solved)
    }
}

impl Store {
    /// Verifies every document, blob and layer, says what is wrong and, if asked to, repairs it: a
    /// damaged layer is unpacked again from its kept blob, or from itself when its contents are
    /// right; an image that nothing can bring back is dropped; files that are none of the store's
    /// are removed. It takes about as long as loading everything.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) when the store cannot be looked at; what is wrong with
    /// single things is in the report.
    pub fn check(
        &self,
        repair: bool,
        progress: &mut (dyn FnMut(CheckStep) + Send),
    ) -> Result<CheckReport> {
        let scope = examine::Scope::take(self)?;
        let mut findings = scope.examine(progress)?;
        let mut report = CheckReport {
            images: scope.catalog.images.len(),
            layers: findings.layers.len(),
            blobs: findings.blobs.len(),
            bytes: findings.bytes,
            problems: Vec::new(),
        };
        for planned in plan::plan(&scope.catalog, &scope.containers, &findings) {
            let outcome = if repair && repair::came_again(self, &planned.subject, &findings) {
                Outcome::Repaired("it has come again meanwhile".to_owned())
            } else if repair {
                repair::repair(self, &planned.remedy, &mut findings)
            } else {
                planned.remedy.offer()
            };
            let plan::Planned { subject, fault, images, containers, .. } = planned;
            let problem = Problem { subject, fault, images, containers, outcome };
            progress(CheckStep::Found(problem.clone()));
            report.problems.push(problem);
        }
        drop(findings);
        drop(scope);
        if repair && !report.is_clean() {
            self.collect_garbage()?;
        }
        Ok(report)
    }
}

#[cfg(test)]
mod tests;
