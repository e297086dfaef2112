//! Volumes, with the containers that use them.

mod copies;
mod idmap;
mod shared;
mod sources;

use std::collections::BTreeMap;

use types::event::Subject;
use types::filter::Filters;
use types::{ContainerId, Error, Timestamp};
use volume::{CreateOptions, ListFilter, PruneFilter, Volume};

use crate::container::volumes as mounts;
use crate::{Engine, Pruned, blocking, from_volume};

pub use copies::VolumeCopy;
pub(crate) use shared::{Turn, Turns};
pub(crate) use sources::take_along;

/// A volume, how large it is, and how many containers use it.
#[derive(Clone, Debug)]
pub struct VolumeUse {
    /// The volume.
    pub volume: Volume,
    /// Its bytes.
    pub size: i64,
    /// Containers that use it.
    pub containers: i64,
}

/// The `until` filter: a time, or so long ago (`10m`, `24h`).
pub(crate) fn until(filters: &Filters) -> Result<Option<Timestamp>, Error> {
    let Some(text) = filters.values("until").last() else { return Ok(None) };
    let invalid = || Error::invalid(format!("invalid filter 'until={text}'"));
    if let Ok(seconds) = text.parse::<f64>() {
        #[allow(clippy::cast_possible_truncation, reason = "saturates")]
        return Ok(Some(Timestamp((seconds * 1e9) as i64)));
    }
    if let Ok(time) = text.parse() {
        return Ok(Some(time));
    }
    let ago = duration(text).ok_or_else(invalid)?;
    Ok(Some(Timestamp(Timestamp::now().0.saturating_sub(ago))))
}

/// Nanoseconds of a Go duration such as `1h30m`, without a sign: what is asked for is in the past.
fn duration(text: &str) -> Option<i64> {
    let unsigned = text.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    unsigned.then(|| types::duration::parse(text).ok()).flatten()
}

impl Engine {
    /// Makes a volume, or finds it when it is there already.
    ///
    /// # Errors
    /// [`types::ErrorKind::Invalid`] for bad names and options.
    pub async fn volume_create(&self, options: CreateOptions) -> Result<Volume, Error> {
        let engine = self.clone();
        let (volume, new) =
            blocking(move || engine.volumes.create(&options).map_err(from_volume)).await?;
        if new {
            self.tell(Subject::Volume, "create", &volume.name, &[("driver", "local")]);
        }
        Ok(volume)
    }

    /// One volume.
    ///
    /// # Errors
    /// Not found.
    pub fn volume_inspect(&self, name: &str) -> Result<Volume, Error> {
        self.volumes.get(name).map_err(from_volume)
    }

    /// The volumes that a filter lets through.
    ///
    /// # Errors
    /// [`types::ErrorKind::Invalid`] for unknown filters.
    pub fn volume_list(&self, filters: &Filters) -> Result<Vec<Volume>, Error> {
        filters.allow(&["dangling", "driver", "label", "name"])?;
        let words = |name: &str| filters.values(name).map(str::to_owned).collect();
        let filter =
            ListFilter { names: words("name"), drivers: words("driver"), labels: words("label") };
        let dangling = filters.boolean("dangling")?;
        let mut volumes = self.volumes.list(&filter);
        volumes.retain(|volume| {
            dangling.is_none_or(|wanted| self.volume_users(&volume.name).is_empty() == wanted)
        });
        Ok(volumes)
    }

    /// Ids of the containers that use a volume.
    pub(crate) fn volume_users(&self, name: &str) -> Vec<String> {
        let users = self
            .containers
            .all()
            .into_iter()
            .filter(|container| mounts::names(container).iter().any(|used| used == name));
        users.map(|container| container.id.to_string()).collect()
    }

    /// The same, with those that are being created.
    fn all_users(&self, name: &str, claims: &BTreeMap<String, Vec<ContainerId>>) -> Vec<String> {
        let mut users = self.volume_users(name);
        users.extend(claims.get(name).into_iter().flatten().map(ToString::to_string));
        users
    }

    /// Keeps a volume from being removed until a container that is being created has it.
    pub(crate) fn claim(&self, name: &str, id: &ContainerId) {
        crate::lock(&self.claims).entry(name.to_owned()).or_default().push(id.clone());
    }

    /// The container has its volumes, or will never have them.
    pub(crate) fn unclaim(&self, id: &ContainerId) {
        crate::lock(&self.claims).retain(|_, users| {
            users.retain(|user| user != id);
            !users.is_empty()
        });
    }

    /// Removes a volume. `but` is a container whose use does not count.
    fn remove_unused(
        &self,
        name: &str,
        force: bool,
        but: Option<&ContainerId>,
    ) -> Result<(), Error> {
        let claims = crate::lock(&self.claims);
        let mut users = self.all_users(name, &claims);
        users.retain(|user| but.is_none_or(|but| user != but.as_str()));
        self.volumes.remove(name, force, &users).map_err(from_volume)?;
        drop(claims);
        self.tell(Subject::Volume, "destroy", name, &[("driver", "local")]);
        Ok(())
    }

    /// Removes a volume.
    ///
    /// # Errors
    /// Not found (unless `force`); [`types::ErrorKind::Conflict`] when it is in use.
    pub fn volume_remove(&self, name: &str, force: bool) -> Result<(), Error> {
        self.remove_unused(name, force, None)
    }

    /// Removes a volume of a container that is being removed, unless others use it.
    pub(crate) fn remove_volume_of(&self, name: &str, id: &ContainerId) -> Result<(), Error> {
        self.remove_unused(name, false, Some(id))
    }

    /// Removes volumes that nobody uses; `all`: named ones too.
    ///
    /// # Errors
    /// [`types::ErrorKind::Invalid`] for unknown filters.
    pub async fn volume_prune(&self, filters: &Filters, all: bool) -> Result<Pruned, Error> {
        filters.allow(&["all", "label", "label!"])?;
        let words = |name: &str| filters.values(name).map(str::to_owned).collect();
        let filter = PruneFilter {
            all: filters.boolean("all")?.unwrap_or(all),
            labels: words("label"),
            not_labels: words("label!"),
        };
        let engine = self.clone();
        let pruned = blocking(move || {
            let claims = crate::lock(&engine.claims);
            let is_used =
                |name: &str| claims.contains_key(name) || !engine.volume_users(name).is_empty();
            Ok(engine.volumes.prune(&filter, &is_used))
        })
        .await?;
        for name in &pruned.removed {
            self.tell(Subject::Volume, "destroy", name, &[("driver", "local")]);
        }
        let space = pruned.reclaimed.to_string();
        self.tell(Subject::Volume, "prune", "", &[("reclaimed", &space)]);
        Ok(Pruned { deleted: pruned.removed, space: pruned.reclaimed })
    }

    /// Sizes and users of all volumes.
    pub(crate) fn volume_uses(&self) -> Vec<VolumeUse> {
        let volumes = self.volumes.list(&ListFilter::default()).into_iter();
        let measured = volumes.map(|volume| {
            let size = self.volumes.size(&volume.name).ok();
            let size = size.and_then(|size| i64::try_from(size).ok()).unwrap_or(-1);
            let users = self.volume_users(&volume.name).len();
            VolumeUse { volume, size, containers: i64::try_from(users).unwrap_or(-1) }
        });
        measured.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        assert_eq!(duration("1h30m"), Some(5_400_000_000_000));
        assert_eq!(duration("1.5s"), Some(1_500_000_000));
        assert_eq!(duration("10"), None);
        assert_eq!(duration("x"), None);
        assert_eq!(duration(""), None);
    }
}
