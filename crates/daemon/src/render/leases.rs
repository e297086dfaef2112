//! Counting the addresses of a subnet.

use std::collections::BTreeSet;
use std::net::IpAddr;

use docker_api::network::SubnetStatus;

/// Addresses that have the first bits in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    /// The first of them.
    pub(super) first: IpAddr,
    /// How many bits they have in common.
    pub(super) prefix: u8,
}

impl Block {
    /// The first and the last as numbers.
    fn bounds(self) -> (u128, u128) {
        let (number, bits) = (number(self.first), if self.first.is_ipv4() { 32 } else { 128 });
        let host = bits - u32::from(self.prefix).min(bits);
        (number, number | 1_u128.checked_shl(host).map_or(u128::MAX, |size| size - 1))
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

/// Counts a subnet's addresses: those in use, with the first, which is the network's own, and of
/// IPv4 the last, which speaks to all; and those that are left in the range they are taken from.
pub(super) fn count(
    subnet: Block,
    range: Block,
    used: impl Iterator<Item = IpAddr>,
) -> SubnetStatus {
    let mut taken: BTreeSet<u128> = used.map(number).collect();
    let (first, last) = subnet.bounds();
    taken.insert(first);
    if subnet.first.is_ipv4() {
        taken.insert(last);
    }
    let (begin, end) = range.bounds();
    let within = u128::try_from(taken.range(begin..=end).count()).unwrap_or(u128::MAX);
    let left = (end - begin).saturating_add(1).saturating_sub(within);
    SubnetStatus {
        ips_in_use: u64::try_from(taken.len()).unwrap_or(u64::MAX),
        dynamic_ips_available: u64::try_from(left).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(subnet: (&str, u8), range: (&str, u8), used: &[&str]) -> (u64, u64) {
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let block = |(first, prefix): (&str, u8)| Block { first: address(first), prefix };
        let found = count(block(subnet), block(range), used.iter().map(|text| address(text)));
        (found.ips_in_use, found.dynamic_ips_available)
    }

    #[test]
    fn addresses_are_counted_as_in_the_specification() {
        let whole = ("172.16.0.0", 16);
        assert_eq!(counted(whole, whole, &["172.16.0.1"]), (3, 65533));
        let half = ("172.16.128.0", 17);
        assert_eq!(counted(whole, half, &["172.16.0.1", "172.16.200.1"]), (4, 32766));
        let six = ("2001:db8::", 64);
        assert_eq!(counted(six, six, &["2001:db8::1"]), (2, u64::MAX - 1));
        let small = ("2001:db8::", 120);
        assert_eq!(counted(small, small, &["2001:db8::1", "2001:db8::1"]), (2, 254));
        assert_eq!(counted(("::", 0), ("::", 0), &[]), (1, u64::MAX));
        assert_eq!(counted(("10.0.0.0", 32), ("10.0.0.0", 32), &["10.0.0.0"]), (1, 0));
    }
}
