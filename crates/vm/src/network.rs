//! A machine's card in the place of a container's link: in the container's network namespace, a
//! bridge joins the link that the engine has made with a tap device, and the guest gets the link's
//! own link-layer address, so that for the network nothing is different.
//!
//! ```text
//!  host's bridge ═ veth ║ link ─ bridge ─ tap ═ guest's card
//!                       ║ (fe:…)                (the link's old address)
//! ```
//!
//! Whatever enters the namespace goes through the bridge to the guest; the namespace itself keeps
//! no address but the one at which a guest without an agent asks for names, so its own stack neither
//! answers nor speaks. The bridge learns nothing from the link:
//! where the host's bridge lets a port's packets turn back (published ports with br_netfilter), the
//! guest's own broadcasts come in by it, and the guest would seem to be out there.

use std::net::Ipv4Addr;
use std::os::fd::{BorrowedFd, OwnedFd};

use sys::netlink::{self, Address, Change, Socket, Target};

use crate::error::{Error, Step};
use crate::machine::Nic;

/// A card, and what the guest has to know of its network.
#[derive(Debug)]
pub struct Joined {
    /// The card.
    pub nic: Nic,
    /// Bytes that a packet may have.
    pub mtu: u32,
}

/// Why a link cannot be a guest's.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// There is no link of this name, or none with a link-layer address.
    #[error("the network namespace has no link {0} that a guest could have")]
    NoLink(String),
    /// The kernel has no tap devices, or allows none.
    #[error("cannot make a tap device: {0} (the kernel's module tun is needed)")]
    Tap(std::io::Error),
    /// Something else that the kernel refused.
    #[error("cannot join the guest's card and {link}: {source}")]
    Refused {
        /// The link.
        link: String,
        /// What the kernel says.
        source: netlink::Error,
    },
    /// No socket to ask it.
    #[error("cannot open a netlink socket: {0}")]
    Socket(std::io::Error),
}

/// A card that is not joined to anything yet.
#[derive(Debug)]
pub struct Loose(OwnedFd);

/// The name of a loose card's tap device: a namespace has one at most.
const LOOSE: &str = "vmtap";

impl Loose {
    /// Makes one in a namespace.
    ///
    /// # Errors
    /// As those of [`join`].
    pub fn create(netns: BorrowedFd<'_>) -> Result<Self, Error> {
        let tap = sys::netns::within(netns, || sys::tap::create(LOOSE));
        Ok(Self(tap.step("enter the network namespace")?.map_err(JoinError::Tap)?))
    }

    /// The machine's side of it. Its link-layer address is the guest's to change.
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn nic(&self) -> Result<Nic, Error> {
        let tap = self.0.try_clone().step("copy a descriptor")?;
        Ok(Nic { tap, mac: [0x02, 0, 0, 0, 0, 1] })
    }

    /// Gives its tap device another name.
    fn rename(self, socket: &mut Socket, name: &str) -> Result<OwnedFd, JoinError> {
        let refused = |source| JoinError::Refused { link: LOOSE.to_owned(), source };
        let link = netlink::link_named(socket, LOOSE).map_err(refused)?;
        let link = link.ok_or_else(|| JoinError::NoLink(LOOSE.to_owned()))?;
        let change = Change::of(Target::Index(link.index)).rename(name);
        socket.run(&[change.request()]).map_err(refused)?;
        Ok(self.0)
    }
}

/// Joins a link of the namespace to a new tap device, or to that of a loose card in it. To be done once,
/// before anything uses the link; what it makes goes with the namespace.
///
/// The namespace is entered by a thread of its own. With `spoken_to`, an address and the length of its
/// prefix, the bridge has that: the guest can speak with whoever listens there in the namespace.
///
/// # Errors
/// [`Error::Join`]; [`Error::Prepare`] when the namespace cannot be entered.
pub fn join(
    netns: BorrowedFd<'_>,
    link: &str,
    spoken_to: Option<(Ipv4Addr, u8)>,
    loose: Option<Loose>,
) -> Result<Joined, Error> {
    let joined = sys::netns::within(netns, || join_here(link, spoken_to, loose));
    Ok(joined.step("enter the network namespace")??)
}

fn join_here(
    name: &str,
    spoken_to: Option<(Ipv4Addr, u8)>,
    loose: Option<Loose>,
) -> Result<Joined, JoinError> {
    let refused = |source| JoinError::Refused { link: name.to_owned(), source };
    let mut socket = Socket::open().map_err(JoinError::Socket)?;
    let link = netlink::link_named(&mut socket, name).map_err(refused)?;
    let missing = || JoinError::NoLink(name.to_owned());
    let link = link.ok_or_else(missing)?;
    let mac = link.mac.ok_or_else(missing)?;
    // By the link's number: names are as long as the kernel allows.
    let (bridge, port) = (format!("vmbr{}", link.index), format!("vmtap{}", link.index));
    let tap = match loose {
        Some(loose) => loose.rename(&mut socket, &port)?,
        None => sys::tap::create(&port).map_err(JoinError::Tap)?,
    };
    let addresses = Address::all(&mut socket).map_err(refused)?;
    let own = addresses.into_iter().filter(|address| address.link == link.index);
    let mut requests = vec![
        // A port that kept its address would take for itself what is for the guest.
        Change::of(Target::Index(link.index)).mac(aside(mac, 0xfe)).no_link_local().request(),
        netlink::add_bridge(&bridge, Some(aside(mac, 0xf6))),
        Change::of(Target::Name(&bridge)).mtu(link.mtu).no_link_local().request(),
        Change::of(Target::Name(&port)).mtu(link.mtu).no_link_local().request(),
    ];
    requests.extend(own.map(netlink::remove_address));
    socket.run(&requests).map_err(refused)?;
    let master = netlink::link_named(&mut socket, &bridge).map_err(refused)?.ok_or_else(missing)?;
    let mut requests = vec![
        Change::of(Target::Index(link.index)).master(master.index).up(true).request(),
        netlink::forgetful_port(Target::Index(link.index)),
        Change::of(Target::Name(&port)).master(master.index).up(true).request(),
        Change::of(Target::Index(master.index)).up(true).request(),
    ];
    requests.extend(spoken_to.map(|(addr, prefix)| {
        netlink::add_address(Address { link: master.index, addr: addr.into(), prefix })
    }));
    socket.run(&requests).map_err(refused)?;
    Ok(Joined { nic: Nic { tap, mac }, mtu: link.mtu })
}

/// An address of our own that is as unique as the one it is made from: locally administered.
fn aside(mac: [u8; 6], first: u8) -> [u8; 6] {
    let [was, rest @ ..] = mac;
    let first = if was == first { first ^ 0x04 } else { first };
    let [a, b, c, d, e] = rest;
    [first, a, b, c, d, e]
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn addresses_set_aside_are_others_unicast_and_local() {
        for first in [0x02, 0xfe, 0xf6] {
            let mac = [first, 1, 2, 3, 4, 5];
            let (link, bridge) = (aside(mac, 0xfe), aside(mac, 0xf6));
            assert!(link != mac && bridge != mac && link != bridge, "{mac:x?}");
            for made in [link, bridge] {
                assert_eq!(made[0] & 3, 2, "{made:x?}");
            }
        }
    }

    #[test]
    fn privileged_a_link_is_joined_to_a_tap() {
        let (other, ()) = sys::netns::create(|_| ()).expect("namespace");
        let (netns, ()) = sys::netns::create(|_| {
            let mut socket = Socket::open().expect("socket");
            let pair = netlink::Veth {
                name: "eth0",
                peer: "outside",
                peer_netns: other.as_fd(),
                mtu: 1400,
                peer_mac: None,
            };
            socket.run(&[netlink::add_veth(&pair)]).expect("link");
            let link = netlink::link_named(&mut socket, "eth0").expect("asks").expect("link");
            let addr = "10.9.8.7".parse().expect("address");
            let up = Change::of(Target::Index(link.index)).mac([2, 0x42, 10, 9, 8, 7]).up(true);
            let address = Address { link: link.index, addr, prefix: 24 };
            socket.run(&[up.request(), netlink::add_address(address)]).expect("set up");
        })
        .expect("namespace");
        let joined = join(netns.as_fd(), "eth0", None, None).expect("joins");
        assert_eq!(joined.nic.mac, [2, 0x42, 10, 9, 8, 7]);
        assert_eq!(joined.mtu, 1400);
        let (links, addresses) = sys::netns::within(netns.as_fd(), || {
            let mut socket = Socket::open().expect("socket");
            let links = netlink::links(&mut socket).expect("links");
            (links, Address::all(&mut socket).expect("addresses"))
        })
        .expect("enters");
        let named = |name: &str| links.iter().find(|link| link.name.starts_with(name));
        let bridge = named("vmbr").expect("bridge");
        for port in ["eth0", "vmtap"] {
            let port = named(port).expect("port");
            assert_eq!(port.master, Some(bridge.index), "{port:?}");
            assert_eq!((port.up, port.mtu), (true, 1400), "{port:?}");
            assert_ne!(port.mac, Some([2, 0x42, 10, 9, 8, 7]));
        }
        assert!(bridge.up);
        assert_eq!(addresses, [], "the namespace itself speaks");
        turn_back(&other, &joined.nic);
        let again = join(netns.as_fd(), "eth1", None, None).expect_err("no such link");
        assert!(matches!(again, Error::Join(JoinError::NoLink(_))), "{again}");
    }

    /// A broadcast of the guest's comes back from the host's bridge, and an answer still arrives.
    fn turn_back(outside: &OwnedFd, guest: &Nic) {
        let neighbour = sys::netns::within(outside.as_fd(), || {
            let mut socket = Socket::open().expect("socket");
            let tap = sys::tap::create("peer").expect("tap");
            socket.run(&[netlink::add_bridge("br", None)]).expect("bridge");
            let bridge = netlink::link_named(&mut socket, "br").expect("asks").expect("bridge");
            let port =
                |name| Change::of(Target::Name(name)).master(bridge.index).up(true).request();
            let requests = [
                Change::of(Target::Index(bridge.index)).up(true).request(),
                port("outside"),
                netlink::hairpin_port(Target::Name("outside")),
                port("peer"),
            ];
            socket.run(&requests).expect("joined");
            tap
        })
        .expect("enters");
        let frame = |to: [u8; 6], from: [u8; 6], what: u8| {
            // A `virtio_net_hdr` that says nothing, and an experimental protocol.
            [&[0; 10][..], &to, &from, &[0x88, 0xb5], &[what; 46]].concat()
        };
        let send = |tap: &OwnedFd, frame: &[u8]| {
            sys::stream::write(tap, frame).expect("sent");
        };
        let arrives = |tap: &OwnedFd, frame: &[u8]| {
            let until = std::time::Instant::now() + std::time::Duration::from_secs(5);
            while std::time::Instant::now() < until {
                let mut read = Vec::with_capacity(2048);
                match sys::stream::read(tap, &mut read) {
                    Ok(_) if read.get(10..) == frame.get(10..) => return true,
                    Ok(_) => {}
                    Err(_) => std::thread::sleep(std::time::Duration::from_millis(10)),
                }
            }
            false
        };
        let peer = [2, 0x42, 10, 9, 8, 8];
        let question = frame([0xff; 6], guest.mac, 1);
        // Ports take a moment until they forward.
        let asked = (0..5).any(|_| {
            send(&guest.tap, &question);
            arrives(&neighbour, &question)
        });
        assert!(asked, "the guest's broadcast does not get out");
        assert!(arrives(&guest.tap, &question), "it does not turn back: nothing is tested");
        let answer = frame(guest.mac, peer, 2);
        send(&neighbour, &answer);
        assert!(arrives(&guest.tap, &answer), "the answer is lost");
    }
}
