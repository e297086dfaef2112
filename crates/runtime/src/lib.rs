//! TODO doc
pub mod cgroup;
pub mod seccomp;
