//! The links of the host that macvlan and ipvlan networks stand on.

use sys::netlink::{
    Change, Error as Refusal, IpVlanMode, MacVlanMode, Sharing, Socket, Target, add_dummy, add_ifb,
    add_vlan, can_share, link_named, remove_link,
};

use crate::bridge::{ENODEV, at};
use crate::driver::{self, Driver};
use crate::error::{Error, Result};
use crate::model::Network;

/// The kernel was built without something, and has no module for it.
const EOPNOTSUPP: i32 = 95;

/// Makes sure that a network's parent is there, and returns its index. What has to be made is made:
/// a VLAN's sub-interface, or a link that leads nowhere.
pub(crate) fn ensure(kernel: &mut Socket, network: &Network) -> Result<u32> {
    let name = network.parent.as_str();
    if let Some(link) = link_named(kernel, name).map_err(at("looking for", name))? {
        if link.loopback {
            return Err(Error::LoopbackParent(network.driver.as_str()));
        }
        return Ok(link.index);
    }
    if network.has_blank_parent() {
        make_blank(kernel, name)?;
    } else {
        make_sub_interface(kernel, name)?;
    }
    let up = Change::of(Target::Name(name)).up(true).request();
    kernel.run(&[up]).map_err(at("starting", name))?;
    let made = link_named(kernel, name).map_err(at("looking for", name))?;
    made.map(|link| link.index).ok_or_else(|| Error::NoParent(name.to_owned()))
}

/// A dummy link where the kernel has them, else an intermediate functional block, which swallows
/// packets just as well.
fn make_blank(kernel: &mut Socket, name: &str) -> Result<()> {
    match kernel.run(&[add_dummy(name)]) {
        Err(e) if e.errno() == Some(EOPNOTSUPP) => {}
        other => return other.map_err(at("creating dummy link", name)),
    }
    match kernel.run(&[add_ifb(name)]) {
        Err(e) if e.errno() == Some(EOPNOTSUPP) => Err(Error::NoBlankLinks),
        other => other.map_err(at("creating link", name)),
    }
}

fn make_sub_interface(kernel: &mut Socket, name: &str) -> Result<()> {
    let (below, id) = driver::sub_interface(name)?;
    let parent = link_named(kernel, below)
        .map_err(at("looking for", below))?
        .ok_or_else(|| Error::NoParent(below.to_owned()))?;
    let failed = |source: Refusal| match source.errno() {
        Some(EOPNOTSUPP) => Error::NoVlans(name.to_owned()),
        _ => Error::Link { step: "creating VLAN link", link: name.to_owned(), source },
    };
    kernel.run(&[add_vlan(name, parent.index, id)]).map_err(failed)
}

/// Refuses a network whose kind of link the kernel does not have.
pub(crate) fn check_kernel(kernel: &mut Socket, network: &Network) -> Result<()> {
    let (sharing, setting) = match network.driver {
        Driver::Macvlan => (Sharing::Macvlan(MacVlanMode::Bridge), "CONFIG_MACVLAN"),
        Driver::Ipvlan => {
            (Sharing::Ipvlan(IpVlanMode::L2, sys::netlink::Among::Bridge), "CONFIG_IPVLAN")
        }
        _ => return Ok(()),
    };
    let driver = network.driver.as_str();
    match can_share(kernel, sharing).map_err(at("asking the kernel for", driver))? {
        true => Ok(()),
        false => Err(Error::KernelLacks { driver, setting }),
    }
}

/// Removes a parent that was made for a network. An absent one is as good.
pub(crate) fn remove(kernel: &mut Socket, name: &str) -> Result<()> {
    match kernel.run(&[remove_link(Target::Name(name))]) {
        Err(e) if e.errno() == Some(ENODEV) => Ok(()),
        other => other.map_err(at("removing", name)),
    }
}
