//! A container's link on a parent: macvlan and ipvlan.

use std::os::fd::BorrowedFd;

use sys::netlink::{Change, Socket, Stacked, Target, add_stacked, link_named, remove_link};

use crate::bridge::{ENODEV, at};
use crate::driver::{self, Driver};
use crate::error::{Error, Result};
use crate::model::{Endpoint, Mac, Network};
use crate::sysctl;
use crate::warm::Wire;

/// Makes the link in the container's namespace, up. An ipvlan endpoint learns its link-layer
/// address, which is the parent's.
pub(crate) fn wire(
    endpoint: &mut Endpoint,
    network: &Network,
    netns: BorrowedFd<'_>,
) -> Result<Wire> {
    let socket = |source| Error::Namespace { step: "opening a netlink socket", source };
    let entered = |source| Error::Namespace { step: "entering the network namespace", source };
    let mut host = Socket::open().map_err(socket)?;
    let name = endpoint.interface.clone();
    let Some(sharing) = driver::sharing(network.driver, &network.options)? else {
        return Err(Error::NotPluggable(network.name.clone()));
    };
    let parent = network.parent.as_str();
    let parent = link_named(&mut host, parent)
        .map_err(at("looking for", parent))?
        .ok_or_else(|| Error::NoParent(parent.to_owned()))?;
    let own_mac = network.driver == Driver::Macvlan;
    let request = add_stacked(&Stacked {
        name: &name,
        parent: parent.index,
        netns,
        mtu: network.mtu,
        mac: own_mac.then_some(endpoint.mac.0),
        sharing,
    });
    host.run(&[request]).map_err(|source| Error::Link {
        step: "creating a link on",
        link: network.parent.clone(),
        source,
    })?;
    if !own_mac && let Some(mac) = parent.mac {
        endpoint.mac = Mac(mac);
    }
    let ipv6 = endpoint.ipv6.is_some();
    sys::netns::within(netns, || {
        let mut inside = Socket::open().map_err(socket)?;
        match ipv6 {
            true => sysctl::turn_on_ipv6(&name)?,
            false => sysctl::set_if_there(&format!("net/ipv6/conf/{name}/disable_ipv6"), "1")?,
        }
        let up = Change::of(Target::Name(&name)).up(true).request();
        inside.run(&[up]).map_err(at("starting", &name))?;
        let link = link_named(&mut inside, &name).map_err(at("looking for", &name))?;
        let link = link.ok_or_else(|| Error::EndpointNotFound(endpoint.id.clone()))?;
        Ok(Wire {
            inside,
            inside_index: link.index,
            name: name.clone(),
            ipv6,
            host_link: String::new(),
            host_index: 0,
            mtu: network.mtu,
        })
    })
    .map_err(entered)?
}

/// Removes a link by its name inside a namespace. An absent one is as good.
pub(crate) fn remove(netns: BorrowedFd<'_>, name: &str) -> Result<()> {
    let entered = |source| Error::Namespace { step: "entering the network namespace", source };
    sys::netns::within(netns, || {
        let mut inside = Socket::open().map_err(entered)?;
        match inside.run(&[remove_link(Target::Name(name))]) {
            Err(e) if e.errno() == Some(ENODEV) => Ok(()),
            other => other.map_err(at("removing", name)),
        }
    })
    .map_err(entered)?
}
