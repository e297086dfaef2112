//! Planners for the control files of the unified tree, one file a controller, and what the tree needs
//! besides: turning controllers on, device programs. Planners are pure, see [`super::plan`].

pub(super) mod controllers;
pub(super) mod cpu;
pub(super) mod cpuset;
pub(super) mod devices;
pub(super) mod freezer;
pub(super) mod hugetlb;
pub(super) mod io;
pub(super) mod memory;
pub(super) mod oom;
pub(super) mod stats;
pub(super) mod unified;
