//! Fuzzes [`fuzz::names::name_query`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::names::name_query(bytes));
