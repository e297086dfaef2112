//! Dockerfiles: what they say, in which order it is done, and what of it is known already.
//!
//! The crate never runs a process and mounts nothing: what it needs of an engine is a trait.

pub mod cache;
mod copy;
pub mod dockerfile;
pub mod error;
pub mod expand;
pub mod ignore;
pub mod plan;
pub mod worker;

pub use worker::Worker;
