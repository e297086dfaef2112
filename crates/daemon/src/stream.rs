//! Raw streams between clients and containers, after HTTP has stepped aside.

pub mod detach;
pub mod frames;
pub mod relay;
pub mod websocket;
