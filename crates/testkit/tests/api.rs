//! The Engine API as a whole: every operation of its definition, every filter, what differs between
//! its versions, and the manners of HTTP. `docs/api.md` is written by the first of these tests.

mod manners;
mod shapes;
mod swarm;
mod table;
mod versions;
