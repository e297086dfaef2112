//! v1 net_cls and net_prio. They have no v2 form.

use oci_spec::runtime::LinuxNetwork;

use crate::cgroup::Missing;
use crate::cgroup::plan::{Step, write};

pub(in crate::cgroup) fn class(network: &LinuxNetwork) -> Vec<Step> {
    let class = network.class_id().filter(|&id| id != 0);
    class.map(|id| write("net_cls.classid", id, Missing::NetCls).into()).into_iter().collect()
}

pub(in crate::cgroup) fn priorities(network: &LinuxNetwork) -> Vec<Step> {
    let lines = network.priorities().iter().flatten();
    lines
        .map(|line| {
            let value = format!("{} {}", line.name(), line.priority());
            write("net_prio.ifpriomap", value, Missing::NetPrio).into()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::{LinuxInterfacePriorityBuilder, LinuxNetworkBuilder};

    use super::*;

    #[test]
    fn plans() {
        let eth0 = LinuxInterfacePriorityBuilder::default().name("eth0").priority(5u32);
        let network = LinuxNetworkBuilder::default()
            .class_id(0x10001u32)
            .priorities(vec![eth0.build().unwrap()])
            .build()
            .unwrap();
        assert_eq!(class(&network), [write("net_cls.classid", 65537, Missing::NetCls).into()]);
        let expected = [write("net_prio.ifpriomap", "eth0 5", Missing::NetPrio).into()];
        assert_eq!(priorities(&network), expected);
        assert_eq!(class(&LinuxNetwork::default()), []);
    }
}
