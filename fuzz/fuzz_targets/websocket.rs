//! Fuzzes [`fuzz::requests::websocket`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::requests::websocket(bytes));
