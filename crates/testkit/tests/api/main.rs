//! The Engine API as a whole: every operation of its definition, every filter, what differs between
//! its versions, and the manners of HTTP. `docs/api.md` is written by the first of these tests.
#![allow(missing_docs, clippy::unwrap_used)]

mod manners;
mod shapes;
mod swarm;
mod table;
mod versions;
