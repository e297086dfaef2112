//! Registries: their wire types, a client, and the credentials for them.
//!
//! The crate never knows what an image is made of or where it is kept: it moves bytes whose
//! digests the caller checks or has checked. It knows Docker Hub's names for things, the OCI
//! distribution specification 1.1, and that nothing a registry says can be trusted: every body
//! is bounded, every wait ends, and credentials go to nobody but whom they are for.

pub mod challenge;
mod client;
pub mod credentials;
pub mod error;
mod fetch;
mod login;
mod patience;
pub mod proxy;
mod registry;
mod repository;
mod search;
mod settings;
mod upload;
mod wire;

pub use client::Client;
pub use credentials::Credentials;
pub use error::{Error, Result};
pub use fetch::Page;
pub use login::Login;
pub use manifest;
pub use proxy::Proxies;
pub use repository::{BlobStream, Fetched, Repository};
pub use search::SearchHit;
pub use settings::Settings;
pub use upload::{BytesSource, Chunks, FileSource, Source};
