//! Building images: `build`, and `prune` of what builds leave behind.

mod agent;
mod check;
mod flags;
mod output;
mod pack;
mod progress;
mod prune;
mod request;
mod run;
mod secret;
mod session;
mod source;

pub(crate) use flags::Args;
pub(crate) use prune::prune as prune_all;
pub(crate) use run::build;

use crate::verbs::{Verb, verb};

/// The commands of `builder`.
pub(crate) static VERBS: &[Verb] = &[
    verb!("build", [], 1..=1, "[OPTIONS] PATH | URL | -", "Build an image from a Dockerfile",
        Args => build),
    verb!("prune", [], 0..=0, "[OPTIONS]", "Remove what builds have left in the cache",
        prune::Args => prune::command),
];
