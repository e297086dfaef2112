//! Addresses of links.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};

use super::{Error, Request, Socket, address_of, attribute, word};

const RTM_NEWADDR: u16 = 20;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;

/// An address of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// Index of the link.
    pub link: u32,
    /// The address.
    pub addr: IpAddr,
    /// Length of its network prefix.
    pub prefix: u8,
}

impl Address {
    /// All addresses of the namespace.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn all(socket: &mut Socket) -> Result<Vec<Address>, Error> {
        let mut all = Vec::new();
        let message = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let request = Request::new(message, NLM_F_DUMP);
        socket.query(&request, |kind, payload| {
            if kind == RTM_NEWADDR {
                all.extend(read(payload));
            }
        })?;
        Ok(all)
    }
}

/// Gives a link an address, with its broadcast address for IPv4. Of IPv6 the address is usable at
/// once: duplicate detection would take a second and the addresses are ours to give.
pub fn add_address(address: Address) -> Request {
    let mut message = message(address);
    match address.addr {
        IpAddr::V4(v4) if address.prefix < 31 => {
            let host = u32::MAX >> address.prefix;
            let broadcast = (u32::from(v4) | host).into();
            message.attributes.push(AddressAttribute::Broadcast(broadcast));
        }
        IpAddr::V4(_) => {}
        IpAddr::V6(_) => message.header.flags = AddressHeaderFlags::Nodad,
    }
    Request::new(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_REPLACE)
}

/// Takes an address from a link.
pub fn remove_address(address: Address) -> Request {
    Request::new(RouteNetlinkMessage::DelAddress(message(address)), 0)
}

fn message(address: Address) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = match address.addr {
        IpAddr::V4(_) => netlink_packet_route::AddressFamily::Inet,
        IpAddr::V6(_) => netlink_packet_route::AddressFamily::Inet6,
    };
    message.header.prefix_len = address.prefix;
    message.header.index = address.link;
    message.attributes.push(AddressAttribute::Local(address.addr));
    message.attributes.push(AddressAttribute::Address(address.addr));
    message
}

/// `struct ifaddrmsg` and its address. IFA_LOCAL is the own address where both exist: IFA_ADDRESS
/// is then the other end of a point-to-point link. IPv6 has only IFA_ADDRESS.
pub(super) fn read(payload: &[u8]) -> Option<Address> {
    let attributes = payload.get(8..)?;
    let value = attribute(attributes, IFA_LOCAL).or_else(|| attribute(attributes, IFA_ADDRESS))?;
    Some(Address { link: word(payload, 4)?, addr: address_of(value)?, prefix: *payload.get(1)? })
}
