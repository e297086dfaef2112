//! Raw streams between clients and containers, after HTTP has stepped aside.

pub mod detach;
pub mod frames;
pub(crate) mod relay;
pub mod websocket;
