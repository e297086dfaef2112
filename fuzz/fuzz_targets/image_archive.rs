//! Reads whatever comes as an archive of images: manifests, indexes, configurations, links, layers.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| image::fuzzing::image_archive(bytes));
