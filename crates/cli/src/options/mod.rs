//! How option values are written: sizes, durations, ports, mounts, devices and the like. All
//! pure functions from text to the API's types, with Docker's complaints.

pub(crate) mod device;
pub(crate) mod env;
pub(crate) mod file;
pub(crate) mod filter;
pub(crate) mod moment;
pub(crate) mod mount;
pub(crate) mod network;
pub(crate) mod port;
pub(crate) mod size;
pub(crate) mod words;

#[cfg(test)]
mod tests;
