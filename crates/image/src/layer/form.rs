//! What is known of the compressed forms of a layer: `forms.json` in its directory.
//!
//! A form is only remembered when its bytes were here and decompressed to the layer's tar, so that
//! it may stand for the layer in any manifest.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sys::fs::Mode;
use types::digest::Digest;

use super::{Layers, Staged};
use crate::durable;
use crate::error::{Result, Step};
use crate::stream::Compression;

const FORMS: &str = "forms.json";
/// Forms that are remembered of one layer, and repositories of one form.
const MAX: usize = 32;

/// A blob that decompresses to a layer's tar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Form {
    /// Digest of the compressed bytes.
    pub digest: Digest,
    /// How many they are.
    pub size: u64,
    /// How they are compressed.
    pub compression: Compression,
    /// Repositories (`host/path`) that are known to have it; another repository of the same host
    /// may mount it from there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<String>,
}

/// Adds a form to those that are known. Says whether that changed anything.
pub(crate) fn add(forms: &mut Vec<Form>, form: Form) -> bool {
    let Some(at) = forms.iter().position(|known| known.digest == form.digest) else {
        forms.push(form);
        let excess = forms.len().saturating_sub(MAX);
        forms.drain(..excess);
        return true;
    };
    // Those of no use for longest go first.
    forms[at..].rotate_left(1);
    let Some(known) = forms.last_mut() else { return false };
    let before = known.repositories.len();
    for repository in form.repositories {
        if !known.repositories.contains(&repository) {
            known.repositories.push(repository);
        }
    }
    let changed = known.repositories.len() > before;
    let excess = known.repositories.len().saturating_sub(MAX);
    known.repositories.drain(..excess);
    changed
}

impl Layers {
    /// What is known of a layer's compressed forms; nothing when that cannot be read, for it can
    /// be found out again.
    pub(crate) fn forms(&self, diff_id: &Digest) -> Vec<Form> {
        let text = self.dir().read(Path::new(diff_id.hex()).join(FORMS), 1 << 20);
        text.ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    /// Writes what is known of the forms of a layer that is not published yet; flushed with it.
    pub(crate) fn write_staged_forms(&self, staged: &Staged, forms: &[Form]) -> Result<()> {
        if forms.is_empty() {
            return Ok(());
        }
        let text = serde_json::to_vec(forms).map_err(io::Error::from);
        let path = Path::new(&staged.name).join(FORMS);
        text.and_then(|text| {
            self.dir().create_file(path, Mode::from_raw_mode(0o600))?.write_all(&text)
        })
        .step("write a layer's forms")
    }

    /// Replaces what is known of the forms of a layer.
    pub(crate) fn write_forms(&self, diff_id: &Digest, forms: &[Form]) -> Result<()> {
        let layer = PathBuf::from(diff_id.hex());
        let tmp = layer.join(".tmp-forms");
        serde_json::to_vec(forms)
            .map_err(io::Error::from)
            .and_then(|text| durable::replace(self.dir(), &tmp, &layer.join(FORMS), &text))
            .step("write a layer's forms")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_and_their_repositories_are_remembered_once_and_not_without_end() {
        let form = |byte: u8, repository: &str| Form {
            digest: Digest::from_sha256([byte; 32]),
            size: 1,
            compression: Compression::Gzip,
            repositories: vec![repository.to_owned()],
        };
        let mut forms = Vec::new();
        assert!(add(&mut forms, form(1, "a/x")));
        assert!(!add(&mut forms, form(1, "a/x")));
        assert!(add(&mut forms, form(1, "a/y")));
        assert_eq!(forms.len(), 1);
        assert_eq!(forms[0].repositories, ["a/x", "a/y"]);
        for n in 0..100 {
            add(&mut forms, form(n, "a/x"));
            add(&mut forms, form(99, &format!("a/{n}")));
        }
        assert_eq!(forms.len(), MAX);
        assert_eq!(forms.last().expect("form").repositories.len(), MAX);
    }
}
