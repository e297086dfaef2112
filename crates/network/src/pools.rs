//! Which subnet a network without one gets.

use crate::cidr::Cidr;
use crate::config::Pool;

/// The first block of the pools that has no address in common with anything taken: networks,
/// the host's routes and its name servers.
pub(crate) fn choose(pools: &[Pool], v4: bool, taken: &[Cidr]) -> Option<Cidr> {
    pools.iter().filter(|p| p.base.is_v4() == v4).find_map(|p| first_free(p, taken))
}

/// One walk over the obstacles in the order of their addresses: there may be thousands.
fn first_free(pool: &Pool, taken: &[Cidr]) -> Option<Cidr> {
    let base = pool.base.network();
    if pool.size < base.prefix() || pool.size > base.bits() {
        return None;
    }
    let within = |t: &&Cidr| t.overlaps(&base);
    let mut obstacles: Vec<(u128, u128)> = taken
        .iter()
        .filter(within)
        .map(|t| match base.covers(t) {
            true => (t.network().number(), t.network().number() | t.host_mask()),
            false => (base.number(), base.number() | base.host_mask()),
        })
        .collect();
    obstacles.sort_unstable();
    let size = Cidr::new(base.addr(), pool.size)?.host_mask();
    let mut block = base.number();
    for (first, last) in obstacles {
        if block.checked_add(size)? < first {
            break;
        }
        if last >= block {
            // The first block that begins after the obstacle.
            block = (last | size).checked_add(1)?;
        }
    }
    Cidr::new(base.nth(block.checked_sub(base.number())?)?, pool.size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::default_pools;

    fn cidr(s: &str) -> Cidr {
        s.parse().unwrap()
    }

    #[test]
    fn the_first_is_dockers_unless_a_route_is_there() {
        let pools = default_pools();
        assert_eq!(choose(&pools, true, &[]), Some(cidr("172.17.0.0/16")));
        assert_eq!(choose(&pools, true, &[cidr("172.17.5.0/24")]), Some(cidr("172.18.0.0/16")));
        assert_eq!(choose(&pools, true, &[cidr("172.16.0.0/12")]), Some(cidr("192.168.0.0/20")));
        let home = [cidr("172.16.0.0/12"), cidr("192.168.1.0/24")];
        assert_eq!(choose(&pools, true, &home), Some(cidr("192.168.16.0/20")));
        assert_eq!(choose(&pools, true, &[cidr("0.0.0.0/1"), cidr("128.0.0.0/1")]), None);
        assert_eq!(choose(&pools, false, &[]), None);
    }

    #[test]
    fn four_thousand_networks_find_room() {
        let pools = default_pools();
        let mut taken = vec![cidr("192.0.2.0/24"), cidr("10.255.255.53/32")];
        for i in 0..40 {
            let next = choose(&pools, true, &taken).unwrap_or_else(|| panic!("network {i}"));
            assert!(!taken.iter().any(|t| t.overlaps(&next)));
            taken.push(next);
        }
        // dockerd's 31 first, in its order.
        assert_eq!(taken[2 + 14], cidr("172.31.0.0/16"));
        assert_eq!(taken[2 + 30], cidr("192.168.240.0/20"));
        assert_eq!(taken[2 + 31], cidr("10.192.0.0/24"));
        // All of 10.192.0.0/14 and more, but for one in the middle; then the name server's block.
        taken.extend((9..16383u32).map(|i| {
            let [_, a, b, _] = (i << 8).to_be_bytes();
            Cidr::v4(10, 192 + a, b, 0, 24)
        }));
        let hole = cidr("10.200.7.0/24");
        taken.retain(|t| *t != hole);
        assert_eq!(choose(&pools, true, &taken), Some(hole));
        taken.push(hole);
        assert_eq!(choose(&pools, true, &taken), None);
    }

    #[test]
    fn a_pool_that_makes_no_sense_gives_nothing() {
        let pool = |base: &str, size| Pool { base: cidr(base), size };
        assert_eq!(choose(&[pool("10.0.0.0/16", 8)], true, &[]), None);
        assert_eq!(choose(&[pool("10.0.0.0/16", 33)], true, &[]), None);
        let v6 = pool("fd00::/48", 64);
        assert_eq!(choose(&[v6], false, &[cidr("fd00::/64")]), Some(cidr("fd00:0:0:1::/64")));
        assert_eq!(choose(&[v6], false, &[cidr("fd00::/8")]), None);
    }
}
