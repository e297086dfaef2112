//! The engine's answers in Docker's JSON.

pub(crate) mod build;
pub(crate) mod container;
pub(crate) mod duration;
mod earlier;
pub(crate) mod exec;
pub(crate) mod image;
mod leases;
pub(crate) mod list;
pub(crate) mod network;
pub(crate) mod stats;
pub(crate) mod system;
pub(crate) mod transfer;
pub(crate) mod volume;
