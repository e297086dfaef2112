//! Fuzzes [`fuzz::image::instruction`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::image::instruction(bytes));
