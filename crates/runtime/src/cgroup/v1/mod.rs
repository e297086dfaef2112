//! Planners for v1 control files, one file a controller. Pure: they see the request and, through
//! [`Knobs`](super::files::Knobs), the present values; they return steps.

pub(super) mod blkio;
pub(super) mod cpu;
pub(super) mod cpuset;
pub(super) mod devices;
pub(super) mod freezer;
pub(super) mod hugetlb;
pub(super) mod memory;
pub(super) mod network;
pub(super) mod oom;
pub(super) mod pids;
pub(super) mod rdma;
pub(super) mod stats;
