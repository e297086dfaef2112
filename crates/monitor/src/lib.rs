//! One container's parent. A *monitor* creates the container, holds its standard streams or its
//! terminal, writes its log, serves attached clients, runs execs, counts, freezes and kills, and
//! at the end writes down how it ended. The *launcher* is the small process that the daemon
//! starts first, and that forks a monitor for each container.
//!
//! ```text
//!  daemon ──Order + fds──► launcher          dies with its daemon
//!     │                       │ fork
//!     └──control, streams──► monitor         lives as long as its container
//!                               │ clone3
//!                            container       dies with its monitor
//! ```
//!
//! A container in a virtual machine has the same monitor: what differs is behind [`wall`].
//!
//! This crate never knows images, networks, volumes, restart policies or the Engine API: it does
//! what `proto` says, and needs nobody once the container runs. A monitor is one thread, waits in
//! one `poll(2)`, and never blocks on a reader, a writer or a full disk.

mod connection;
mod counters;
mod doubt;
mod drain;
mod end;
mod exec;
mod filter;
mod guest;
pub mod launcher;
mod log;
mod losses;
mod monitor;
mod mounts;
mod output;
mod reap;
mod record;
mod requests;
mod setup;
mod stdin;
mod streams;
mod wall;
mod whole;
