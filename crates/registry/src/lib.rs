//! A registry server: the OCI distribution protocol over content on a file system.
//!
//! ```text
//!  connection ─► route ─► access ─► routes::{blobs, manifests, uploads, lists} ─► storage
//!                                        └─► cache ─► distribution (the registry behind it)
//! ```
//!
//! The crate never knows what is in a layer, and runs nothing. What it knows of manifests is what
//! they refer to. It holds no state of its own between requests: see [`mod@storage`].

mod access;
mod answer;
mod app;
mod body;
mod cache;
mod collect;
mod command;
mod error;
mod follow;
mod manifest;
mod metrics;
mod name;
mod page;
mod password;
mod percent;
mod range;
mod receive;
mod route;
mod routes;
mod run;
mod server;
mod socket;
mod storage;
mod tls;

#[cfg(feature = "fuzzing")]
pub mod fuzzing;

pub use command::{command, main};
