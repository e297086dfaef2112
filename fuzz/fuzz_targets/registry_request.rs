//! Paths, queries and ranges of requests to the registry: no name leaves its directory, no range
//! leaves its blob.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| registry::fuzzing::request(text));
