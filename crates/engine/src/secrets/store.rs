//! Secrets and configs on disk.
//!
//! ```text
//! secrets/key.json            the keys, 0600 (or elsewhere: --secret-key-file)
//! secrets/secret-<id>.json    name, labels, times, and the content, encrypted
//! secrets/config-<id>.json
//! ```
//!
//! A file appears by one rename. An exchange of keys first writes both of them, then every content
//! anew, then the new key alone; wherever it is cut, everything can be read, and the next start
//! goes on.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use types::{Error, Timestamp};

use super::key::{self, Key, Sealed};
use crate::container::names;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeptKind {
    /// Its content is told to containers only.
    Secret,
    /// Its content may be asked for.
    Config,
}

impl KeptKind {
    /// Docker's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Config => "config",
        }
    }

    /// The most bytes that one may have; swarm's.
    fn limit(self) -> usize {
        match self {
            Self::Secret => 500 << 10,
            Self::Config => 1000 << 10,
        }
    }
}

/// What is told of a secret or a config.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Which of the two.
    pub kind: KeptKind,
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// When it was made.
    pub created: Timestamp,
}

/// One file of the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Item {
    kept: Kept,
    sealed: Sealed,
}

#[derive(Debug)]
struct State {
    /// The first is the one to encrypt with.
    keys: Vec<Key>,
    /// By file name.
    items: BTreeMap<String, Item>,
}

/// All secrets and configs of an engine.
#[derive(Debug)]
pub(crate) struct Store {
    dir: PathBuf,
    key_file: PathBuf,
    state: Mutex<State>,
}

fn file_name(kind: KeptKind, id: &str) -> String {
    format!("{}-{id}.json", kind.as_str())
}

/// What a content belongs to: it cannot be moved to another name.
fn about(kept: &Kept) -> Vec<u8> {
    format!("{} {} {}", kept.kind.as_str(), kept.id, kept.name).into_bytes()
}

impl Store {
    /// Opens `secrets/` below the data root and goes on with what a crash has cut.
    pub(crate) fn open(data_root: &Path, key_file: Option<&Path>) -> Result<Self, Error> {
        let dir = data_root.join("secrets");
        let failed =
            |error: io::Error| Error::system(format!("cannot open {}: {error}", dir.display()));
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(failed)?;
        let key_file = key_file.map_or_else(|| dir.join("key.json"), Path::to_owned);
        let keys = key::read(&key_file)?;
        let mut items = BTreeMap::new();
        for entry in std::fs::read_dir(&dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".new") {
                std::fs::remove_file(entry.path()).map_err(failed)?;
            } else if name.starts_with("secret-") || name.starts_with("config-") {
                let text = std::fs::read(entry.path()).map_err(failed)?;
                let item: Item = serde_json::from_slice(&text).map_err(|error| {
                    Error::system(format!("{} is damaged: {error}", entry.path().display()))
                })?;
                items.insert(name, item);
            }
        }
        let store = Self { dir, key_file, state: Mutex::new(State { keys, items }) };
        if crate::lock(&store.state).keys.len() > 1
            && let Err(error) = store.exchange(&mut crate::lock(&store.state))
        {
            tracing::error!("the exchange of the secrets' key cannot be finished: {error}");
        }
        Ok(store)
    }

    /// Makes one.
    pub(crate) fn create(
        &self,
        kind: KeptKind,
        name: &str,
        labels: BTreeMap<String, String>,
        content: &[u8],
    ) -> Result<Kept, Error> {
        check_name(kind, name)?;
        let (what, limit) = (kind.as_str(), kind.limit());
        if content.is_empty() || content.len() >= limit {
            return Err(Error::invalid(format!(
                "{what} data must be larger than 0 and less than {limit} bytes"
            )));
        }
        let mut state = crate::lock(&self.state);
        let mut others = state.items.values();
        if others.any(|item| item.kept.kind == kind && item.kept.name == name) {
            return Err(Error::conflict(format!("{what} {name} already exists")));
        }
        let id = names::id()?.as_str()[..25].to_owned();
        let kept = Kept { kind, id, name: name.to_owned(), labels, created: Timestamp::now() };
        if state.keys.is_empty() {
            let keys = vec![Key::new()?];
            key::write(&self.key_file, &keys)?;
            state.keys = keys;
        }
        let sealed = state.keys[0].seal(&about(&kept), content)?;
        let item = Item { kept: kept.clone(), sealed };
        let file = file_name(kind, &kept.id);
        self.write(&file, &item)?;
        state.items.insert(file, item);
        Ok(kept)
    }

    fn write(&self, file: &str, item: &Item) -> Result<(), Error> {
        let write = || -> io::Result<()> {
            sys::durable::write_private(&self.dir, file, &serde_json::to_vec(item)?)
        };
        write().map_err(|error| {
            Error::system(format!("cannot write {}: {error}", self.dir.join(file).display()))
        })
    }

    /// All of a kind, by name.
    pub(crate) fn list(&self, kind: KeptKind) -> Vec<Kept> {
        let state = crate::lock(&self.state);
        let kept = state.items.values().map(|item| &item.kept);
        let mut all: Vec<Kept> = kept.filter(|kept| kept.kind == kind).cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// One by its id, its name, or the beginning of its id.
    pub(crate) fn find(&self, kind: KeptKind, reference: &str) -> Result<Kept, Error> {
        let all = self.list(kind);
        let what = kind.as_str();
        let exact = all.iter().find(|kept| kept.id == reference);
        if let Some(kept) = exact.or_else(|| all.iter().find(|kept| kept.name == reference)) {
            return Ok(kept.clone());
        }
        let mut like = all.iter().filter(|kept| kept.id.starts_with(reference));
        match (like.next(), like.next()) {
            (Some(kept), None) if !reference.is_empty() => Ok(kept.clone()),
            (Some(_), Some(_)) if !reference.is_empty() => {
                Err(Error::invalid(format!("{what} {reference} is ambiguous: give more of its id")))
            }
            _ => Err(Error::not_found(format!("{what} {reference} not found"))),
        }
    }

    /// What one says.
    pub(crate) fn content(&self, kind: KeptKind, id: &str) -> Result<Vec<u8>, Error> {
        let state = crate::lock(&self.state);
        let item = state
            .items
            .get(&file_name(kind, id))
            .ok_or_else(|| Error::not_found(format!("{} {id} not found", kind.as_str())))?;
        self.decrypt(&state.keys, item)
    }

    fn decrypt(&self, keys: &[Key], item: &Item) -> Result<Vec<u8>, Error> {
        let key = keys.iter().find(|key| key.id == item.sealed.key);
        let opened = key.and_then(|key| key.open(&about(&item.kept), &item.sealed));
        opened.ok_or_else(|| {
            let why = if key.is_some() { "it has been changed" } else { "its key is not there" };
            let (what, file) = (item.kept.kind.as_str(), self.key_file.display());
            let name = &item.kept.name;
            Error::system(format!("{what} {name} cannot be decrypted with {file}: {why}"))
        })
    }

    /// Removes one.
    pub(crate) fn remove(&self, kind: KeptKind, id: &str) -> Result<(), Error> {
        let file = file_name(kind, id);
        let mut state = crate::lock(&self.state);
        if !state.items.contains_key(&file) {
            return Err(Error::not_found(format!("{} {id} not found", kind.as_str())));
        }
        let remove = || -> io::Result<()> {
            std::fs::remove_file(self.dir.join(&file))?;
            std::fs::File::open(&self.dir)?.sync_all()
        };
        remove().map_err(|error| Error::system(format!("cannot remove {file}: {error}")))?;
        state.items.remove(&file);
        Ok(())
    }

    /// Exchanges the key.
    pub(crate) fn rotate(&self) -> Result<usize, Error> {
        let mut state = crate::lock(&self.state);
        // Nothing is begun that could not be finished.
        for item in state.items.values() {
            self.decrypt(&state.keys, item)?;
        }
        let mut keys = vec![Key::new()?];
        keys.extend(state.keys.iter().cloned());
        key::write(&self.key_file, &keys)?;
        state.keys = keys;
        self.exchange(&mut state)?;
        Ok(state.items.len())
    }

    /// Encrypts everything with the first key, then forgets the others.
    fn exchange(&self, state: &mut State) -> Result<(), Error> {
        let current = state.keys[0].clone();
        let old: Vec<String> = state
            .items
            .iter()
            .filter(|(_, item)| item.sealed.key != current.id)
            .map(|(file, _)| file.clone())
            .collect();
        for file in old {
            let mut item = state.items[&file].clone();
            let content = self.decrypt(&state.keys, &item)?;
            item.sealed = current.seal(&about(&item.kept), &content)?;
            self.write(&file, &item)?;
            state.items.insert(file, item);
        }
        state.keys.truncate(1);
        key::write(&self.key_file, &state.keys)
    }
}

/// Swarm's rule for names.
fn check_name(kind: KeptKind, name: &str) -> Result<(), Error> {
    let alphanumeric = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    let good = name.len() <= 64
        && alphanumeric(name.bytes().next())
        && alphanumeric(name.bytes().last())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if good {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "invalid {} name {name:?}: only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end \
         character must be [a-zA-Z0-9]",
        kind.as_str()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place(PathBuf);

    impl Place {
        fn new() -> Self {
            let name = names::id().expect("random").to_string();
            let path = std::env::temp_dir().join(format!("isopod-secrets-{name}"));
            std::fs::create_dir(&path).expect("made");
            Self(path)
        }

        fn open(&self) -> Store {
            Store::open(&self.0, None).expect("open")
        }

        fn files(&self) -> Vec<String> {
            let entries = std::fs::read_dir(self.0.join("secrets")).expect("list").flatten();
            entries.map(|entry| std::fs::read_to_string(entry.path()).expect("text")).collect()
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).expect("removed");
        }
    }

    fn make(store: &Store, name: &str, content: &str) -> Result<Kept, Error> {
        store.create(KeptKind::Secret, name, BTreeMap::new(), content.as_bytes())
    }

    #[test]
    fn secrets_are_found_again_and_are_not_on_disk_as_they_are() {
        let place = Place::new();
        let store = place.open();
        let made = make(&store, "key", "hunter2-hunter2").expect("made");
        assert_eq!(
            make(&store, "key", "x").expect_err("taken").message,
            "secret key already exists"
        );
        assert!(make(&store, "bad/name", "x").is_err());
        assert!(make(&store, "empty", "").is_err());
        let store = place.open();
        for reference in ["key", &made.id, &made.id[..6]] {
            assert_eq!(store.find(KeptKind::Secret, reference).expect("found"), made);
        }
        assert!(store.find(KeptKind::Config, "key").is_err());
        assert!(store.find(KeptKind::Secret, "").is_err());
        assert_eq!(store.content(KeptKind::Secret, &made.id).expect("read"), b"hunter2-hunter2");
        assert!(!place.files().concat().contains("hunter2"));
    }

    #[test]
    fn an_exchange_of_keys_can_be_cut_anywhere() {
        let place = Place::new();
        let store = place.open();
        let (one, two) =
            (make(&store, "one", "1").expect("made"), make(&store, "two", "2").expect("made"));
        let before = crate::lock(&store.state).keys.clone();
        assert_eq!(store.rotate().expect("rotated"), 2);
        let after = crate::lock(&store.state).keys.clone();
        assert_ne!(before[0].id, after[0].id);
        // As if it had been cut when one of two was done.
        let both = [Key::new().expect("key"), after[0].clone()];
        key::write(&store.key_file, &both).expect("written");
        let store = place.open();
        assert_eq!(crate::lock(&store.state).keys.len(), 1);
        assert_eq!(store.content(KeptKind::Secret, &one.id).expect("read"), b"1");
        assert_eq!(store.content(KeptKind::Secret, &two.id).expect("read"), b"2");
        store.remove(KeptKind::Secret, &one.id).expect("removed");
        assert!(place.open().find(KeptKind::Secret, "one").is_err());
    }

    #[test]
    fn what_was_changed_or_has_lost_its_key_is_told() {
        let place = Place::new();
        let made = make(&place.open(), "key", "content").expect("made");
        let file = place.0.join("secrets").join(file_name(KeptKind::Secret, &made.id));
        let text = std::fs::read_to_string(&file).expect("text");
        std::fs::write(&file, text.replace("\"key\",\"labels", "\"other\",\"labels"))
            .expect("write");
        let error = place.open().content(KeptKind::Secret, &made.id).expect_err("moved");
        assert!(error.message.ends_with("it has been changed"), "{error}");
        std::fs::write(&file, text).expect("write");
        std::fs::remove_file(place.0.join("secrets/key.json")).expect("removed");
        let error = place.open().content(KeptKind::Secret, &made.id).expect_err("no key");
        assert!(error.message.ends_with("its key is not there"), "{error}");
    }
}
