//! The rdma controller, the same on v1 and v2.

use std::collections::HashMap;

use oci_spec::runtime::LinuxRdma;

use crate::cgroup::Missing;
use crate::cgroup::plan::{Step, write};

pub(in crate::cgroup) fn plan(limits: &HashMap<String, LinuxRdma>) -> Vec<Step> {
    let mut devices: Vec<_> = limits.iter().collect();
    devices.sort_by_key(|(device, _)| *device);
    let line = |(device, limit): (&String, &LinuxRdma)| {
        let mut value = device.clone();
        if let Some(handles) = limit.hca_handles() {
            value.push_str(&format!(" hca_handle={handles}"));
        }
        if let Some(objects) = limit.hca_objects() {
            value.push_str(&format!(" hca_object={objects}"));
        }
        write("rdma.max", value, Missing::Rdma).into()
    };
    devices.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::LinuxRdmaBuilder;

    use super::*;

    #[test]
    fn plans() {
        let limit = LinuxRdmaBuilder::default().hca_handles(3u32).hca_objects(100u32);
        let map = HashMap::from([("mlx5_1".to_owned(), limit.build().unwrap())]);
        let expected = write("rdma.max", "mlx5_1 hca_handle=3 hca_object=100", Missing::Rdma);
        assert_eq!(plan(&map), [expected.into()]);
    }
}
