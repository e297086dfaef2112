//! Registries: their wire types, a client, and the credentials for them.
//!
//! The crate never knows what an image is made of or where it is kept: it moves bytes whose
//! digests the caller checks or has checked.
