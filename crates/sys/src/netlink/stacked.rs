//! Links that stand on another link: macvlan, ipvlan and VLAN sub-interfaces; and links that lead
//! nowhere, for those that have no other to stand on.

use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoData, InfoIpVlan, InfoKind, InfoMacVlan, InfoVlan, IpVlanFlags, LinkAttribute, LinkInfo,
    LinkMessage,
};
pub use netlink_packet_route::link::{IpVlanMode, MacVlanMode};

use super::{Error, Request, Socket};

/// How a link shares its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// By link-layer addresses.
    Macvlan(MacVlanMode),
    /// By addresses; all have the parent's link-layer address.
    Ipvlan(IpVlanMode, Among),
}

/// Whether ipvlan links of one parent reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Among {
    /// They do.
    Bridge,
    /// They do not.
    Private,
    /// They do by way of the switch that the parent is on.
    Vepa,
}

impl Sharing {
    fn info(self) -> Vec<LinkInfo> {
        match self {
            Sharing::Macvlan(mode) => vec![
                LinkInfo::Kind(InfoKind::MacVlan),
                LinkInfo::Data(InfoData::MacVlan(vec![InfoMacVlan::Mode(mode)])),
            ],
            Sharing::Ipvlan(mode, among) => {
                let flags = match among {
                    Among::Bridge => IpVlanFlags::empty(),
                    Among::Private => IpVlanFlags::Private,
                    Among::Vepa => IpVlanFlags::Vepa,
                };
                vec![
                    LinkInfo::Kind(InfoKind::IpVlan),
                    LinkInfo::Data(InfoData::IpVlan(vec![
                        InfoIpVlan::Mode(mode),
                        InfoIpVlan::Flags(flags),
                    ])),
                ]
            }
        }
    }
}

/// A link on a parent, which is in the socket's namespace, to be made in another namespace.
#[derive(Debug)]
pub struct Stacked<'a> {
    /// Its name there.
    pub name: &'a str,
    /// Index of the parent.
    pub parent: u32,
    /// The namespace that it is for.
    pub netns: BorrowedFd<'a>,
    /// Bytes; 0: the parent's.
    pub mtu: u32,
    /// Link-layer address, where it has its own.
    pub mac: Option<[u8; 6]>,
    /// How it shares the parent.
    pub sharing: Sharing,
}

/// Makes a link on a parent, down.
pub fn add_stacked(stacked: &Stacked<'_>) -> Request {
    let mut attributes = vec![
        LinkAttribute::IfName(stacked.name.to_owned()),
        LinkAttribute::Link(stacked.parent),
        LinkAttribute::NetNsFd(stacked.netns.as_raw_fd()),
    ];
    if stacked.mtu > 0 {
        attributes.push(LinkAttribute::Mtu(stacked.mtu));
    }
    if let Some(mac) = stacked.mac {
        attributes.push(LinkAttribute::Address(mac.to_vec()));
    }
    attributes.push(LinkAttribute::LinkInfo(stacked.sharing.info()));
    add(attributes)
}

/// Makes a sub-interface of a VLAN, down.
pub fn add_vlan(name: &str, parent: u32, id: u16) -> Request {
    add(vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::Link(parent),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Vlan),
            LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(id)])),
        ]),
    ])
}

/// Makes a link that swallows what it is given, down.
pub fn add_dummy(name: &str) -> Request {
    blank(name, InfoKind::Dummy)
}

/// Makes an intermediate functional block, down. Without a redirecting queue it swallows what it
/// is given, as a dummy link does.
pub fn add_ifb(name: &str) -> Request {
    blank(name, InfoKind::Ifb)
}

fn blank(name: &str, kind: InfoKind) -> Request {
    add(vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)]),
    ])
}

fn add(attributes: Vec<LinkAttribute>) -> Request {
    let mut link = LinkMessage::default();
    link.attributes = attributes;
    Request::new(RouteNetlinkMessage::NewLink(link), NLM_F_CREATE | NLM_F_EXCL)
}

/// Whether the kernel has this kind of link. It is asked for one without a parent: who knows the
/// kind refuses that with EINVAL, who does not says EOPNOTSUPP (also after it has looked for a
/// module).
///
/// # Errors
/// What the socket says.
pub fn can_share(socket: &mut Socket, sharing: Sharing) -> Result<bool, Error> {
    let request = add(vec![LinkAttribute::LinkInfo(sharing.info())]);
    match socket.run(&[request]) {
        Err(e) if e.errno() == Some(libc::EOPNOTSUPP) => Ok(false),
        Err(e) if e.errno().is_none() => Err(e),
        _ => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::netlink::{attribute, encode};

    const IFLA_IFNAME: u16 = 3;
    const IFLA_LINK: u16 = 5;
    const IFLA_LINKINFO: u16 = 18;
    const IFLA_INFO_KIND: u16 = 1;
    const IFLA_INFO_DATA: u16 = 2;

    /// What goes over the wire after the two headers.
    fn attributes(request: &Request) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(&mut bytes, request, 1, 0);
        bytes.split_off(16 + 16)
    }

    /// The data of the kind that a message asks for.
    fn data<'a>(bytes: &'a [u8], kind: &str) -> &'a [u8] {
        let info = attribute(bytes, IFLA_LINKINFO).unwrap();
        let asked = attribute(info, IFLA_INFO_KIND).unwrap();
        assert_eq!(asked.strip_suffix(b"\0"), Some(kind.as_bytes()), "{info:?}");
        attribute(info, IFLA_INFO_DATA).unwrap()
    }

    #[test]
    fn an_ipvlan_link_is_asked_for_with_mode_and_flags() {
        let here = std::fs::File::open("/proc/self/ns/net").unwrap();
        for (mode, number) in [(IpVlanMode::L2, 0u16), (IpVlanMode::L3, 1), (IpVlanMode::L3S, 2)] {
            for (among, flag) in [(Among::Bridge, 0u16), (Among::Private, 1), (Among::Vepa, 2)] {
                let bytes = attributes(&add_stacked(&Stacked {
                    name: "eth0",
                    parent: 7,
                    netns: here.as_fd(),
                    mtu: 0,
                    mac: None,
                    sharing: Sharing::Ipvlan(mode, among),
                }));
                assert_eq!(attribute(&bytes, IFLA_IFNAME).unwrap(), b"eth0\0");
                assert_eq!(attribute(&bytes, IFLA_LINK).unwrap(), 7u32.to_ne_bytes());
                let data = data(&bytes, "ipvlan");
                assert_eq!(attribute(data, 1).unwrap(), number.to_ne_bytes());
                assert_eq!(attribute(data, 2).unwrap(), flag.to_ne_bytes());
            }
        }
    }

    #[test]
    fn a_macvlan_link_and_a_sub_interface_are_asked_for() {
        let here = std::fs::File::open("/proc/self/ns/net").unwrap();
        let bytes = attributes(&add_stacked(&Stacked {
            name: "eth1",
            parent: 3,
            netns: here.as_fd(),
            mtu: 1400,
            mac: Some([2, 0, 0, 0, 0, 1]),
            sharing: Sharing::Macvlan(MacVlanMode::Vepa),
        }));
        assert_eq!(attribute(data(&bytes, "macvlan"), 1).unwrap(), 2u32.to_ne_bytes());
        let bytes = attributes(&add_vlan("eth0.20", 3, 20));
        assert_eq!(attribute(data(&bytes, "vlan"), 1).unwrap(), 20u16.to_ne_bytes());
    }

    #[test]
    fn privileged_the_kernel_says_what_it_has() {
        let (_netns, found) = crate::netns::create(|_| {
            let mut socket = Socket::open().unwrap();
            can_share(&mut socket, Sharing::Macvlan(MacVlanMode::Bridge))
        })
        .unwrap();
        // Where it says no, it must be right about that.
        let there = std::fs::read_to_string("/proc/kallsyms").unwrap_or_default();
        assert!(found.unwrap() || !there.contains(" macvlan_common_newlink"));
    }
}
