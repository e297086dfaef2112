//! A registry server: the OCI distribution protocol over content on a file system.
//!
//! The crate never knows what is in a layer, and runs nothing.
