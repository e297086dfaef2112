//! Where a process's output goes, and what happens when somebody does not take it.

mod client;
mod flow;
mod scratch;

pub(crate) use client::{Client, Fed};
pub(crate) use flow::PATIENCE;
pub(crate) use scratch::Scratch;
