//! Fuzzes [`fuzz::image::image_archive`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::image::image_archive(bytes));
