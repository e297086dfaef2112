//! What images are made of.

use types::Error;
use types::digest::Digest;
use types::event::Subject;
use types::filter::Filters;

use crate::container::commit::name_of;
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

    /// How the second image's files differ from the first's.
    ///
    /// # Errors
    /// Not found.
    pub async fn image_compare(
        &self,
        first: &str,
        second: &str,
    ) -> Result<Vec<image::ImageChange>, Error> {
        let (engine, first, second) = (self.clone(), first.to_owned(), second.to_owned());
        blocking(move || {
            let id = |name: &str| engine.images.resolve(name);
            id(&first)
                .and_then(|first| engine.images.compare(&first, &id(&second)?))
                .map_err(from_image)
        })
        .await
    }

    /// Makes an image of another whose layers above `from` (an image or a layer; all of them, if
    /// empty) are one. Returns its id.
    ///
    /// # Errors
    /// Not found; invalid when the image does not stand on `from`.
    pub async fn image_squash(
        &self,
        name: &str,
        from: &str,
        (repository, tag): (&str, &str),
        comment: &str,
    ) -> Result<Digest, Error> {
        let (engine, name) = (self.clone(), name.to_owned());
        let options = image::SquashOptions {
            from: (!from.is_empty()).then(|| from.to_owned()),
            reference: name_of(repository, tag)?,
            comment: comment.to_owned(),
        };
        let named = options.reference.as_ref().map(types::reference::Reference::familiar);
        let id = blocking(move || {
            let id = engine.images.resolve(&name).map_err(from_image)?;
            engine.images.squash(&id, &options).map_err(from_image)
        })
        .await?;
        if let Some(name) = named {
            self.tell(Subject::Image, "tag", id.as_ref(), &[("name", &name)]);
        }
        Ok(id)
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
