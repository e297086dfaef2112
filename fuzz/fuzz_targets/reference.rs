//! Parses whatever comes as an image reference: what is accepted must mean the same when it is
//! written out and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use types::reference::Reference;

fuzz_target!(|text: &str| {
    if let Ok(reference) = Reference::parse(text) {
        assert_eq!(Reference::parse(&reference.to_string()).as_ref(), Ok(&reference));
        assert_eq!(Reference::parse(&reference.familiar()).as_ref(), Ok(&reference));
    }
});
