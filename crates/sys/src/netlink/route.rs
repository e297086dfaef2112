//! Routes: the default route of a namespace, and the list of all.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE};
use netlink_packet_route::route::{
    RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::{Error, Request, Socket, address_of, attribute, word};

const RTM_NEWROUTE: u16 = 24;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;

/// A unicast route of any table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Where it leads; unspecified: everywhere.
    pub destination: IpAddr,
    /// Length of the destination's prefix; 0: a default route.
    pub prefix: u8,
    /// Index of the link it leads through; `None` for routes with several ways.
    pub link: Option<u32>,
}

impl Route {
    /// All unicast routes of the namespace, of all tables, both families.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn all(socket: &mut Socket) -> Result<Vec<Route>, Error> {
        let mut all = Vec::new();
        let message = RouteNetlinkMessage::GetRoute(RouteMessage::default());
        let request = Request::new(message, NLM_F_DUMP);
        socket.query(&request, |kind, payload| all.extend(parse(kind, payload)))?;
        Ok(all)
    }
}

/// Makes `gateway`, reached over `link`, the namespace's default route of its family.
pub fn replace_default_route(gateway: IpAddr, link: u32) -> Request {
    let mut message = default_of(gateway, link);
    message.attributes.push(RouteAttribute::Gateway(gateway.into()));
    Request::new(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_REPLACE)
}

/// Makes `link` itself, without a gateway, the namespace's default route of IPv4 or IPv6.
pub fn default_over(link: u32, v4: bool) -> Request {
    let any: IpAddr = if v4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let mut message = default_of(any, link);
    if v4 {
        message.header.scope = RouteScope::Link;
    }
    Request::new(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_REPLACE)
}

/// Removes the default route over `link` of the family that `gateway` is of.
pub fn remove_default_route(gateway: IpAddr, link: u32) -> Request {
    Request::new(RouteNetlinkMessage::DelRoute(default_of(gateway, link)), 0)
}

/// Makes the host take packets to one of its own addresses also where they come in by `link`: for
/// a loopback address of IPv6, that the kernel only knows on the loopback link. It comes after the
/// route that the host's own packets take, and goes with the link.
pub fn add_local_route(addr: IpAddr, link: u32) -> Request {
    /// `RT_TABLE_LOCAL`
    const LOCAL: u8 = 255;
    /// After the kernel's own (0). Different for every link, or one would replace the other.
    const AFTER: u32 = 1024;
    let mut message = default_of(addr, link);
    message.header.table = LOCAL;
    message.header.kind = RouteType::Local;
    message.header.scope = RouteScope::Host;
    message.header.destination_prefix_length = if addr.is_ipv4() { 32 } else { 128 };
    message.attributes.push(RouteAttribute::Destination(addr.into()));
    message.attributes.push(RouteAttribute::Priority(AFTER + link));
    Request::new(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_REPLACE)
}

fn default_of(gateway: IpAddr, link: u32) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = match gateway {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Boot;
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    message.attributes.push(RouteAttribute::Oif(link));
    message
}

/// `struct rtmsg`: family, destination length, …, type at byte 7 (1 is unicast).
fn parse(kind: u16, payload: &[u8]) -> Option<Route> {
    const RTN_UNICAST: u8 = 1;
    if kind != RTM_NEWROUTE || *payload.get(7)? != RTN_UNICAST {
        return None;
    }
    let attributes = payload.get(12..)?;
    let everywhere = match *payload.first()? {
        AF_INET => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AF_INET6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    Some(Route {
        destination: match attribute(attributes, RTA_DST) {
            Some(value) => address_of(value)?,
            None => everywhere,
        },
        prefix: *payload.get(1)?,
        link: attribute(attributes, RTA_OIF).and_then(|v| word(v, 0)),
    })
}

/// The link that a route leads through, of the body of a message about one.
pub(super) fn link_of(payload: &[u8]) -> Option<u32> {
    attribute(payload.get(12..)?, RTA_OIF).and_then(|v| word(v, 0))
}
