//! What layers images are made of (Isopod's own).
//!
//! * `GET /images/tree`: all layers as trees, a list of [`LayerNode`]s; a layer that several images
//!   have on the same base is one node. It is a list because readers of JSON limit its depth.
//! * `GET /images/{name}/oci`: [`ImageDocuments`].
//! * `GET /images/{name}/diff?other=NAME`: [`ImageChange`]s that lead from `name` to `other`, in
//!   the order of their paths.
//! * `POST /images/{name}/squash?from=IMAGE|LAYER&repo=&tag=&comment=`: an image whose layers
//!   above `from` (all, if empty) are one; answers with [`crate::IdResponse`].

api_json! {
/// A layer on the layers below it.
pub struct LayerNode {
    /// The digest of its uncompressed tar; empty for images without layers.
    pub diff_id: String,
    /// What it stands on, an earlier index of the list; -1 for what stands on nothing.
    pub parent: i64,
    /// Bytes of the files in it.
    pub size: i64,
    /// What made it, as the history of one of its images says.
    pub created_by: String,
    /// Images whose topmost layer it is.
    pub images: Vec<LayerImage>,
}

/// An image in the tree.
pub struct LayerImage {
    pub id: String,
    /// Its names; none for a dangling one.
    pub names: Vec<String>,
    /// Seconds since the epoch.
    pub created: i64,
    /// Bytes of the files of all its layers.
    pub size: i64,
}

/// A path that is not the same in two images.
pub struct ImageChange {
    pub path: String,
    /// 0 changed, 1 added, 2 removed: as in `GET /containers/{id}/changes`.
    pub kind: u8,
    /// Bytes of it in the first image.
    pub old_size: i64,
    /// Bytes of it in the second image.
    pub size: i64,
    /// What of a changed path is not the same: `content`, `mode`, `owner`, `type`, `target`,
    /// `xattrs`, ….
    pub what: Vec<String>,
}
}

api_json_verbatim! {
/// An image's own documents, in OCI's or Docker's shape as they came.
pub struct ImageDocuments {
    /// The image's configuration, whose digest is its id.
    pub config: Option<serde_json::Value>,
    /// The manifest that it was pulled or pushed by; `null` for an image that has none yet.
    pub manifest: Option<serde_json::Value>,
}
}
