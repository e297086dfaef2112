//! The systemd driver.

use thiserror::Error as ThisError;

/// What can go wrong while talking to systemd.
#[derive(Debug, ThisError)]
pub enum Error {
    /// The host's init is not systemd.
    #[error("systemd is not running on this host: cannot use the systemd cgroup driver, use cgroupfs")]
    NotRunning,
}
