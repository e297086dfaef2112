//! Sends whatever comes to a connection of the API: it must answer in HTTP or hang up.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let answer = daemon::connection::converse(bytes).expect("a conversation");
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."));
});
