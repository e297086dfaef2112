//! What the black-box suite needs to drive a Docker-compatible engine from outside: a raw HTTP
//! client, daemons of our own and of rivals in network namespaces of their own, images made from
//! the host's static busybox, and guards that remove what a test made.
//!
//! It never links the engine: everything it knows it learnt over a socket or from `/proc`. It is a
//! dependency of tests and of `xtask` only. Its functions panic with the whole story instead of
//! returning errors, because that is what a test wants.

pub mod container;
pub mod daemon;
pub mod distribution;
pub mod engine;
pub mod frames;
pub mod http;
pub mod image;
pub mod netns;
pub mod registry;
pub mod shape;
pub mod websocket;

pub use container::{Container, Output};
pub use daemon::Daemon;
pub use engine::{Engine, Kind};
pub use http::Response;
pub use serde_json::{Value, json};

use std::time::{Duration, Instant};

/// Asks again and again, every 20 ms, until `question` has an answer; panics with `what` after
/// `limit`.
pub fn eventually<T>(what: &str, limit: Duration, mut question: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = question() {
            return answer;
        }
        assert!(began.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A name that no other test of this run uses.
#[must_use]
pub fn unique(prefix: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Defines black-box tests that run on dockerd first, so that they are known to test Docker's
/// behaviour, and then on us.
#[macro_export]
macro_rules! on_both {
    ($( $(#[$meta:meta])* fn $name:ident($engine:ident) $body:block )*) => {
        mod bodies {
            #[allow(unused_imports)]
            use super::*;
            $( $(#[$meta])* pub(super) fn $name($engine: &$crate::Engine) $body )*
        }
        mod dockerd {
            $( #[test] fn $name() { super::bodies::$name(&$crate::Engine::dockerd()); } )*
        }
        mod isopod {
            $( #[test] fn $name() { super::bodies::$name(&$crate::Engine::isopod()); } )*
        }
    };
}
