//! Fuzzes [`fuzz::build::dockerfile`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::build::dockerfile(bytes));
