//! Where one container's cgroup is in each hierarchy.

use std::path::{Path, PathBuf};

use super::files::Dir;
use super::layout::{Controller, Hierarchy, Home, Layout, Unified, Version};

/// One controller's directory of a container.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place<'a> {
    V1(&'a Dir),
    Unified(&'a Dir),
}

impl<'a> Place<'a> {
    pub(super) fn dir(self) -> &'a Dir {
        match self {
            Place::V1(dir) | Place::Unified(dir) => dir,
        }
    }
}

/// A directory in a v1 hierarchy.
#[derive(Debug, Clone)]
pub(super) struct V1 {
    pub(super) hierarchy: Hierarchy,
    pub(super) dir: Dir,
}

/// All directories of one container.
#[derive(Debug, Clone)]
pub(super) struct Places {
    pub(super) version: Version,
    pub(super) v1: Vec<V1>,
    pub(super) unified: Option<(Unified, Dir)>,
}

impl Places {
    /// `path` has been through [`super::path::clean`].
    pub(super) fn new(layout: &Layout, path: &str) -> Places {
        let at = |mount: &Path| Dir(mount.join(path));
        Places {
            version: layout.version,
            v1: layout
                .v1
                .iter()
                .map(|hierarchy| V1 { hierarchy: hierarchy.clone(), dir: at(&hierarchy.mount) })
                .collect(),
            unified: layout.unified.as_ref().map(|tree| (tree.clone(), at(&tree.mount))),
        }
    }

    pub(super) fn of(&self, controller: Controller) -> Option<Place<'_>> {
        let v1 = self.v1.iter().find(|place| place.hierarchy.has(controller));
        let unified = || self.unified.as_ref().filter(|(tree, _)| tree.has(controller));
        v1.map(|place| Place::V1(&place.dir))
            .or_else(|| unified().map(|(_, dir)| Place::Unified(dir)))
    }

    /// Every directory, with its mount.
    pub(super) fn all(&self) -> impl Iterator<Item = (&PathBuf, &Dir)> {
        let v1 = self.v1.iter().map(|place| (&place.hierarchy.mount, &place.dir));
        v1.chain(self.unified.iter().map(|(tree, dir)| (&tree.mount, dir)))
    }

    /// The hierarchy that is asked which processes there are. The unified tree cannot be left out by a
    /// container; else one whose controller a container has no business moving about in.
    pub(super) fn tracking(&self) -> Option<&Dir> {
        if let Some((_, dir)) = &self.unified {
            return Some(dir);
        }
        let order =
            [Controller::Freezer, Controller::Devices, Controller::Pids, Controller::Memory];
        let place = order.into_iter().find_map(|controller| self.of(controller));
        place.map(Place::dir).or_else(|| self.v1.first().map(|place| &place.dir))
    }
}

impl Layout {
    /// A file in the root of the controller's hierarchy.
    pub(super) fn root_file(&self, controller: Controller, file: &str) -> Option<String> {
        let mount = match self.home(controller)? {
            Home::V1(hierarchy) => &hierarchy.mount,
            Home::Unified(tree) => &tree.mount,
        };
        Dir(mount.clone()).text(file).ok()
    }
}
