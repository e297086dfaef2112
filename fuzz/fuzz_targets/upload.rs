//! Unpacks whatever comes as an upload into a container: nothing may be written outside of it.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| image::fuzzing::upload(bytes));
