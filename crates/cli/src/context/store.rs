//! Contexts on disk, laid out as Docker's.
//!
//! ```text
//!  contexts/meta/<SHA-256 of the name>/meta.json
//!  contexts/tls/<the same>/<endpoint>/{ca,cert,key}.pem
//! ```
//!
//! A context appears and goes with its `meta.json`, so that none is ever without its keys: it
//! would be spoken to in the clear.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::config::{ConfigDir, StoredContext, directory_name, write_whole};
use crate::failure::Failure;

/// The endpoint that leads to the daemon.
pub(super) const DOCKER: &str = "docker";

/// Files of TLS by endpoint and name.
pub(super) type Material = BTreeMap<String, BTreeMap<String, Vec<u8>>>;

/// Whether a name can be a context's.
///
/// # Errors
/// In Docker's words when it cannot.
pub(super) fn check_name(name: &str) -> anyhow::Result<()> {
    let message = match name {
        "" => "context name cannot be empty".to_owned(),
        "default" => "\"default\" is a reserved context name".to_owned(),
        _ => {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.+-".contains(&byte);
            let first = name.as_bytes()[0].is_ascii_alphanumeric();
            if first && name.len() > 1 && name.bytes().all(allowed) {
                return Ok(());
            }
            format!(
                "context name {name:?} is invalid, names are validated against regexp \"^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$\""
            )
        }
    };
    Err(Failure::with(1, message))
}

/// What is known of a context.
pub(super) fn read(directory: &ConfigDir, context: &StoredContext) -> anyhow::Result<Value> {
    let text = directory.context_text(context)?;
    serde_json::from_slice(&text)
        .with_context(|| format!("the context {:?} is damaged", context.name))
}

/// What is known of a context and where it is kept, as text.
pub(super) fn described(directory: &ConfigDir, context: &StoredContext) -> anyhow::Result<String> {
    let mut value = read(directory, context)?;
    let material = material(directory, context)?;
    let names: BTreeMap<&String, Vec<&String>> =
        material.iter().map(|(endpoint, files)| (endpoint, files.keys().collect())).collect();
    let place = |kind: &str| directory.join("contexts").join(kind).join(&context.directory);
    if let Value::Object(fields) = &mut value {
        fields.insert("TLSMaterial".to_owned(), json!(names));
        fields.insert(
            "Storage".to_owned(),
            json!({"MetadataPath": place("meta"), "TLSPath": place("tls")}),
        );
    }
    Ok(serde_json::to_string(&value)?)
}

/// A context's files of TLS.
pub(super) fn material(directory: &ConfigDir, context: &StoredContext) -> anyhow::Result<Material> {
    let mut all = Material::new();
    let root = directory.join("contexts/tls").join(&context.directory);
    for endpoint in entries(&root)? {
        let mut files = BTreeMap::new();
        for file in entries(&root.join(&endpoint))? {
            let path = root.join(&endpoint).join(&file);
            let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
            files.insert(file, bytes);
        }
        all.insert(endpoint, files);
    }
    Ok(all)
}

/// The names in a directory; none when it is not there.
fn entries(path: &Path) -> anyhow::Result<Vec<String>> {
    match fs::read_dir(path) {
        Ok(entries) => entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<_>>()
            .with_context(|| path.display().to_string()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// Writes a context: its keys first, then itself.
pub(super) fn write(
    directory: &ConfigDir,
    name: &str,
    mut meta: Value,
    material: &Material,
) -> anyhow::Result<()> {
    if let Value::Object(fields) = &mut meta {
        fields.insert("Name".to_owned(), name.into());
    }
    let digest = directory_name(name);
    let tls = directory.join("contexts/tls").join(&digest);
    for (endpoint, files) in material {
        let place = tls.join(endpoint);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&place)
            .with_context(|| place.display().to_string())?;
        for (file, bytes) in files {
            let path = place.join(file);
            write_secret(&path, bytes).with_context(|| path.display().to_string())?;
        }
        // What an older version of the context had more.
        for file in entries(&place)?.into_iter().filter(|file| !files.contains_key(file)) {
            let path = place.join(file);
            fs::remove_file(&path).with_context(|| path.display().to_string())?;
        }
    }
    let place = directory.join("contexts/meta").join(&digest);
    fs::create_dir_all(&place).with_context(|| place.display().to_string())?;
    write_whole(&place.join("meta.json"), &serde_json::to_vec(&meta)?)?;
    // Endpoints that have no keys any more; with them the context would still work.
    for endpoint in entries(&tls)?.into_iter().filter(|one| !material.contains_key(one)) {
        let path = tls.join(endpoint);
        fs::remove_dir_all(&path).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Removes a context: itself first, then its keys.
pub(super) fn remove(directory: &ConfigDir, context: &StoredContext) -> anyhow::Result<()> {
    for kind in ["meta", "tls"] {
        let path = directory.join("contexts").join(kind).join(&context.directory);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| path.display().to_string());
            }
            _ => {}
        }
    }
    Ok(())
}

/// A file that only its owner may read, replaced whole.
fn write_secret(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let attempt = || {
        let mut options = OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    attempt().inspect_err(|_| drop(fs::remove_file(&temporary)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dockers() {
        for good in ["ab", "a.b-c_d+e", "0x"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "default", "a", "-a", "a/b", "..", "a b", "ä"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        let sum = directory_name("default");
        assert_eq!(sum, "37a8eec1ce19687d132fe29051dca629d164e2c4958ba141d5f4133a33f0688f");
    }
}
