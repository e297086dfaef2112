//! Parses and applies whatever comes as `--change` instructions.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: String| {
    let mut config = Default::default();
    let _ = image::instruction::apply_all(&mut config, &[text]);
});
