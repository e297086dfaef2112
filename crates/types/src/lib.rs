//! The vocabulary of Isopod: ids, names, container specifications, states, events and error
//! kinds. Everything here is plain data; nothing here does I/O, knows a database, a socket or
//! a kernel interface.
//!
//! Specifications serialise to the JSON of the Docker Engine API, because that vocabulary is
//! the field's: the engine stores what the API said, and nobody translates twice.

#[macro_use]
mod json;

pub mod account;
pub mod capability;
pub mod container;
pub mod digest;
pub mod duration;
pub mod error;
pub mod event;
pub mod filter;
pub mod health;
pub mod host;
pub mod id;
pub mod mount;
pub mod name;
pub mod network;
pub mod reference;
pub mod resources;
pub mod state;
pub mod stats;
pub mod time;

pub use error::{Error, ErrorKind};
pub use id::ContainerId;
pub use json::{Words, empty_null, null_default};
pub use time::Timestamp;
