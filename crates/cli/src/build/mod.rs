//! Building images: `build`, and `prune` of what builds leave behind.

mod prune;

pub(crate) use prune::prune as prune_all;

use crate::verbs::{Verb, verb};

/// The commands of `builder`.
pub(crate) static VERBS: &[Verb] = &[
    verb!("prune", [], 0..=0, "[OPTIONS]", "Remove what builds have left in the cache",
        prune::Args => prune::command),
];
