//! Fuzzes [`fuzz::requests::create_body`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::requests::create_body(bytes));
