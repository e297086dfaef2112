//! Secrets and configs without a swarm: files that containers see and nothing else ever holds.
//!
//! What they say is encrypted on disk ([`store`]); a container that runs sees it on a tmpfs of its
//! own ([`files`]), made at every start. Docker's endpoints of these names go on answering as those
//! of a dockerd outside a swarm: swarm's are another thing, with versions and nodes.

mod files;
mod key;
mod store;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use oci_spec::runtime::Mount;
use types::container::{FileUse, HostConfig};
use types::filter::Filters;
use types::{ContainerId, Error};

pub(crate) use files::Plain;
pub(crate) use store::Store;
pub use store::{Kept, KeptKind};

use crate::container::volumes as mounts;
use crate::record::Record;
use crate::spec::mounts::mount;
use crate::volumes::take_along;
use crate::{Engine, blocking};

/// Where secrets are, unless their target is absolute.
const SECRETS: &str = "/run/secrets";

impl Engine {
    /// Keeps a secret or a config.
    ///
    /// # Errors
    /// [`types::ErrorKind::Invalid`] for a bad name or content; [`types::ErrorKind::Conflict`] for a
    /// name that is taken.
    pub async fn keep(
        &self,
        kind: KeptKind,
        name: String,
        labels: BTreeMap<String, String>,
        content: Vec<u8>,
    ) -> Result<Kept, Error> {
        let engine = self.clone();
        blocking(move || engine.secrets.create(kind, &name, labels, &content)).await
    }

    /// Those that a filter lets through.
    ///
    /// # Errors
    /// [`types::ErrorKind::Invalid`] for unknown filters.
    pub fn kept(&self, kind: KeptKind, filters: &Filters) -> Result<Vec<Kept>, Error> {
        filters.allow(&["id", "name", "label"])?;
        let starts = |key: &str, text: &str| {
            let mut wanted = filters.values(key).peekable();
            wanted.peek().is_none() || wanted.any(|value| text.starts_with(value))
        };
        let mut all = self.secrets.list(kind);
        all.retain(|kept| {
            starts("id", &kept.id)
                && starts("name", &kept.name)
                && filters.labels("label", &kept.labels)
        });
        Ok(all)
    }

    /// One of them, by id, name, or the beginning of its id.
    ///
    /// # Errors
    /// Not found.
    pub fn kept_one(&self, kind: KeptKind, reference: &str) -> Result<Kept, Error> {
        self.secrets.find(kind, reference)
    }

    /// What a config says. There is no such question for secrets.
    ///
    /// # Errors
    /// Not found; it cannot be decrypted.
    pub fn config_content(&self, reference: &str) -> Result<Vec<u8>, Error> {
        let found = self.secrets.find(KeptKind::Config, reference)?;
        self.secrets.content(KeptKind::Config, &found.id)
    }

    /// Removes one that no container uses.
    ///
    /// # Errors
    /// Not found; [`types::ErrorKind::Conflict`] while it is in use.
    pub async fn forget(&self, kind: KeptKind, reference: &str) -> Result<(), Error> {
        let found = self.secrets.find(kind, reference)?;
        let engine = self.clone();
        blocking(move || {
            let claims = crate::lock(&engine.claims);
            let mut users = engine.kept_users(kind, &found.id);
            let claimed = claims.get(&claim(kind, &found.id)).into_iter().flatten();
            users.extend(claimed.map(ToString::to_string));
            if !users.is_empty() {
                return Err(Error::conflict(format!(
                    "{} '{}' is in use by the following containers: {}",
                    kind.as_str(),
                    found.name,
                    users.join(", ")
                )));
            }
            engine.secrets.remove(kind, &found.id)
        })
        .await
    }

    /// Encrypts everything with a new key and forgets the old one; returns how many there are.
    ///
    /// # Errors
    /// Those of the disk; [`types::ErrorKind::System`] when something cannot be decrypted.
    pub async fn rotate_key(&self) -> Result<usize, Error> {
        let engine = self.clone();
        blocking(move || engine.secrets.rotate()).await
    }

    /// Names of the containers that use one.
    fn kept_users(&self, kind: KeptKind, id: &str) -> Vec<String> {
        let containers = self.containers.all().into_iter();
        let users = containers.filter_map(|container| {
            let record = container.record();
            let uses = used(&record.host, kind).iter().any(|file| file.id == id);
            uses.then(|| record.name.clone())
        });
        users.collect()
    }

    /// Finds the secrets and configs that a new container asks for, says where they will be, and
    /// keeps them from being removed.
    pub(crate) fn resolve_files(
        &self,
        id: &ContainerId,
        host: &mut HostConfig,
        mut taken: Vec<String>,
    ) -> Result<(), Error> {
        for kind in [KeptKind::Secret, KeptKind::Config] {
            let files = match kind {
                KeptKind::Secret => &mut host.secrets,
                KeptKind::Config => &mut host.configs,
            };
            for file in files {
                let wanted = if file.id.is_empty() { &file.name } else { &file.id };
                let found = {
                    let mut claims = crate::lock(&self.claims);
                    // 404 would be about the image: the command line would go and pull it.
                    let found = self.secrets.find(kind, wanted);
                    let found = found.map_err(|error| Error::invalid(error.message))?;
                    claims.entry(claim(kind, &found.id)).or_default().push(id.clone());
                    found
                };
                file.target = target(kind, &found.name, &file.target)?;
                for id in [&file.uid, &file.gid] {
                    if !id.is_empty() && id.parse::<u32>().is_err() {
                        return Err(Error::invalid(format!(
                            "invalid owner of {} {}: {id:?} is no number",
                            kind.as_str(),
                            found.name
                        )));
                    }
                }
                if file.mode.is_some_and(|mode| mode > 0o7777) {
                    return Err(Error::invalid(format!(
                        "invalid mode of {} {}: use octal digits, such as 0440",
                        kind.as_str(),
                        found.name
                    )));
                }
                if taken.contains(&file.target) {
                    return Err(Error::invalid(format!("Duplicate mount point: {}", file.target)));
                }
                taken.push(file.target.clone());
                (file.id, file.name) = (found.id, found.name);
            }
        }
        Ok(())
    }

    /// A container's secrets and configs. Blocks.
    pub(crate) fn plain_files(&self, record: &Record) -> Result<Vec<Plain>, Error> {
        let mut files = Vec::new();
        for kind in [KeptKind::Secret, KeptKind::Config] {
            for file in used(&record.host, kind) {
                let content = self.secrets.content(kind, &file.id)?;
                files.push(Plain::new(file, content, record.remapped));
            }
        }
        Ok(files)
    }

    /// The mounts with a container's secrets and configs. Blocks.
    pub(crate) fn file_mounts(
        &self,
        record: &Record,
        trees: &mut Vec<OwnedFd>,
    ) -> Result<Vec<Mount>, Error> {
        let files = self.plain_files(record)?;
        if files.is_empty() {
            return Ok(Vec::new());
        }
        let made = files::make(&self.config.exec_root, files).map_err(|error| {
            Error::system(format!("cannot make the files of secrets and configs: {error}"))
        })?;
        let options = ["bind", "rprivate", "ro", "nosuid", "nodev", "noexec"];
        let list = made
            .into_iter()
            .map(|(place, tree)| mount(&place, "bind", take_along(tree, trees), &options));
        Ok(list.collect())
    }
}

fn used(host: &HostConfig, kind: KeptKind) -> &[FileUse] {
    match kind {
        KeptKind::Secret => &host.secrets,
        KeptKind::Config => &host.configs,
    }
}

/// Claims of secrets and configs stand among those of volumes, whose names have no colon.
fn claim(kind: KeptKind, id: &str) -> String {
    format!("{}:{id}", kind.as_str())
}

/// Where a file is in the container.
fn target(kind: KeptKind, name: &str, asked: &str) -> Result<String, Error> {
    let asked = if asked.is_empty() { name } else { asked };
    match kind {
        _ if asked.starts_with('/') => mounts::clean(asked),
        KeptKind::Secret => {
            let place = mounts::clean(&format!("{SECRETS}/{asked}"))?;
            if place.starts_with("/run/secrets/") {
                return Ok(place);
            }
            Err(Error::invalid(format!("invalid target of secret {name}: {asked:?}")))
        }
        KeptKind::Config => mounts::clean(&format!("/{asked}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_where_docker_has_them() {
        let at = |kind, target: &str| super::target(kind, "key", target).map_err(|e| e.message);
        assert_eq!(at(KeptKind::Secret, "").as_deref(), Ok("/run/secrets/key"));
        assert_eq!(at(KeptKind::Secret, "a/b").as_deref(), Ok("/run/secrets/a/b"));
        assert_eq!(at(KeptKind::Secret, "/etc/key").as_deref(), Ok("/etc/key"));
        assert_eq!(at(KeptKind::Config, "").as_deref(), Ok("/key"));
        assert!(at(KeptKind::Secret, "../../etc/passwd").is_err());
        assert!(at(KeptKind::Secret, "..").is_err());
        assert!(at(KeptKind::Config, "..").is_err());
    }
}
