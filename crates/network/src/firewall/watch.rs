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
    pub(super) fn start(table: &str, firewall: Weak<Inner>) -> io::Result<Watcher> {
        let mut watch = Watch::open(table)?;
        thread::Builder::new().name("nft-watch".to_owned()).stack_size(128 << 10).spawn(
            move || {
                let mut known = false;
                while let Ok(notices) = watch.wait() {
                    let Some(firewall) = firewall.upgrade() else { return };
                    let own = |n: &Notice| matches!(n, Notice::By(p) if firewall.nft.ran_as(*p));
                    if !notices.is_empty() && !known {
                        // The first change is our own. Where its process id is unknown, the
                        // kernel's ids are not those that we see: we are in a pid namespace,
                        // and would take every change of ours for somebody else's.
                        known = notices.iter().any(own);
                        if !known {
                            tracing::warn!("in a pid namespace: nftables is not watched");
                            return;
                        }
                    }
                    let foreign = notices.iter().any(|n| match n {
                        // What came in too fast to be kept was ours if we just wrote.
                        Notice::Lost => firewall.nft.quiet_for() > RECENT,
                        other => !own(other),
                    });
                    if !foreign {
                        continue;
                    }
                    thread::sleep(SETTLE);
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
