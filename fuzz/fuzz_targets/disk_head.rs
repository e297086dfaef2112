//! Fuzzes [`fuzz::disk::disk_head`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::disk::disk_head(bytes));
