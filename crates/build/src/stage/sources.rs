//! Where files are taken from: the context, stages and images.

use std::path::Path;
use std::sync::Arc;

use sys::fs::Root;
use types::digest::Digest;

use super::{Built, Running, base};
use crate::context::Further;
use crate::copy::{self, Found, Hasher};
use crate::error::{Error, Result};
use crate::ignore::Patterns;
use crate::plan::Origin;
use crate::schedule::Meaning;

/// A tree that files are taken from.
pub(super) enum Place {
    /// The build's context, whose files belong to root.
    Context,
    /// A stage or an image, which never changes.
    Built(Arc<Built>, String),
    /// A further context, whose files belong to root.
    Further(Arc<Further>, String),
    /// Nothing.
    Empty,
}

impl Place {
    /// What it is called.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Context => "build context",
            Self::Built(_, name) | Self::Further(_, name) => name,
            Self::Empty => "scratch",
        }
    }

    /// Whether files keep their owners.
    pub(super) fn keeps_owner(&self) -> bool {
        !matches!(self, Self::Context | Self::Further(..))
    }
}

/// `--exclude`.
pub(super) struct Excluded(Patterns);

impl Excluded {
    pub(super) fn new(lines: &[String]) -> Result<Self> {
        let patterns = Patterns::from_lines(lines.iter().map(String::as_str));
        patterns.map(Self).map_err(|error| Error::Invalid(format!("invalid --exclude: {error}")))
    }

    /// Whether a path below a source is left out.
    pub(super) fn has(&self, path: &Path) -> bool {
        !self.0.is_empty() && self.0.matches(&path.to_string_lossy())
    }

    /// Whether a source is: by the path that it was named with, or its last part.
    pub(super) fn has_source(&self, found: &Found) -> bool {
        !self.0.is_empty()
            && !found.is_dir
            && (self.has(&found.given)
                || found.given.file_name().is_some_and(|name| self.has(Path::new(name))))
    }
}

impl Running<'_> {
    /// Finds the tree that an instruction names.
    pub(super) fn place(&self, origin: &Origin) -> Result<Place> {
        Ok(match origin {
            Origin::Context => Place::Context,
            Origin::Scratch => Place::Empty,
            Origin::Stage(index) => {
                let name = self.build.plan.stages[*index].display_name();
                Place::Built(self.build.stage(self.stage.index, *index)?, name)
            }
            Origin::Image(name) => {
                let name = match self.build.meaning(name) {
                    Meaning::Image(name) => name,
                    Meaning::Address(address) => {
                        return Ok(Place::Further(self.build.further(address)?, name.clone()));
                    }
                };
                let platform = self.stage.platform.as_deref();
                let platform = platform.unwrap_or(&self.build.request.platform);
                let image = base::image(self.build, name, platform, self.number)?;
                Place::Built(image, name.to_owned())
            }
        })
    }

    /// Opens a tree.
    pub(super) fn root_of(&self, place: &Place) -> Result<Arc<Root>> {
        match place {
            Place::Context => Ok(Arc::clone(&self.build.context.root)),
            Place::Further(further, _) => Ok(Arc::clone(&further.root)),
            Place::Built(built, _) => built.root(&self.build.shop),
            Place::Empty => Ok(Arc::new(self.build.shop.cache.empty()?)),
        }
    }

    /// The digest of some files, as it stands in the history. What was taken of layers before is
    /// remembered, for layers do not change.
    pub(super) fn content(
        &self,
        keyword: &'static str,
        place: &Place,
        paths: &[String],
        excluded: &Excluded,
        exclude: &[String],
    ) -> Result<String> {
        let of = if let Place::Built(built, _) = place {
            let mut hasher = Hasher::new("content");
            for layer in &built.layers {
                hasher.add(layer.diff_id().hex());
            }
            hasher.add("paths");
            paths.iter().for_each(|path| hasher.add(path));
            hasher.add("exclude");
            exclude.iter().for_each(|pattern| hasher.add(pattern));
            let of = hasher.finish();
            if let Some(content) = self.build.shop.cache.content(&of) {
                return Ok(content);
            }
            Some(of)
        } else {
            None
        };
        let root = self.root_of(place)?;
        let origin = copy::Origin { root: &root, place: place.name() };
        let mut digests: Vec<(bool, Digest)> = Vec::new();
        for found in copy::find(keyword, origin, paths)? {
            if excluded.has_source(&found) {
                continue;
            }
            self.build.check()?;
            let has = |path: &Path| excluded.has(path);
            let digest = copy::of_tree(&root, &found, place.keeps_owner(), &has)?;
            digests.push((found.is_dir, digest));
        }
        let content = copy::combined(&digests);
        if let Some(of) = of {
            self.build.shop.cache.add_content(of, content.clone());
        }
        Ok(content)
    }
}
