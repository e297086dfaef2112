//! What registries and image layouts say about images: descriptors, manifests, indexes and
//! platforms, in OCI's and in Docker's spelling.
//!
//! The crate never knows a registry or a file: it reads and writes bytes.
//!
//! Everything here comes from strangers: it is bounded by [`Limits`] before it is read, and what
//! it names is checked by digest by whoever fetches it.

mod descriptor;
mod document;
mod image;
pub mod media_type;
mod platform;

pub use descriptor::Descriptor;
pub use document::{Document, InvalidManifest, Limits};
pub use image::{ImageIndex, ImageManifest};
pub use platform::{InvalidPlatform, Platform, choose};
