//! The machine's network interfaces: bound, named, addressed.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use proto::guest::{Family, Interface};
use sys::netlink::{
    Address, Change, Request, Socket, Target, add_address, default_over, link_named,
    replace_default_route,
};

use crate::devices::{self, Kind};

/// What could not be done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InterfaceError {
    #[error("there are {found} interfaces, where {wanted} were announced")]
    Number { found: usize, wanted: usize },
    #[error("interface {0} cannot be used: {1}")]
    Bind(String, io::Error),
    #[error("the kernel does not answer: {0}")]
    Socket(io::Error),
    #[error("interface {0} is not there")]
    Missing(String),
    #[error("interface {0}: {1}")]
    Configure(String, sys::netlink::Error),
    #[error("{} cannot be set: {}", .0.display(), .1)]
    Setting(PathBuf, io::Error),
}

/// Sets all of them up, and the loopback interface.
pub(crate) fn configure(wanted: &[Interface]) -> Result<(), InterfaceError> {
    let mut socket = Socket::open().map_err(InterfaceError::Socket)?;
    socket
        .run(&[Change::of(Target::Name("lo")).up(true).request()])
        .map_err(|error| InterfaceError::Configure("lo".to_owned(), error))?;
    let found = devices::all(Kind::Network)
        .map_err(|error| InterfaceError::Bind("eth0".to_owned(), error))?;
    if found.len() < wanted.len() {
        return Err(InterfaceError::Number { found: found.len(), wanted: wanted.len() });
    }
    for (device, interface) in found.iter().zip(wanted) {
        let bound = devices::bind(device, Kind::Network);
        let name = bound.map_err(|error| InterfaceError::Bind(interface.name.clone(), error))?;
        set_up(&mut socket, &name, interface)?;
    }
    Ok(())
}

fn set_up(socket: &mut Socket, name: &str, wanted: &Interface) -> Result<(), InterfaceError> {
    let refused = |error| InterfaceError::Configure(wanted.name.clone(), error);
    let link = link_named(socket, name).map_err(refused)?;
    let link = link.ok_or_else(|| InterfaceError::Missing(name.to_owned()))?;
    let target = Target::Index(link.index);
    let mut change = Change::of(target).mtu(wanted.mtu);
    if link.mac != Some(wanted.mac) {
        change = change.mac(wanted.mac);
    }
    if name != wanted.name {
        change = change.rename(&wanted.name);
    }
    // While it is down: then it can be renamed, and what IPv6 there is has not begun.
    socket.run(&[change.request()]).map_err(refused)?;
    let v6 = wanted.addresses.iter().any(|(address, _)| address.is_ipv6());
    ipv6(&wanted.name, v6)?;
    let mut requests = vec![Change::of(target).up(true).request()];
    requests.extend(wanted.addresses.iter().map(|(addr, prefix)| {
        add_address(Address { link: link.index, addr: *addr, prefix: *prefix })
    }));
    requests.extend(routes(wanted, link.index));
    socket.run(&requests).map_err(refused)?;
    for (path, value) in &wanted.sysctls {
        set(Path::new(&path.replace("IFNAME", &wanted.name)), value)?;
    }
    Ok(())
}

fn routes(wanted: &Interface, link: u32) -> Vec<Request> {
    let through =
        wanted.gateways.iter().map(|gateway: &IpAddr| replace_default_route(*gateway, link));
    let over = wanted.on_link.iter().map(|family| default_over(link, *family == Family::V4));
    through.chain(over).collect()
}

/// As on the host: IPv6 where there is an address of it, and then without duplicate detection.
fn ipv6(name: &str, on: bool) -> Result<(), InterfaceError> {
    let directory = Path::new("net/ipv6/conf").join(name);
    if !Path::new("/proc/sys").join(&directory).exists() {
        return Ok(());
    }
    if on {
        set(&directory.join("accept_dad"), "0")?;
    }
    set(&directory.join("disable_ipv6"), if on { "0" } else { "1" })
}

/// Sets a kernel setting, given below `/proc/sys`. The monitor's word is taken for the path.
fn set(path: &Path, value: &str) -> Result<(), InterfaceError> {
    let path = Path::new("/proc/sys").join(path);
    sys::fs::write_file(&path, value).map_err(|error| InterfaceError::Setting(path, error))
}
