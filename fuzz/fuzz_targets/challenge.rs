//! Fuzzes [`fuzz::distribution::challenge`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::distribution::challenge(bytes));
