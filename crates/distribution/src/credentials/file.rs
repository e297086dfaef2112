//! Docker's client configuration, `config.json`, as far as it is about credentials.
//!
//! ```text
//! { "auths":       { "<server>": { "auth": base64("user:password"), "identitytoken": "…" } },
//!   "credsStore":  "<program for all servers>",
//!   "credHelpers": { "<server>": "<program for this one>" },
//!   …all else is left as it is }
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde_json::{Map, Value};
use types::reference::Reference;

use super::program::{Program, ProgramError};
use super::{Credentials, decode_base64};

/// Docker Hub's name among the servers of a configuration.
pub const HUB: &str = "https://index.docker.io/v1/";
/// Bytes of a configuration that are read.
const MAX_FILE: u64 = 16 << 20;

/// Why credentials could not be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be read.
    #[error("reading {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// It is no JSON, or no object.
    #[error("{path}: {reason}")]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// An entry's `auth` is not `user:password` in base64.
    #[error("{path}: invalid auth configuration file for {server}")]
    Auth {
        /// The file.
        path: PathBuf,
        /// The entry.
        server: String,
    },
    /// The file cannot be written.
    #[error("writing {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// A credential program failed.
    #[error(transparent)]
    Program(#[from] ProgramError),
}

/// Where [`ConfigFile::store`] has put credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// In the file itself, readable by whoever reads the file. Docker warns of that.
    File(PathBuf),
    /// With a credential program.
    Program(String),
}

/// A `config.json`.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    path: PathBuf,
    object: Map<String, Value>,
}

impl ConfigFile {
    /// Reads a file; one that does not exist is empty.
    ///
    /// # Errors
    /// [`StoreError::Read`] and [`StoreError::Json`].
    pub fn load(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let path = path.into();
        let mut text = Vec::new();
        match File::open(&path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut text)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(StoreError::Read { path, source }),
        }
        if text.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self { path, object: Map::new() });
        }
        match serde_json::from_slice(&text) {
            Ok(object) => Ok(Self { path, object }),
            Err(error) => Err(StoreError::Json { path, reason: error.to_string() }),
        }
    }

    /// What is known for a server, from its program or from the file.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn get(&self, server: &str) -> Result<Option<Credentials>, StoreError> {
        match self.program(server)? {
            Some((_, program)) => Ok(program.get(server)?),
            None => self.kept_here(server),
        }
    }

    /// The credentials for the registry of an image.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn for_reference(&self, reference: &Reference) -> Result<Option<Credentials>, StoreError> {
        self.get(server_of(reference.domain()))
    }

    /// All credentials, by server: what a build is given. Servers whose program fails are
    /// returned beside them, for they must not keep the others from being used.
    pub fn all(&self) -> (BTreeMap<String, Credentials>, Vec<StoreError>) {
        let mut found = BTreeMap::new();
        let mut failures = Vec::new();
        let mut servers: Vec<String> =
            self.entries("auths").map(|(name, _)| name.clone()).collect();
        servers.extend(self.entries("credHelpers").map(|(name, _)| name.clone()));
        if let Some(name) = self.object.get("credsStore").and_then(Value::as_str) {
            match Program::named(name).and_then(|program| program.list()) {
                Ok(list) => servers.extend(list.into_keys()),
                Err(error) => failures.push(error.into()),
            }
        }
        for server in servers {
            if found.contains_key(&server) {
                continue;
            }
            match self.get(&server) {
                Ok(Some(one)) => drop(found.insert(server, one)),
                Ok(None) => {}
                Err(error) => failures.push(error),
            }
        }
        (found, failures)
    }

    /// Keeps credentials, with the server's program or in the file, and writes the file.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn store(&mut self, server: &str, new: &Credentials) -> Result<Kept, StoreError> {
        let mut entry = Map::new();
        let kept = match self.program(server)? {
            Some((name, program)) => {
                program.store(server, new)?;
                Kept::Program(name)
            }
            None => {
                let pair = format!("{}:{}", new.username, new.password);
                let auth = base64::engine::general_purpose::STANDARD.encode(pair);
                entry.insert("auth".into(), auth.into());
                if !new.identity_token.is_empty() {
                    entry.insert("identitytoken".into(), new.identity_token.clone().into());
                }
                if !new.registry_token.is_empty() {
                    entry.insert("registrytoken".into(), new.registry_token.clone().into());
                }
                Kept::File(self.path.clone())
            }
        };
        // An empty entry says that a program knows this server, so that `all` asks it.
        self.auths_mut()?.insert(server.to_owned(), Value::Object(entry));
        self.write()?;
        Ok(kept)
    }

    /// Forgets a server; `false` if nothing was known of it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn erase(&mut self, server: &str) -> Result<bool, StoreError> {
        let mut names: Vec<String> = self
            .entries("auths")
            .map(|(name, _)| name)
            .filter(|name| *name == server || host_of(name) == host_of(server))
            .cloned()
            .collect();
        let mut known = !names.is_empty();
        if let Some((_, program)) = self.program(server)? {
            known |= program.get(server)?.is_some();
            program.erase(server)?;
        }
        if names.is_empty() {
            return Ok(known);
        }
        let auths = self.auths_mut()?;
        for name in names.drain(..) {
            auths.remove(&name);
        }
        self.write()?;
        Ok(known)
    }

    /// The program that is responsible for a server, if one is, and its name.
    fn program(&self, server: &str) -> Result<Option<(String, Program)>, StoreError> {
        let own = self.entries("credHelpers").find(|(name, _)| *name == server);
        let all = self.object.get("credsStore");
        let name = own.map(|(_, name)| name).or(all).and_then(Value::as_str);
        match name.filter(|name| !name.is_empty()) {
            Some(name) => Ok(Some((name.to_owned(), Program::named(name)?))),
            None => Ok(None),
        }
    }

    fn kept_here(&self, server: &str) -> Result<Option<Credentials>, StoreError> {
        let exact = self.entries("auths").find(|(name, _)| *name == server);
        // `https://registry.example/v2/` is an older spelling of `registry.example`.
        let found = exact
            .or_else(|| self.entries("auths").find(|(name, _)| host_of(name) == host_of(server)));
        let Some((name, entry)) = found else { return Ok(None) };
        let text =
            |field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut read = Credentials {
            username: text("username"),
            password: text("password"),
            email: text("email"),
            server_address: server.to_owned(),
            identity_token: text("identitytoken"),
            registry_token: text("registrytoken"),
        };
        let auth = text("auth");
        if !auth.is_empty() {
            let wrong = || StoreError::Auth { path: self.path.clone(), server: name.clone() };
            let pair = decode_base64(auth.trim()).map_err(|_| wrong())?;
            let pair = String::from_utf8(pair).map_err(|_| wrong())?;
            let (user, password) = pair.split_once(':').ok_or_else(wrong)?;
            read.username = user.to_owned();
            read.password = password.trim_matches('\0').to_owned();
        }
        Ok(Some(read).filter(|read| !read.is_empty()))
    }

    /// The members of an object in the file.
    fn entries(&self, field: &str) -> impl Iterator<Item = (&String, &Value)> {
        self.object.get(field).and_then(Value::as_object).into_iter().flatten()
    }

    fn auths_mut(&mut self) -> Result<&mut Map<String, Value>, StoreError> {
        let auths = self.object.entry("auths").or_insert_with(|| Value::Object(Map::new()));
        if auths.is_null() {
            *auths = Value::Object(Map::new());
        }
        auths.as_object_mut().ok_or_else(|| StoreError::Json {
            path: self.path.clone(),
            reason: "\"auths\" is no object".to_owned(),
        })
    }

    fn write(&self) -> Result<(), StoreError> {
        let failed = |source| StoreError::Write { path: self.path.clone(), source };
        let mut text = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
        serde::Serialize::serialize(&self.object, &mut serializer)
            .map_err(|error| failed(error.into()))?;
        replace(&self.path, &text).map_err(failed)
    }
}

/// Writes a file so that whoever opens it sees the old or the new, and nobody else can read it.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    // People link this file into a repository of theirs: the link stays.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = directory.join(name);
    let written = write_new(&temporary, &path, text);
    if written.is_err() {
        // The first failure is the one that matters.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    File::open(directory)?.sync_all()
}

fn write_new(temporary: &Path, path: &Path, text: &[u8]) -> io::Result<()> {
    match fs::remove_file(temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
    if let Ok(old) = fs::metadata(path) {
        // Root may write a user's file (`sudo`): it stays the user's. Others own it anyway.
        let _ = std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()));
        file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o700 | 0o600))?;
    }
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(temporary, path)
}

/// The name under which a registry's credentials are kept.
pub fn server_of(domain: &str) -> &str {
    if matches!(domain, "docker.io" | "index.docker.io" | "registry-1.docker.io") {
        HUB
    } else {
        domain
    }
}

/// The host (and port) of a server that may be written as a URL.
pub fn host_of(server: &str) -> &str {
    let rest = server.split_once("://").map_or(server, |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests;
