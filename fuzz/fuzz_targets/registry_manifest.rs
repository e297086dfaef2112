//! Manifests that are pushed to the registry.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| registry::fuzzing::manifest(bytes));
