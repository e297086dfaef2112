//! Where the container's own directories are, for its `/sys/fs/cgroup`.

use std::path::PathBuf;

use super::{Cgroup, Version};

/// The directories that the container may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum View {
    /// One tree.
    Unified(PathBuf),
    /// For each v1 hierarchy its usual name, other names that lead to it, and the directory. A
    /// unified tree beside them is left out, as in Docker: it carries nothing a container could use.
    Split(Vec<(String, Vec<String>, PathBuf)>),
}

impl Cgroup {
    /// What the container shall see below `/sys/fs/cgroup`.
    pub(crate) fn view(&self) -> View {
        match (&self.places.unified, self.places.version) {
            (Some((_, dir)), Version::V2) => View::Unified(dir.path().to_owned()),
            _ => View::Split(
                self.places
                    .v1
                    .iter()
                    .filter_map(|place| {
                        let hierarchy = &place.hierarchy;
                        let name = hierarchy.mount.file_name()?.to_string_lossy().into_owned();
                        let aliases = match hierarchy.label.contains(',') {
                            true => hierarchy.label.split(',').map(str::to_owned).collect(),
                            false => Vec::new(),
                        };
                        Some((name, aliases, place.dir.path().to_owned()))
                    })
                    .collect(),
            ),
        }
    }
}
