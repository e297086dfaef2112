//! What layers images are made of (Isopod's own).
//!
//! * `GET /images/tree`: all layers as trees, [`LayerNode`]s; a layer that several images have on
//!   the same base is one node.
//! * `GET /images/{name}/diff?other=NAME`: [`ImageChange`]s that lead from `name` to `other`, in
//!   the order of their paths.
//! * `POST /images/{name}/squash?from=IMAGE|LAYER&repo=&tag=&comment=`: an image whose layers
//!   above `from` (all, if empty) are one; answers with [`crate::IdResponse`].

api_json! {
/// A layer on the layers below it.
pub struct LayerNode {
    /// The digest of its uncompressed tar.
    pub diff_id: String,
    /// Bytes of the files in it.
    pub size: i64,
    /// What made it, as the history of one of its images says.
    pub created_by: String,
    /// Images whose topmost layer it is.
    pub images: Vec<LayerImage>,
    /// Layers that stand on it.
    pub children: Vec<LayerNode>,
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
