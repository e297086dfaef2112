//! Reads whatever comes as a `WWW-Authenticate`: it ends, and keeps no more than it should.
#![no_main]

use distribution::challenge::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let found = parse(text);
    assert!(found.len() <= 32);
    for challenge in &found {
        assert!(!challenge.scheme.is_empty());
        assert!(challenge.parameters.len() <= 32);
        for (name, _) in &challenge.parameters {
            assert!(challenge.parameter(name).is_some());
            assert_eq!(*name, name.to_ascii_lowercase());
        }
    }
});
