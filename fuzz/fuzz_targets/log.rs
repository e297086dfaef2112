//! Fuzzes [`fuzz::requests::log`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::requests::log(bytes));
