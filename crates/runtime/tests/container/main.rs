//! Black-box tests of the runtime: real containers on a busybox root. They need root and
//! busybox-static, and say so when they lack them.
#![allow(clippy::unwrap_used)]

mod exec;
mod fixture;
mod hooks;
mod oci;
mod privileges;
mod root;
mod start;
mod users;
