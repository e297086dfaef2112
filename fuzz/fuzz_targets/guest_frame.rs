//! Fuzzes [`fuzz::guest::guest_frame`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::guest::guest_frame(bytes));
