//! Fuzzes [`fuzz::registry::registry_manifest`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::registry::registry_manifest(bytes));
