//! What `/proc/net/dev` says.

use std::collections::BTreeMap;

use super::InterfaceStats;

/// Parses `/proc/net/dev`: two lines of headings, then a line an interface with eight columns for
/// each direction. `lo` is left out.
pub fn interfaces(text: &str) -> BTreeMap<String, InterfaceStats> {
    text.lines()
        .skip(2)
        .filter_map(|line| {
            let (name, columns) = line.rsplit_once(':')?;
            let columns: Vec<u64> =
                columns.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect();
            let [rx, tx] = [columns.get(..8)?, columns.get(8..16)?];
            let stats = InterfaceStats {
                rx_bytes: rx[0],
                rx_packets: rx[1],
                rx_errors: rx[2],
                rx_dropped: rx[3],
                tx_bytes: tx[0],
                tx_packets: tx[1],
                tx_errors: tx[2],
                tx_dropped: tx[3],
            };
            let name = name.trim();
            (name != "lo").then(|| (name.to_owned(), stats))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_read_but_for_loopback() {
        let text = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 99 1 0 0 0 0 0 0 99 1 0 0 0 0 0 0
  eth0:1234567890123 7 1 2 0 0 0 0 42 3 4 5 0 0 0 0
eth0:1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16
 short: 1 2 3
";
        let found = interfaces(text);
        assert_eq!(found.keys().collect::<Vec<_>>(), ["eth0", "eth0:1"]);
        let expected = InterfaceStats {
            rx_bytes: 1_234_567_890_123,
            rx_packets: 7,
            rx_errors: 1,
            rx_dropped: 2,
            tx_bytes: 42,
            tx_packets: 3,
            tx_errors: 4,
            tx_dropped: 5,
        };
        assert_eq!(found["eth0"], expected);
    }
}
