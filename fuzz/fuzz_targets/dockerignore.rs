//! Fuzzes [`fuzz::build::dockerignore`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::build::dockerignore(bytes));
