//! Commands about the engine as a whole.

mod check;
mod df;
mod dial;
mod events;
mod info;
mod prune;

use crate::verbs::{Verb, verb};

/// The commands.
pub(crate) static VERBS: &[Verb] = &[
    verb!("check", [], 0..=0, "[OPTIONS]", "Verify all images and layers, and repair them", check::Args => check::check),
    verb!("df", [], 0..=0, "[OPTIONS]", "Show what takes space", df::Args => df::df),
    verb!("dial-stdio", [], 0..=0, "", "Carry a connection to the daemon over standard input and output", dial::Args => dial::dial),
    verb!("events", [], 0..=0, "[OPTIONS]", "Show what happens, as it happens", events::Args => events::events),
    verb!("info", [], 0..=0, "[OPTIONS]", "Show what the engine is like", info::Args => info::info),
    verb!("prune", [], 0..=0, "[OPTIONS]", "Remove what nobody uses", prune::Args => prune::prune),
];
