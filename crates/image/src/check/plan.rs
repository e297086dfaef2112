//! What is wrong, and what could be done about it. No I/O.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

use types::digest::Digest;

use super::examine::{Findings, LayerState};
use super::{Outcome, Subject};
use crate::catalog::{Catalog, Record};

/// What would help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Put the layer in its place that was made again from its own contents.
    Replace(Digest),
    /// Unpack the layer again from one of these blobs, or make it again of what was set aside of
    /// it; if nothing of that is right, do the last.
    Unpack(Digest, Vec<Digest>, Box<Remedy>),
    /// Let go of images, and of the layer or blob that is their damage: what is brought again must
    /// not be taken for there.
    Drop(Vec<Digest>, Subject),
    /// Let go of a layer that no image has.
    RemoveLayer(Digest),
    /// Write into the catalog which layers the image's configuration names.
    CorrectRecord(Digest, Vec<Digest>),
    /// Forget a manifest or index that an image was pulled by.
    ForgetDocument(Digest, Digest),
    /// Remove a blob.
    RemoveBlob(Digest),
    /// Remove a file.
    RemoveFile(PathBuf),
    /// There is none; what to do by hand.
    Nothing(String),
}

impl Remedy {
    /// What a check without repair says.
    pub(super) fn offer(&self) -> Outcome {
        Outcome::Reported(match self {
            Self::Replace(_) => "it can be made again from its own contents".to_owned(),
            Self::Unpack(_, blobs, _) if blobs.is_empty() => {
                "perhaps it can be made again of what is left of it".to_owned()
            }
            Self::Unpack(..) => "it can be unpacked again from its kept blob".to_owned(),
            Self::Drop(..) => "nothing here can bring it back; the images can be dropped, and \
                              pulled, loaded or built again"
                .to_owned(),
            Self::RemoveLayer(_) => "no image needs it; it can be removed".to_owned(),
            Self::CorrectRecord(..) => "the record can be corrected".to_owned(),
            Self::ForgetDocument(..) => "the image can do without; it gets a new digest when it \
                                         is pushed"
                .to_owned(),
            Self::RemoveBlob(_) => "it can be removed; the layer itself stays".to_owned(),
            Self::RemoveFile(_) => "it can be removed".to_owned(),
            Self::Nothing(why) => return Outcome::Hopeless(why.clone()),
        })
    }
}

/// A problem and its remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) subject: Subject,
    pub(super) fault: String,
    pub(super) images: Vec<String>,
    pub(super) containers: Vec<String>,
    pub(super) remedy: Remedy,
}

/// Everything that is wrong: layers first, then images, blobs and files.
pub(super) fn plan(
    catalog: &Catalog,
    containers: &HashMap<String, Vec<Digest>>,
    findings: &Findings,
) -> Vec<Planned> {
    let mut out = Vec::new();
    for (layer, state) in &findings.layers {
        out.extend(plan_layer(catalog, containers, findings, layer, state));
    }
    let mut explained: BTreeSet<&Digest> = BTreeSet::new();
    for (id, record) in &catalog.images {
        let planned = plan_image(catalog, findings, id, record);
        if planned.iter().any(|planned| matches!(planned.remedy, Remedy::Drop(..))) {
            explained.insert(id);
        }
        for planned in &planned {
            if let Remedy::ForgetDocument(_, document) = &planned.remedy {
                explained.extend(record.content().find(|found| *found == document));
            }
        }
        out.extend(planned);
    }
    for (digest, wrong) in &findings.blobs {
        let Some(wrong) = wrong else { continue };
        // Damage of a document is told with its image; the blob goes all the same.
        if explained.contains(digest) {
            continue;
        }
        let users = catalog.images.iter().filter(|(_, r)| r.content().any(|b| b == digest));
        out.push(Planned {
            subject: Subject::Blob(digest.clone()),
            fault: wrong.clone(),
            images: users.map(|(id, _)| shown(catalog, id)).collect(),
            containers: Vec::new(),
            remedy: Remedy::RemoveBlob(digest.clone()),
        });
    }
    out.extend(findings.strays.iter().map(|path| Planned {
        subject: Subject::File(path.display().to_string()),
        fault: "it is none of the store's".to_owned(),
        images: Vec::new(),
        containers: Vec::new(),
        remedy: Remedy::RemoveFile(path.clone()),
    }));
    out
}

fn plan_layer(
    catalog: &Catalog,
    containers: &HashMap<String, Vec<Digest>>,
    findings: &Findings,
    layer: &Digest,
    state: &LayerState,
) -> Option<Planned> {
    let users: Vec<Digest> = catalog
        .images
        .iter()
        .filter(|(_, record)| record.layers.contains(layer))
        .map(|(id, _)| id.clone())
        .collect();
    let mut below: Vec<String> = containers
        .iter()
        .filter(|(_, layers)| layers.contains(layer))
        .map(|(container, _)| container.clone())
        .collect();
    below.sort();
    let lost = |fault: &str, missing: bool| {
        let last = if !users.is_empty() {
            Remedy::Drop(users.clone(), Subject::Layer(layer.clone()))
        } else if !below.is_empty() {
            Remedy::Nothing("remove the containers, then pull their image again".to_owned())
        } else if missing {
            return None;
        } else {
            Remedy::RemoveLayer(layer.clone())
        };
        let sources = findings.sources.get(layer).cloned().unwrap_or_default();
        let aside = findings.aside.iter().any(|(_, found)| found == layer);
        let hopeless = sources.is_empty() && !aside;
        let remedy = if hopeless || (users.is_empty() && below.is_empty()) {
            last
        } else {
            Remedy::Unpack(layer.clone(), sources, Box::new(last))
        };
        Some((fault.to_owned(), remedy))
    };
    let (fault, remedy) = match state {
        LayerState::Good => return None,
        LayerState::Missing => lost("it is missing", true)?,
        LayerState::Damaged(reason) => lost(reason, false)?,
        LayerState::Differs(what, _) => (what.clone(), Remedy::Replace(layer.clone())),
        LayerState::Unknown(why) => {
            (format!("it cannot be checked: {why}"), Remedy::Nothing("check again".to_owned()))
        }
    };
    Some(Planned {
        subject: Subject::Layer(layer.clone()),
        fault,
        images: users.iter().map(|id| shown(catalog, id)).collect(),
        containers: below,
        remedy,
    })
}

fn plan_image(
    catalog: &Catalog,
    findings: &Findings,
    id: &Digest,
    record: &Record,
) -> Vec<Planned> {
    let planned = |subject, fault: String, remedy| Planned {
        subject,
        fault,
        images: vec![shown(catalog, id)],
        containers: Vec::new(),
        remedy,
    };
    let image = || Subject::Image(id.clone());
    match findings.configs.get(id) {
        Some(Ok(layers)) if *layers == record.layers => {}
        Some(Ok(layers)) => {
            let fault = "the catalog names other layers than its configuration".to_owned();
            let here = |layer| matches!(findings.layers.get(layer), Some(LayerState::Good));
            let remedy = if layers.iter().all(here) {
                Remedy::CorrectRecord(id.clone(), layers.clone())
            } else {
                Remedy::Drop(vec![id.clone()], image())
            };
            return vec![planned(image(), fault, remedy)];
        }
        Some(Err(wrong)) => {
            let remedy = Remedy::Drop(vec![id.clone()], Subject::Blob(id.clone()));
            return vec![planned(image(), wrong.clone(), remedy)];
        }
        None => {}
    }
    let documents = record.sources.iter().flat_map(|source| {
        std::iter::once(("manifest", &source.manifest))
            .chain(source.index.as_ref().map(|index| ("index", index)))
    });
    let mut seen = BTreeSet::new();
    documents
        .filter(|(_, document)| seen.insert(&document.digest))
        .filter_map(|(what, document)| {
            let fault = match findings.blobs.get(&document.digest) {
                Some(None) => return None,
                Some(Some(wrong)) => format!("the {what} of an image: {wrong}"),
                None => format!("the {what} of an image is missing"),
            };
            let remedy = Remedy::ForgetDocument(id.clone(), document.digest.clone());
            Some(planned(Subject::Blob(document.digest.clone()), fault, remedy))
        })
        .collect()
}

/// What users know an image by.
pub(super) fn shown(catalog: &Catalog, id: &Digest) -> String {
    let (tags, digests) = catalog.familiar_names(id);
    let mut names = if tags.is_empty() { digests } else { tags };
    if names.is_empty() {
        names.push(id.to_string());
    }
    names.join(", ")
}
