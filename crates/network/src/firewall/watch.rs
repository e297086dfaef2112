//! Puts the table back after somebody else changed or flushed it.

use std::io;
use std::sync::Weak;
use std::thread;
use std::time::Duration;

use sys::netlink::{Notice, Watch};

use super::Inner;

/// Listens as long as the firewall lives.
#[derive(Debug)]
pub(super) struct Watcher;

/// A moment for whoever changes rules step by step.
const SETTLE: Duration = Duration::from_millis(100);

/// How long after a run of ours a flood of notices is taken for its echo.
const RECENT: Duration = Duration::from_secs(1);

impl Watcher {
    /// Starts the thread. It ends with the first notice after the firewall is gone, or with the
    /// process.
    pub(super) fn start(table: &str, firewall_of: Weak<Inner>) -> io::Result<Watcher> {
        let mut watch = Watch::open(table)?;
        thread::Builder::new().name("nft-watch".to_owned()).stack_size(128 << 10).spawn(
            move || {
                while let Ok(notices) = watch.wait() {
                    let Some(firewall) = firewall_of.upgrade() else { return };
                    let (mut lost, mut foreign) = (false, false);
                    for notice in &notices {
                        match notice {
                            Notice::Lost => lost = true,
                            Notice::By(port) => {
                                foreign |=
                                    firewall.port != Some(*port) && !firewall.nft.ran_as(*port);
                            }
                        }
                    }
                    // What came in too fast to be kept may have been ours if we just wrote. Then
                    // only a table that has gone is noticed: writing it is what makes the flood.
                    let own_flood = firewall.nft.quiet_for() < RECENT;
                    if lost && own_flood && !foreign {
                        foreign = match firewall.write_if_gone() {
                            Ok(written) => {
                                if written {
                                    tracing::warn!("our nftables table was gone: written anew");
                                }
                                false
                            }
                            Err(_) => true,
                        };
                    } else if lost {
                        foreign = true;
                    }
                    if !foreign {
                        continue;
                    }
                    // Not held meanwhile: one that goes away in this moment repairs nothing any more.
                    drop(firewall);
                    thread::sleep(SETTLE);
                    let Some(firewall) = firewall_of.upgrade() else { return };
                    match firewall.write() {
                        Ok(()) => {
                            tracing::warn!("somebody changed our nftables table: written anew")
                        }
                        Err(e) => tracing::error!("our nftables table cannot be repaired: {e}"),
                    }
                }
            },
        )?;
        Ok(Watcher)
    }
}
