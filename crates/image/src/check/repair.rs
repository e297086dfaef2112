//! Doing what was decided.

use std::path::Path;

use types::digest::Digest;

use super::examine::{Findings, LayerState};
use super::plan::{Remedy, shown};
use super::{Outcome, Subject};
use crate::error::{Error, Result, Step};
use crate::layer::Staged;
use crate::store::Store;

/// Does it, and says what came of it.
pub(super) fn repair(store: &Store, remedy: &Remedy, findings: &mut Findings) -> Outcome {
    let done = match remedy {
        Remedy::Replace(layer) => replace(store, layer, findings),
        Remedy::Unpack(layer, blobs, otherwise) => {
            return match unpack(store, layer, blobs, findings) {
                Ok(Some(outcome)) => match sweep_aside(store, layer, findings) {
                    Ok(()) => outcome,
                    Err(error) => Outcome::Failed(error.to_string()),
                },
                Ok(None) => repair(store, otherwise, findings),
                Err(error) => Outcome::Failed(error.to_string()),
            };
        }
        Remedy::Drop(images, damaged) => drop_images(store, images).and_then(|names| {
            match damaged {
                Subject::Layer(layer) => take_away(store, layer)?,
                Subject::Blob(blob) => store.content.blobs().remove(blob)?,
                Subject::Image(_) | Subject::File(_) => {}
            }
            Ok(Outcome::Dropped(names))
        }),
        Remedy::RemoveLayer(layer) => remove_layer(store, layer),
        Remedy::CorrectRecord(id, layers) => correct(store, id, layers),
        Remedy::ForgetDocument(id, document) => forget(store, id, document),
        Remedy::RemoveBlob(blob) => store.content.blobs().remove(blob).map(|()| Outcome::Removed),
        Remedy::RemoveFile(path) => remove_file(store, path),
        Remedy::Nothing(why) => return Outcome::Hopeless(why.clone()),
    };
    done.unwrap_or_else(|error| Outcome::Failed(error.to_string()))
}

/// Whether a layer that was missing has been brought while others were looked at.
pub(super) fn came_again(store: &Store, subject: &Subject, findings: &Findings) -> bool {
    match subject {
        Subject::Layer(layer) => {
            matches!(findings.layers.get(layer), Some(LayerState::Missing))
                && store.layers.is_there(layer)
        }
        Subject::Image(_) | Subject::Blob(_) | Subject::File(_) => false,
    }
}

/// Puts a layer in the place of the one that is there, if there is one.
fn swap(store: &Store, staged: Staged) -> Result<()> {
    let swept = take_away(store, &staged.meta.diff_id);
    store.publish(vec![staged]).and(swept)
}

/// Removes a layer, whoever wants it, if it is there.
fn take_away(store: &Store, layer: &Digest) -> Result<()> {
    // What the damaged one is called is decided under the lock; nobody begins to use it then.
    let mut state = store.state();
    if state.layers.remove(layer).is_none() || !store.layers.is_there(layer) {
        return Ok(());
    }
    if state.is_below(layer) {
        // A container may have it mounted.
        state.aside = true;
        return store.layers.set_aside(layer);
    }
    let tmp = store.layers.unpublish(layer)?;
    drop(state);
    store.layers.sweep(&tmp)
}

fn replace(store: &Store, layer: &Digest, findings: &mut Findings) -> Result<Outcome> {
    let forms = store.layers.forms(layer);
    let staged = match findings.layers.get_mut(layer) {
        Some(LayerState::Differs(_, staged)) => staged.take(),
        _ => None,
    };
    let Some(staged) = staged else { return Err(Error::MissingLayer(layer.clone())) };
    store.layers.write_staged_forms(&staged, &forms)?;
    swap(store, *staged)?;
    Ok(Outcome::Repaired("made again from its own contents".to_owned()))
}

/// Tries one blob after the other, and then what was set aside. `None`: nothing of that is this
/// layer.
fn unpack(
    store: &Store,
    layer: &Digest,
    blobs: &[Digest],
    findings: &Findings,
) -> Result<Option<Outcome>> {
    let forms = store.layers.forms(layer);
    for blob in blobs {
        let staged = match store.stage_kept(blob) {
            Ok(staged) => staged,
            Err(error @ (Error::Io { .. } | Error::Disk { .. })) => return Err(error),
            // It is no layer, whatever it is.
            Err(_) => continue,
        };
        if staged.meta.diff_id == *layer {
            store.layers.write_staged_forms(&staged, &forms)?;
            swap(store, staged)?;
            return Ok(Some(Outcome::Repaired(format!("unpacked again from the blob {blob}"))));
        }
    }
    for (name, _) in findings.aside.iter().filter(|(_, found)| found == layer) {
        if let Ok(staged) = store.layers.stage_again(name, layer) {
            swap(store, staged)?;
            return Ok(Some(Outcome::Repaired("made again of what was left of it".to_owned())));
        }
    }
    Ok(None)
}

/// Removes what was set aside of a layer that is whole again, unless a container may have it
/// mounted.
fn sweep_aside(store: &Store, layer: &Digest, findings: &Findings) -> Result<()> {
    if store.state().is_below(layer) {
        return Ok(());
    }
    for (name, _) in findings.aside.iter().filter(|(_, found)| found == layer) {
        store.layers.sweep(name)?;
    }
    Ok(())
}

fn drop_images(store: &Store, images: &[Digest]) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let mut state = store.state();
    store.change(&mut state, |catalog| {
        for id in images.iter().filter(|id| catalog.images.contains_key(id)) {
            names.push(shown(catalog, id));
        }
        for id in images {
            catalog.images.remove(id);
            catalog.names.retain(|_, named| named != id);
        }
        Ok(())
    })?;
    for id in images {
        state.configs.remove(id);
    }
    Ok(names)
}

fn remove_layer(store: &Store, layer: &Digest) -> Result<Outcome> {
    let tmp = {
        let mut state = store.state();
        if state.catalog.refers_to(layer) || state.is_below(layer) {
            return Ok(Outcome::Failed("somebody needs it now".to_owned()));
        }
        let tmp = store.layers.unpublish(layer)?;
        state.layers.remove(layer);
        tmp
    };
    store.layers.sweep(&tmp)?;
    Ok(Outcome::Removed)
}

fn correct(store: &Store, id: &Digest, layers: &[Digest]) -> Result<Outcome> {
    let mut state = store.state();
    store.change(&mut state, |catalog| {
        if let Some(record) = catalog.images.get_mut(id) {
            record.layers = layers.to_vec();
        }
        Ok(())
    })?;
    Ok(Outcome::Repaired("the record was corrected".to_owned()))
}

fn forget(store: &Store, id: &Digest, document: &Digest) -> Result<Outcome> {
    let mut state = store.state();
    store.change(&mut state, |catalog| {
        if let Some(record) = catalog.images.get_mut(id) {
            record.sources.retain(|source| source.manifest.digest != *document);
            for source in &mut record.sources {
                source.index = source.index.take().filter(|index| index.digest != *document);
            }
        }
        Ok(())
    })?;
    drop(state);
    store.content.blobs().remove(document)?;
    Ok(Outcome::Repaired("forgotten; a push gives the image a new digest".to_owned()))
}

fn remove_file(store: &Store, path: &Path) -> Result<Outcome> {
    // One component below one of two directories: nothing that an image could have named.
    let removed = match path.strip_prefix("layers") {
        Ok(below) => store.layers.dir().remove_all(below),
        Err(_) => match path.strip_prefix("content") {
            Ok(below) => store.content.dir().remove_all(below),
            Err(_) => Ok(()),
        },
    };
    removed.step("remove a stray file")?;
    Ok(Outcome::Removed)
}
