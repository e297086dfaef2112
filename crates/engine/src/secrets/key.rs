//! The keys that secrets are encrypted with: one, or two while they are being exchanged.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};
use types::Error;

/// Bytes of a key.
const LENGTH: usize = 32;

/// One key.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Key {
    /// By which what it encrypted names it.
    pub(super) id: String,
    /// base64.
    key: String,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

/// What a key has made of some bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sealed {
    /// The key's id.
    pub(super) key: String,
    nonce: String,
    content: String,
}

/// The file of keys: the first is the one to encrypt with.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Keys {
    keys: Vec<Key>,
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Error::system("the kernel has no randomness to give"))?;
    Ok(bytes)
}

impl Key {
    /// A new one.
    pub(super) fn new() -> Result<Self, Error> {
        let id = random::<8>()?.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { id, key: BASE64.encode(random::<LENGTH>()?) })
    }

    fn cipher(&self) -> Option<LessSafeKey> {
        let bytes = BASE64.decode(&self.key).ok()?;
        Some(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &bytes).ok()?))
    }

    /// Encrypts; `about` is what the content belongs to, and opens it only together with that.
    pub(super) fn seal(&self, about: &[u8], content: &[u8]) -> Result<Sealed, Error> {
        let failed = || Error::system(format!("the key {} cannot encrypt", self.id));
        let cipher = self.cipher().ok_or_else(failed)?;
        let nonce = random::<NONCE_LEN>()?;
        let mut bytes = content.to_vec();
        cipher
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(about),
                &mut bytes,
            )
            .map_err(|_| failed())?;
        Ok(Sealed {
            key: self.id.clone(),
            nonce: BASE64.encode(nonce),
            content: BASE64.encode(bytes),
        })
    }

    /// Decrypts; `None` when anything has been changed.
    pub(super) fn open(&self, about: &[u8], sealed: &Sealed) -> Option<Vec<u8>> {
        let nonce: [u8; NONCE_LEN] = BASE64.decode(&sealed.nonce).ok()?.try_into().ok()?;
        let mut bytes = BASE64.decode(&sealed.content).ok()?;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let length = self.cipher()?.open_in_place(nonce, Aad::from(about), &mut bytes).ok()?.len();
        bytes.truncate(length);
        Some(bytes)
    }
}

/// Reads the keys; none when there is no file.
pub(super) fn read(path: &Path) -> Result<Vec<Key>, Error> {
    let failed = |why: String| {
        Error::system(format!("cannot use the key file {} of secrets: {why}", path.display()))
    };
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error.to_string())),
    };
    let mode = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?;
    if mode.permissions().mode() & 0o077 != 0 {
        return Err(failed("others can read it: chmod 600 it".to_owned()));
    }
    let keys: Keys = serde_json::from_slice(&text).map_err(|error| failed(error.to_string()))?;
    if let Some(bad) = keys.keys.iter().find(|key| key.cipher().is_none()) {
        return Err(failed(format!("key {} is none of 256 bits", bad.id)));
    }
    Ok(keys.keys)
}

/// Replaces the file of keys.
pub(super) fn write(path: &Path, keys: &[Key]) -> Result<(), Error> {
    let write = || -> io::Result<()> {
        let json = serde_json::to_vec(&Keys { keys: keys.to_vec() })?;
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let directory = path.parent().map_or_else(|| PathBuf::from("/"), Path::to_owned);
        sys::durable::write_private(&directory, &name.to_string_lossy(), &json)
    };
    write().map_err(|error| {
        Error::system(format!("cannot write the key file {}: {error}", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_key_and_belonging_open() {
        let (key, other) = (Key::new().expect("key"), Key::new().expect("key"));
        let sealed = key.seal(b"about", b"content").expect("sealed");
        assert_eq!(key.open(b"about", &sealed).as_deref(), Some(&b"content"[..]));
        assert_eq!(key.open(b"else", &sealed), None);
        assert_eq!(other.open(b"about", &sealed), None);
        assert!(!format!("{sealed:?}").contains(&BASE64.encode(b"content")));
        let again = key.seal(b"about", b"content").expect("sealed");
        assert_ne!(again.nonce, sealed.nonce);
    }
}
