//! Containers that start, run and end. They need root.
#![allow(clippy::unwrap_used)]

mod fixture;

use fixture::Fixture;
use sys::process::Exit;

#[test]
fn privileged_true_and_false() {
    assert_eq!(Fixture::new(&["true"]).run().exit, Exit::Code(0));
    assert_eq!(Fixture::new(&["/bin/false"]).run().exit, Exit::Code(1));
    assert_eq!(Fixture::sh("exit 42").run().exit, Exit::Code(42));
    assert_eq!(Fixture::sh("kill -9 $$; true").run().exit, Exit::Code(0), "1 is immune to itself");
}
