//! Fuzzes [`fuzz::requests::http_head`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::requests::http_head(bytes));
