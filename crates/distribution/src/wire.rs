//! Requests and answers: addresses, connections, TLS, and bodies with an end.
//!
//! ```text
//! Wire::send ── Pool (idle connection?) ──► answer
//!                 └─ no: Dialer ── name → address → [proxy] → [TLS] ──► HTTP/1 connection
//! ```
//!
//! Nothing here knows what a registry is: authorisation, redirects and repetition are decided by
//! `registry`.

mod answer;
mod dial;
mod outgoing;
mod pool;
mod tls;
pub(crate) mod tunnel;
mod url;

pub(crate) use answer::Answer;
pub(crate) use dial::lookup;
pub(crate) use outgoing::{Meter, Outgoing};
pub(crate) use pool::{Request, Wire};
pub(crate) use url::{Origin, Url, escape};
