//! Unpacks whatever comes as a layer, below a temporary directory (as root, to reach device nodes
//! and owners): what can be unpacked must come back byte for byte, and nothing may be written
//! beside it.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| image::fuzzing::layer(bytes));
