//! Fuzzes [`fuzz::distribution::manifest`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::distribution::manifest(bytes));
