//! Takes whatever comes as an image's configuration, and asks everything of the image.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| image::fuzzing::image_config(bytes));
