//! The client against registries that are wrong, slow, absent or hostile, and against a real one.

mod auth;
mod listing;
mod peer;
mod pull;
mod push;
mod server;
mod tls;
mod way;
