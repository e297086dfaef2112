//! The daemon: flags and configuration, listeners, the Docker Engine API over HTTP.
//!
//! Everything a client can ask for is a call of [`engine::Engine`]; this crate reads requests,
//! writes answers in Docker's JSON and copies streams. It never looks into a container, an image
//! or the database, and does not know how a container is run.

pub mod access;
mod api;
pub mod config;
pub mod connection;
mod gate;
pub mod host;
pub mod http;
mod listen;
mod lock;
mod logging;
mod metrics;
mod notify;
mod render;
mod routes;
mod run;
mod server;
mod session;
mod socket;
pub mod stream;
mod takeover;
mod tls;
mod wiring;

pub use run::main;
