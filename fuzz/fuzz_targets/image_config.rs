//! Fuzzes [`fuzz::image::image_config`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::image::image_config(bytes));
