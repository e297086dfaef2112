//! An address with its prefix length.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An IP address and the length of its network prefix, such as `172.17.0.1/16`.
///
/// The host bits are kept: a gateway's `172.17.0.1/16` and its network `172.17.0.0/16` are both
/// values of this type, and [`Cidr::network`] turns the first into the second.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cidr {
    addr: IpAddr,
    prefix: u8,
}

/// The text is not an address with a prefix length.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid CIDR address: {0}")]
pub struct CidrError(pub String);

impl Cidr {
    /// `None` if `prefix` is longer than the address.
    pub const fn new(addr: IpAddr, prefix: u8) -> Option<Cidr> {
        let max = if addr.is_ipv4() { 32 } else { 128 };
        if prefix > max { None } else { Some(Cidr { addr, prefix }) }
    }

    /// A network of IPv4; prefixes over 32 count as 32.
    pub const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Cidr {
        let prefix = if prefix > 32 { 32 } else { prefix };
        Cidr { addr: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix }
    }

    /// A network of IPv6; prefixes over 128 count as 128.
    pub const fn v6(addr: Ipv6Addr, prefix: u8) -> Cidr {
        let prefix = if prefix > 128 { 128 } else { prefix };
        Cidr { addr: IpAddr::V6(addr), prefix }
    }

    /// The address, host bits and all.
    pub const fn addr(&self) -> IpAddr {
        self.addr
    }

    /// The length of the network prefix in bits.
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }

    /// 32 or 128.
    pub const fn bits(&self) -> u8 {
        if self.addr.is_ipv4() { 32 } else { 128 }
    }

    /// Whether this is IPv4.
    pub const fn is_v4(&self) -> bool {
        self.addr.is_ipv4()
    }

    /// The same network with the host bits cleared.
    pub fn network(&self) -> Cidr {
        Cidr { addr: from_number(self.number() & !self.host_mask(), self.is_v4()), ..*self }
    }

    /// The number of host bits' highest value: `0xffff` for a /16 of IPv4.
    pub(crate) fn host_mask(&self) -> u128 {
        let host = u32::from(self.bits() - self.prefix);
        if host == 128 { u128::MAX } else { (1u128 << host) - 1 }
    }

    /// The address as a number.
    pub(crate) fn number(&self) -> u128 {
        to_number(self.addr)
    }

    /// The address `offset` places after the first one of the network; `None` outside it.
    pub(crate) fn nth(&self, offset: u128) -> Option<IpAddr> {
        let mask = self.host_mask();
        (offset <= mask).then(|| from_number((self.number() & !mask) + offset, self.is_v4()))
    }

    /// How many places after the first address of the network `addr` is; `None` outside it.
    pub(crate) fn offset_of(&self, addr: IpAddr) -> Option<u128> {
        self.contains(addr).then(|| to_number(addr) & self.host_mask())
    }

    /// Whether `addr` is of this network.
    pub fn contains(&self, addr: IpAddr) -> bool {
        addr.is_ipv4() == self.is_v4()
            && to_number(addr) & !self.host_mask() == self.number() & !self.host_mask()
    }

    /// Whether the two networks have an address in common.
    pub fn overlaps(&self, other: &Cidr) -> bool {
        let wider = if self.prefix <= other.prefix { self } else { other };
        self.is_v4() == other.is_v4() && wider.contains(self.addr) && wider.contains(other.addr)
    }

    /// Whether every address of `other` is one of this network.
    pub fn covers(&self, other: &Cidr) -> bool {
        self.prefix <= other.prefix && self.contains(other.addr)
    }

    /// The last address of the network (broadcast for IPv4).
    pub fn last(&self) -> IpAddr {
        from_number(self.number() | self.host_mask(), self.is_v4())
    }
}

fn to_number(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(a) => u128::from(u32::from(a)),
        IpAddr::V6(a) => u128::from(a),
    }
}

fn from_number(n: u128, v4: bool) -> IpAddr {
    // An IPv4 number never has more than 32 bits: it came from one and was only masked or
    // increased within its own network.
    if v4 { IpAddr::V4(Ipv4Addr::from(n as u32)) } else { IpAddr::V6(Ipv6Addr::from(n)) }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.prefix)
    }
}

impl fmt::Debug for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(s: &str) -> Result<Cidr, CidrError> {
        let bad = || CidrError(s.to_owned());
        let (addr, prefix) = s.split_once('/').ok_or_else(bad)?;
        let addr = addr.parse().map_err(|_| bad())?;
        if prefix.is_empty() || !prefix.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad());
        }
        Cidr::new(addr, prefix.parse().map_err(|_| bad())?).ok_or_else(bad)
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Cidr, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(s: &str) -> Cidr {
        s.parse().unwrap()
    }

    #[test]
    fn text_round_trips_and_bad_text_is_refused() {
        for s in ["172.17.0.1/16", "0.0.0.0/0", "10.0.0.1/32", "fd00::1/64", "::/0"] {
            assert_eq!(cidr(s).to_string(), s);
        }
        for s in ["", "1.2.3.4", "1.2.3.4/33", "1.2.3.4/+8", "1.2.3/8", "fd00::/129", "a/8", "/8"] {
            assert_eq!(s.parse::<Cidr>(), Err(CidrError(s.to_owned())), "{s}");
        }
    }

    #[test]
    fn networks_overlap_as_sets_do() {
        assert!(cidr("172.17.0.0/16").overlaps(&cidr("172.17.3.0/24")));
        assert!(cidr("172.17.3.0/24").overlaps(&cidr("172.16.0.0/12")));
        assert!(!cidr("172.17.0.0/16").overlaps(&cidr("172.18.0.0/16")));
        assert!(!cidr("0.0.0.0/0").overlaps(&cidr("::/0")));
        assert!(cidr("fd00::/8").covers(&cidr("fd12::/64")));
        assert!(!cidr("fd12::/64").covers(&cidr("fd00::/8")));
    }

    #[test]
    fn addresses_of_a_network_are_counted_from_its_first() {
        let net = cidr("172.17.9.9/16");
        assert_eq!(net.network(), cidr("172.17.0.0/16"));
        assert_eq!(net.nth(258), Some("172.17.1.2".parse().unwrap()));
        assert_eq!(net.nth(0x1_0000), None);
        assert_eq!(net.offset_of("172.17.1.2".parse().unwrap()), Some(258));
        assert_eq!(net.offset_of("172.18.1.2".parse().unwrap()), None);
        assert_eq!(net.last(), "172.17.255.255".parse::<IpAddr>().unwrap());
        assert_eq!(cidr("::/0").last(), IpAddr::V6(Ipv6Addr::from(u128::MAX)));
    }
}
