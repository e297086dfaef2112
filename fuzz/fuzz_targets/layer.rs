//! Fuzzes [`fuzz::image::layer`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::image::layer(bytes));
