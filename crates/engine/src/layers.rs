//! What images are made of.

use types::Error;
use types::filter::Filters;

use crate::{Engine, blocking, from_image};

/// An image's own documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageDocuments {
    /// Its configuration, as it is hashed.
    pub config: Vec<u8>,
    /// The manifest that it came by or was pushed by, if there is one.
    pub manifest: Option<Vec<u8>>,
}

impl Engine {
    /// All layers as trees, and all images.
    ///
    /// # Errors
    /// Damaged documents.
    pub async fn image_forest(
        &self,
    ) -> Result<(Vec<image::LayerNode>, Vec<image::Summary>), Error> {
        let images = self.images(true, &Filters::default(), false).await?;
        let engine = self.clone();
        let nodes = blocking(move || engine.images.forest().map_err(from_image)).await?;
        Ok((nodes, images))
    }

    /// An image's documents as they came or were made.
    ///
    /// # Errors
    /// Not found.
    pub async fn image_documents(&self, name: &str) -> Result<ImageDocuments, Error> {
        let (engine, name) = (self.clone(), name.to_owned());
        blocking(move || {
            let id = engine.images.resolve(&name).map_err(from_image)?;
            let held = engine.images.pushable(&id).map_err(from_image)?;
            Ok(ImageDocuments {
                config: held.config.clone(),
                manifest: held.manifest.as_ref().map(|manifest| manifest.bytes.clone()),
            })
        })
        .await
    }
}
