//! The layers that there are, as trees: each on the layers below it, a shared one once.

use std::collections::HashMap;

use types::digest::Digest;

use crate::error::{Error, Result};
use crate::store::Store;

/// A layer on the layers below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerNode {
    /// Digest of its tar; nothing for images without layers.
    pub diff_id: Option<Digest>,
    /// What it stands on, an earlier index of the list.
    pub parent: Option<usize>,
    /// Bytes of its files.
    pub size: u64,
    /// What made it, as the history of one of its images says.
    pub created_by: String,
    /// Images whose topmost layer it is.
    pub images: Vec<Digest>,
}

impl Store {
    /// Every layer of every image; what a layer stands on comes before it.
    ///
    /// # Errors
    /// Damaged documents.
    pub fn forest(&self) -> Result<Vec<LayerNode>> {
        let ids: Vec<Digest> = self.state().catalog.images.keys().cloned().collect();
        let mut nodes: Vec<LayerNode> = Vec::new();
        let mut known: HashMap<(Option<usize>, Option<Digest>), usize> = HashMap::new();
        for id in ids {
            let config = match self.config(&id) {
                // Removed meanwhile.
                Err(Error::NoSuchImage(_)) => continue,
                other => other?,
            };
            let mut steps = config.history.iter().filter(|step| !step.empty_layer);
            let mut place = None;
            let mut layers: Vec<Option<&Digest>> =
                config.rootfs.diff_ids.iter().map(Some).collect();
            if layers.is_empty() {
                layers.push(None);
            }
            for layer in layers {
                let step = steps.next();
                let key = (place, layer.cloned());
                let index = *known.entry(key).or_insert_with(|| {
                    let size =
                        layer.map_or(0, |layer| self.state().size_of(std::slice::from_ref(layer)));
                    nodes.push(LayerNode {
                        diff_id: layer.cloned(),
                        parent: place,
                        size,
                        created_by: step.map(|step| step.created_by.clone()).unwrap_or_default(),
                        images: Vec::new(),
                    });
                    nodes.len() - 1
                });
                place = Some(index);
            }
            if let Some(top) = place {
                nodes[top].images.push(id);
            }
        }
        Ok(nodes)
    }
}
