//! Dockerfiles: what they say, in which order it is done, and what of it is known already.
//!
//! ```text
//!  context ─► Dockerfile ─► plan ─► stages, several at once ─► results
//!                                     │  step: key ─► cache, or snapshot, run or copy, commit
//!                                     └► Worker: images, processes, addresses, secrets
//! ```
//!
//! The crate runs no process, attaches no mount and speaks to no server: what it needs of an
//! engine is a trait ([`Worker`]). It blocks; call it from a thread that may.

mod build;
pub mod cache;
pub mod classic;
pub mod context;
mod copy;
pub mod dockerfile;
pub mod error;
pub mod expand;
mod export;
mod history;
pub mod ignore;
pub mod plan;
pub mod progress;
pub mod request;
mod schedule;
mod stage;
pub mod worker;

pub use build::{Failure, Place, build};
pub use context::Input;
pub use export::Outcome;
pub use request::{Export, Request};
pub use schedule::Shop;
pub use stage::Cause;
pub use worker::Worker;
