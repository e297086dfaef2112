//! Reads whatever comes as the body of a create request: what is accepted must mean the same when
//! it is written out and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some(body)) = daemon::http::read_create_body(bytes) {
        let text = serde_json::to_vec(&body).expect("written");
        let again = daemon::http::read_create_body(&text).expect("read again").expect("a body");
        assert_eq!(again, body);
    }
});
