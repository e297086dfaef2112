//! The resolver: answers the questions for names that containers on user networks ask at
//! 127.0.0.11, and asks others for the names that it does not know.
//!
//! ```text
//!  container ── UDP, TCP ──► sockets made in its namespace ─┐
//!  container ── UDP, TCP ──► …                              ├─► zones ─► answer
//!                                                           │    └─ unknown ─► name servers ─► answer
//!  daemon ───── changes ──► connection ─────────────────────┘
//! ```
//!
//! One process for all containers, with one thread, forked by the launcher as monitors are. It
//! outlives the daemon and goes when neither a container nor a daemon needs it. It reads what
//! hostile containers and strangers on the network send, and so it has no privilege: it runs as
//! nobody, without capabilities, and owns nothing but the sockets that it was given.
//!
//! It does not know what a container or a network is beyond its names: what exists, and where
//! everybody's sockets come from, the engine tells it.

pub mod answer;
mod client;
mod daemon;
mod events;
mod flight;
mod forward;
mod process;
mod random;
mod serve;
mod slab;
mod stream;
pub mod wire;
pub mod zones;

pub use process::run;
