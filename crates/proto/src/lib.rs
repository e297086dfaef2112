//! The messages between the engine and its monitors, and between host and guest.
//!
//! Only shapes and their bytes: nothing here opens a socket, reads a file or knows what a
//! container is made of.

pub mod control;
pub mod frame;
pub mod guest;
pub mod launch;
pub mod log;
pub mod names;
pub mod seccomp;
