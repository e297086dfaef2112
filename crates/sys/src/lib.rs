//! Every syscall, ioctl and netlink message that Isopod makes and that the standard library has no
//! safe function for; all `unsafe` of the workspace lives here, behind functions that take and
//! return file descriptors.
//!
//! This crate never knows what a container is: it has mechanisms, no policy.
#![allow(unsafe_code)]

pub mod bpf;
pub mod content;
pub mod durable;
pub mod entry;
pub mod errno;
pub mod foreign;
pub mod fs;
pub mod fsids;
pub mod hold;
pub mod inotify;
pub mod lookup;
pub mod machine;
pub mod memory;
pub mod mount;
pub mod namespace;
pub mod netlink;
pub mod netns;
pub mod placement;
pub mod poll;
pub mod process;
pub mod pty;
pub mod role;
pub mod seccomp;
pub mod signal;
pub mod socket;
pub mod stream;
pub mod syscall;
pub mod tap;
