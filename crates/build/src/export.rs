//! What is made of a stage's result.

use image::archive::{IdMap, export};
use image::{RemoveOptions, SquashOptions};
use types::digest::Digest;
use types::reference::Reference;

use crate::error::{Error, Result, Step as _};
use crate::progress::Event;
use crate::request::Export;
use crate::schedule::Build;
use crate::stage::Built;
use crate::worker::Output;

/// What has become of a build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The image, if one was asked for.
    pub image: Option<Digest>,
    /// Its names, familiar form.
    pub names: Vec<String>,
}

/// The words for an export's step.
pub(crate) fn name(export: &Export) -> String {
    match export {
        Export::Image(_) => "exporting to image".to_owned(),
        Export::Files(_, kind) if kind == "tar" => "sending tarball".to_owned(),
        Export::Files(..) => "copying files".to_owned(),
        Export::Archive(_, kind, _) => format!("exporting to {kind} image format"),
        Export::Nothing => "keeping the build cache".to_owned(),
    }
}

/// Makes one result.
pub(crate) fn one(
    build: &Build<'_>,
    built: &Built,
    wanted: &Export,
    outcome: &mut Outcome,
) -> Result<()> {
    match wanted {
        Export::Nothing => Ok(()),
        Export::Image(names) => {
            let names: Vec<Reference> = build
                .request
                .names
                .iter()
                .chain(names)
                .cloned()
                .map(Reference::or_latest)
                .collect();
            outcome.image = Some(store(build, built, &names)?);
            outcome.names.extend(names.iter().map(Reference::familiar));
            Ok(())
        }
        Export::Files(index, kind) => {
            let mut output = Pieces::new(build.shop.worker.output(*index, kind)?);
            let root = built.root(&build.shop)?;
            let root = std::os::fd::AsFd::as_fd(&*root);
            export(root, &IdMap::default(), &mut output)?;
            output.finish()
        }
        Export::Archive(index, kind, names) => archive(build, built, *index, kind, names),
    }
}

/// Names the image in the store.
fn store(build: &Build<'_>, built: &Built, names: &[Reference]) -> Result<Digest> {
    let store = build.shop.store;
    if let Some(id) = &built.id {
        for name in names {
            store.tag(id.as_str(), name)?;
        }
        return Ok(id.clone());
    }
    if build.request.squash && built.layers.len() > built.base_layers {
        return squashed(build, built, names);
    }
    Ok(store.create_image(&built.image, None, names)?)
}

/// Names an image in which the steps' layers are one.
fn squashed(build: &Build<'_>, built: &Built, names: &[Reference]) -> Result<Digest> {
    let store = build.shop.store;
    let known = store.config(&built.image_id()?).is_ok();
    let whole = store.create_image(&built.image, None, &[])?;
    let base = built.base_layers.checked_sub(1).and_then(|top| built.layers.get(top));
    let from = base.map(|layer| layer.diff_id().to_string());
    let options = SquashOptions { from, ..SquashOptions::default() };
    let id = store.squash(&whole, &options)?;
    for name in names {
        store.tag(id.as_str(), name)?;
    }
    if !known && id != whole {
        // Only its layers were wanted, and those the cache has.
        store.remove(whole.as_str(), RemoveOptions::default(), &[])?;
    }
    Ok(id)
}

fn archive(
    build: &Build<'_>,
    built: &Built,
    index: usize,
    kind: &str,
    names: &[Reference],
) -> Result<()> {
    let store = build.shop.store;
    let names: Vec<Reference> =
        build.request.names.iter().chain(names).cloned().map(Reference::or_latest).collect();
    let mut output = Pieces::new(build.shop.worker.output(index, kind)?);
    // An archive is written of what the store has; the image stays there.
    let id = self::store(build, built, &names)?;
    let mut saved: Vec<String> = names.iter().map(Reference::familiar).collect();
    if saved.is_empty() {
        saved.push(id.to_string());
    }
    if kind == "oci" {
        store.save_oci(&saved, &mut output)?;
    } else {
        store.save(&saved, &mut output)?;
    }
    output.finish()
}

/// Gathers small writes.
struct Pieces(std::io::BufWriter<Box<dyn Output>>);

impl Pieces {
    fn new(output: Box<dyn Output>) -> Self {
        Self(std::io::BufWriter::with_capacity(64 << 10, output))
    }

    fn finish(self) -> Result<()> {
        let output = self.0.into_inner().map_err(std::io::IntoInnerError::into_error);
        output.step("send the result to the client")?.finish().map_err(Error::Worker)
    }
}

impl std::io::Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// Makes all results, each a step of its own.
pub(crate) fn all(build: &Build<'_>, built: &Built, first: u32) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    for (export, number) in build.request.outputs.iter().zip(first..) {
        build.begin(number);
        let done = build.check().and_then(|()| one(build, built, export, &mut outcome));
        if let Err(error) = &done {
            let (message, cancelled) = (error.to_string(), matches!(error, Error::Cancelled));
            build.tell(Event::Failed { step: number, message, cancelled });
        }
        done?;
        build.tell(Event::Finished { step: number, cached: false, image: None });
    }
    Ok(outcome)
}
