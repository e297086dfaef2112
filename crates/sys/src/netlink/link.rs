//! Links: bridges, veth pairs, and what can be changed of any link.

use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoBridge, InfoBridgePort, InfoData, InfoKind,
    InfoPortData, InfoPortKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::{Error, Request, Socket, attribute, text_of, word};

const RTM_NEWLINK: u16 = 16;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFF_UP: u32 = 1;
const IFF_RUNNING: u32 = 0x40;
const IFF_LOOPBACK: u32 = 8;

/// A link as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its index, unique in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its kind, such as `bridge` or `veth`; empty for a physical one.
    pub kind: String,
    /// Bytes.
    pub mtu: u32,
    /// Whether it is administratively up.
    pub up: bool,
    /// Whether it passes packets: it is up, has a carrier, and the kernel has acted on that.
    pub running: bool,
    /// Whether it is the loopback link.
    pub loopback: bool,
    /// Index of the bridge it is a port of.
    pub master: Option<u32>,
    /// Its link-layer address, where it has one of six bytes.
    pub mac: Option<[u8; 6]>,
}

/// Which link a request is about.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// By index.
    Index(u32),
    /// By name.
    Name(&'a str),
}

/// A veth pair: one end in the socket's namespace, the other in `peer_netns`.
#[derive(Debug)]
pub struct Veth<'a> {
    /// Name of this end.
    pub name: &'a str,
    /// Name of the other end.
    pub peer: &'a str,
    /// Namespace of the other end.
    pub peer_netns: BorrowedFd<'a>,
    /// Of both ends, bytes.
    pub mtu: u32,
    /// Link-layer address of the other end; `None`: a random one.
    pub peer_mac: Option<[u8; 6]>,
}

/// Makes a bridge, down, with multicast snooping off.
///
/// Snooping needs a querier, which a bridge of containers does not have, and without one it
/// loses IPv6 neighbour solicitations a few minutes after the port came up.
pub fn add_bridge(name: &str, mac: Option<[u8; 6]>) -> Request {
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::IfName(name.to_owned()));
    if let Some(mac) = mac {
        link.attributes.push(LinkAttribute::Address(mac.to_vec()));
    }
    link.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Bridge),
        LinkInfo::Data(InfoData::Bridge(vec![InfoBridge::MulticastSnooping(false)])),
    ]));
    Request::new(RouteNetlinkMessage::NewLink(link), NLM_F_CREATE | NLM_F_EXCL)
}

/// Makes a veth pair, both ends down. One end is born in the other namespace: moving it there
/// afterwards costs two RCU grace periods.
pub fn add_veth(veth: &Veth<'_>) -> Request {
    let mut peer = LinkMessage::default();
    peer.attributes.push(LinkAttribute::IfName(veth.peer.to_owned()));
    peer.attributes.push(LinkAttribute::NetNsFd(veth.peer_netns.as_raw_fd()));
    peer.attributes.push(LinkAttribute::Mtu(veth.mtu));
    if let Some(mac) = veth.peer_mac {
        peer.attributes.push(LinkAttribute::Address(mac.to_vec()));
    }
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::IfName(veth.name.to_owned()));
    link.attributes.push(LinkAttribute::Mtu(veth.mtu));
    link.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
    ]));
    Request::new(RouteNetlinkMessage::NewLink(link), NLM_F_CREATE | NLM_F_EXCL)
}

/// Removes a link (`RTM_DELLINK`): waits for RCU, some 10 ms.
pub fn remove_link(target: Target<'_>) -> Request {
    Request::new(RouteNetlinkMessage::DelLink(message(target)), 0)
}

/// Removes all links of a group at once: the kernel waits as long for one as for hundreds.
/// `ENODEV` when there is none, `EOPNOTSUPP` when one of them cannot be removed.
pub fn remove_group(group: u32) -> Request {
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::Group(group));
    Request::new(RouteNetlinkMessage::DelLink(link), 0)
}

/// Tells the bridge of a port who is there, for as long as it is a port.
pub fn known_at(port: u32, mac: [u8; 6]) -> Request {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = port;
    message.header.state = NeighbourState::Noarp;
    message.header.flags = NeighbourFlags::Controller;
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
    let flags = NLM_F_CREATE | NLM_F_REPLACE;
    Request::new(RouteNetlinkMessage::NewNeighbour(message), flags)
}

/// Keeps the port of a bridge from talking to others that are isolated too: they only reach the
/// bridge itself (4.18).
pub fn isolate_port(target: Target<'_>) -> Request {
    set_port(target, InfoBridgePort::Isolated(true))
}

/// Lets the port of a bridge get back what came in by it.
pub fn hairpin_port(target: Target<'_>) -> Request {
    set_port(target, InfoBridgePort::HairpinMode(true))
}

/// Keeps the bridge of a port from taking what comes in by it as a sign of who is there.
pub fn forgetful_port(target: Target<'_>) -> Request {
    set_port(target, InfoBridgePort::Learning(false))
}

fn set_port(target: Target<'_>, setting: InfoBridgePort) -> Request {
    let mut link = message(target);
    link.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::PortKind(InfoPortKind::Bridge),
        LinkInfo::PortData(InfoPortData::BridgePort(vec![setting])),
    ]));
    // A port's data is taken by RTM_NEWLINK only, RTM_SETLINK passes over it.
    Request::new(RouteNetlinkMessage::NewLink(link), 0)
}

/// Changes of one link, made with one message.
#[derive(Debug, Clone)]
pub struct Change(LinkMessage);

impl Change {
    /// Nothing yet.
    pub fn of(target: Target<'_>) -> Change {
        Change(message(target))
    }

    /// Up or down.
    #[must_use]
    pub fn up(mut self, up: bool) -> Change {
        self.0.header.change_mask |= LinkFlags::Up;
        self.0.header.flags.set(LinkFlags::Up, up);
        self
    }

    /// Bytes.
    #[must_use]
    pub fn mtu(mut self, mtu: u32) -> Change {
        self.0.attributes.push(LinkAttribute::Mtu(mtu));
        self
    }

    /// Link-layer address.
    #[must_use]
    pub fn mac(mut self, mac: [u8; 6]) -> Change {
        self.0.attributes.push(LinkAttribute::Address(mac.to_vec()));
        self
    }

    /// Makes it a port of a bridge; 0: of none.
    #[must_use]
    pub fn master(mut self, bridge: u32) -> Change {
        self.0.attributes.push(LinkAttribute::Controller(bridge));
        self
    }

    /// The number of the group it belongs to; 0 is what links have by themselves.
    #[must_use]
    pub fn group(mut self, group: u32) -> Change {
        self.0.attributes.push(LinkAttribute::Group(group));
        self
    }

    /// A new name. Since 6.2 also of a link that is up; before that `EBUSY`.
    #[must_use]
    pub fn rename(mut self, name: &str) -> Change {
        self.0.attributes.push(LinkAttribute::IfName(name.to_owned()));
        self
    }

    /// No IPv6 link-local address by itself: a port of a bridge has no use for one.
    #[must_use]
    pub fn no_link_local(mut self) -> Change {
        self.0.attributes.push(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![
            AfSpecInet6::AddrGenMode(In6AddrGenMode::None),
        ])]));
        self
    }

    /// The request.
    pub fn request(self) -> Request {
        Request::new(RouteNetlinkMessage::SetLink(self.0), 0)
    }
}

/// The link of a name, if there is one.
///
/// # Errors
/// What the kernel says, other than that there is none.
pub fn link_named(socket: &mut Socket, name: &str) -> Result<Option<Link>, Error> {
    let mut found = None;
    let request = Request::new(RouteNetlinkMessage::GetLink(message(Target::Name(name))), 0);
    match socket.query(&request, |kind, payload| found = parse(kind, payload)) {
        Err(e) if e.errno() == Some(libc::ENODEV) => Ok(None),
        Err(e) => Err(e),
        Ok(()) => Ok(found),
    }
}

/// All links.
///
/// # Errors
/// What the kernel says.
pub fn links(socket: &mut Socket) -> Result<Vec<Link>, Error> {
    let mut all = Vec::new();
    let request = Request::new(RouteNetlinkMessage::GetLink(LinkMessage::default()), NLM_F_DUMP);
    socket.query(&request, |kind, payload| all.extend(parse(kind, payload)))?;
    Ok(all)
}

fn message(target: Target<'_>) -> LinkMessage {
    let mut link = LinkMessage::default();
    match target {
        Target::Index(index) => link.header.index = index,
        Target::Name(name) => link.attributes.push(LinkAttribute::IfName(name.to_owned())),
    }
    link
}

/// `struct ifinfomsg` and the few attributes of interest.
pub(super) fn parse(kind: u16, payload: &[u8]) -> Option<Link> {
    if kind != RTM_NEWLINK {
        return None;
    }
    let flags = word(payload, 8)?;
    let attributes = payload.get(16..)?;
    Some(Link {
        index: word(payload, 4)?,
        name: text_of(attribute(attributes, IFLA_IFNAME)?),
        kind: attribute(attributes, IFLA_LINKINFO)
            .and_then(|info| attribute(info, IFLA_INFO_KIND))
            .map(text_of)
            .unwrap_or_default(),
        mtu: attribute(attributes, IFLA_MTU).and_then(|v| word(v, 0)).unwrap_or(0),
        up: flags & IFF_UP != 0,
        running: flags & IFF_RUNNING != 0,
        loopback: flags & IFF_LOOPBACK != 0,
        master: attribute(attributes, IFLA_MASTER).and_then(|v| word(v, 0)),
        mac: attribute(attributes, IFLA_ADDRESS).and_then(|v| v.try_into().ok()),
    })
}
