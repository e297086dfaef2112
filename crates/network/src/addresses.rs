//! Who has which address of a subnet.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::cidr::Cidr;
use crate::error::{Error, Result};
use crate::model::{Mac, Subnet};

/// The addresses of one subnet that are in use.
///
/// The next address is looked for after the last one given (next fit), so that an address comes
/// back only when all others have had their turn: what a client, a conntrack entry or a bridge
/// still knows of the old owner has gone by then.
#[derive(Debug)]
pub(crate) struct Addresses {
    subnet: Cidr,
    /// First and last offset that is given to who asks for none in particular.
    first: u128,
    last: u128,
    taken: BTreeSet<u128>,
    /// Offsets of the gateway and auxiliary addresses: never released.
    fixed: BTreeSet<u128>,
    cursor: u128,
}

impl Addresses {
    /// All free but the gateway, the auxiliary addresses, the network's own and broadcast.
    pub(crate) fn new(subnet: &Subnet) -> Addresses {
        let net = subnet.subnet;
        let range = subnet.range.unwrap_or(net);
        let start = net.offset_of(range.addr()).unwrap_or(0) & !range.host_mask();
        let mut first = start;
        let mut last = start + range.host_mask().min(u128::MAX - start);
        if net.bits() - net.prefix() > 1 {
            // Of a subnet with more than two addresses the first names the network (and every
            // router, in IPv6), and the last is the broadcast of IPv4.
            first = first.max(1);
            let reserved = u128::from(net.is_v4());
            last = last.min(net.host_mask() - reserved);
        }
        let fixed: BTreeSet<u128> = std::iter::once(&subnet.gateway)
            .chain(subnet.aux.values())
            .filter_map(|a| net.offset_of(*a))
            .collect();
        Addresses { subnet: net, first, last, taken: fixed.clone(), fixed, cursor: first }
    }

    /// Whether it is an address that a container could have.
    fn usable(&self, addr: IpAddr) -> Option<u128> {
        let offset = self.subnet.offset_of(addr)?;
        let hosts = self.subnet.host_mask();
        let edge = hosts > 1 && (offset == 0 || (self.subnet.is_v4() && offset == hosts));
        (!edge).then_some(offset)
    }

    /// The next free address; `None` when there is none.
    pub(crate) fn allocate(&mut self) -> Option<IpAddr> {
        let found = self
            .free_within(self.cursor, self.last)
            .or_else(|| self.free_within(self.first, self.cursor))?;
        self.taken.insert(found);
        self.cursor = if found == self.last { self.first } else { found + 1 };
        self.subnet.nth(found)
    }

    /// Takes one address, which may lie outside the range.
    pub(crate) fn take(&mut self, addr: IpAddr) -> Result<()> {
        let offset = self.usable(addr).ok_or(Error::AddressOutside(addr))?;
        if self.taken.insert(offset) { Ok(()) } else { Err(Error::AddressTaken(addr)) }
    }

    /// Gives an address back. Nothing happens if nobody had it.
    pub(crate) fn release(&mut self, addr: IpAddr) {
        if let Some(offset) = self.subnet.offset_of(addr)
            && !self.fixed.contains(&offset)
        {
            self.taken.remove(&offset);
        }
    }

    fn free_within(&self, from: u128, to: u128) -> Option<u128> {
        if from > to {
            return None;
        }
        let mut candidate = from;
        for taken in self.taken.range(from..=to) {
            if *taken > candidate {
                break;
            }
            if *taken == to {
                return None;
            }
            candidate = taken + 1;
        }
        Some(candidate)
    }
}

/// The link-layer address that goes with an address: as dockerd makes it up to version 27. An
/// address that is used again has the same one, so no neighbour's cache is ever wrong about it.
pub(crate) fn mac_of(addr: IpAddr) -> Mac {
    let tail: [u8; 4] = match addr {
        IpAddr::V4(a) => a.octets(),
        IpAddr::V6(a) => {
            let [.., w, x, y, z] = a.octets();
            [w, x, y, z]
        }
    };
    Mac([0x02, 0x42, tail[0], tail[1], tail[2], tail[3]])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn addresses(subnet: &str, range: Option<&str>, gateway: &str) -> Addresses {
        Addresses::new(&Subnet {
            subnet: subnet.parse().unwrap(),
            range: range.map(|r| r.parse().unwrap()),
            gateway: gateway.parse().unwrap(),
            aux: BTreeMap::from([("printer".to_owned(), "10.0.0.5".parse().unwrap())]),
        })
    }

    fn ip(s: &str) -> IpAddr {
        s.parse().unwrap()
    }

    #[test]
    fn gateway_and_edges_are_never_given() {
        let mut a = addresses("10.0.0.0/29", None, "10.0.0.1");
        let all: Vec<String> = std::iter::from_fn(|| a.allocate()).map(|a| a.to_string()).collect();
        assert_eq!(all, ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.6"]);
        assert!(matches!(a.take(ip("10.0.0.0")), Err(Error::AddressOutside(_))));
        assert!(matches!(a.take(ip("10.0.0.7")), Err(Error::AddressOutside(_))));
        assert!(matches!(a.take(ip("10.0.0.5")), Err(Error::AddressTaken(_))));
        a.release(ip("10.0.0.1"));
        a.release(ip("10.0.0.5"));
        assert_eq!(a.allocate(), None);
    }

    #[test]
    fn an_address_comes_back_last() {
        let mut a = addresses("10.0.0.0/24", None, "10.0.0.1");
        assert_eq!(a.allocate(), Some(ip("10.0.0.2")));
        a.release(ip("10.0.0.2"));
        for i in (3..=254).filter(|i| *i != 5) {
            assert_eq!(a.allocate(), Some(ip(&format!("10.0.0.{i}"))));
        }
        assert_eq!(a.allocate(), Some(ip("10.0.0.2")));
        assert_eq!(a.allocate(), None);
    }

    #[test]
    fn a_range_limits_what_is_given_but_not_what_can_be_asked_for() {
        let mut a = addresses("10.0.0.0/16", Some("10.0.7.0/30"), "10.0.0.1");
        let all: Vec<String> = std::iter::from_fn(|| a.allocate()).map(|a| a.to_string()).collect();
        assert_eq!(all, ["10.0.7.0", "10.0.7.1", "10.0.7.2", "10.0.7.3"]);
        a.take(ip("10.0.9.9")).unwrap();
        assert!(matches!(a.take(ip("10.0.9.9")), Err(Error::AddressTaken(_))));
    }

    #[test]
    fn small_and_huge_subnets_work() {
        let mut a = addresses("10.9.0.0/31", None, "10.9.0.0");
        assert_eq!(a.allocate(), Some(ip("10.9.0.1")));
        assert_eq!(a.allocate(), None);
        let mut a = addresses("fd00::/64", None, "fd00::1");
        assert_eq!(a.allocate(), Some(ip("fd00::2")));
        let mut a = addresses("::/0", None, "::1");
        assert_eq!(a.allocate(), Some(ip("::2")));
    }

    #[test]
    fn macs_follow_addresses() {
        assert_eq!(mac_of(ip("172.17.0.2")).to_string(), "02:42:ac:11:00:02");
    }

    proptest! {
        /// Whatever is taken, allocated and released in whatever order: nobody gets what another
        /// has, and only a full subnet refuses.
        #[test]
        fn no_address_is_given_twice(ops in prop::collection::vec((0u8..4, 0u8..=255), 1..400)) {
            let mut a = addresses("10.0.0.0/26", None, "10.0.0.1");
            let mut held: BTreeSet<IpAddr> = BTreeSet::new();
            for (op, n) in ops {
                let addr = ip(&format!("10.0.0.{}", n % 64));
                match op {
                    0 | 1 => match a.allocate() {
                        Some(new) => {
                            prop_assert!(held.insert(new), "{new} twice");
                            prop_assert!(!["10.0.0.0", "10.0.0.1", "10.0.0.5", "10.0.0.63"]
                                .contains(&new.to_string().as_str()));
                        }
                        // 64 less network, broadcast, gateway and the auxiliary one.
                        None => prop_assert_eq!(held.len(), 60),
                    },
                    2 => {
                        if a.take(addr).is_ok() {
                            prop_assert!(held.insert(addr));
                        }
                    }
                    _ => {
                        a.release(addr);
                        held.remove(&addr);
                    }
                }
            }
        }
    }
}
