//! Fuzzes [`fuzz::requests::query`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::requests::query(bytes));
