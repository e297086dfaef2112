//! TODO doc
pub mod seccomp;
