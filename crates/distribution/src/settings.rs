//! What a client is told about registries and the way to them.

use std::path::PathBuf;
use std::time::Duration;

use crate::proxy::Proxies;

/// How registries are reached.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Registries whose certificates are not checked and that may speak plain HTTP: `host`,
    /// `host:port`, or networks such as `10.0.0.0/8`. Loopback addresses always are.
    pub insecure: Vec<String>,
    /// Asked before Docker Hub, in this order, whenever something is pulled from it: URLs.
    pub mirrors: Vec<String>,
    /// Directories with one directory for each `host[:port]`, which holds `*.crt` (authorities)
    /// and pairs `*.cert` and `*.key` (who we are).
    pub certs_dirs: Vec<PathBuf>,
    /// Proxies on the way to registries.
    pub proxies: Proxies,
    /// What requests say of themselves.
    pub user_agent: String,
    /// How often a request or an interrupted download is tried, the first time included.
    pub attempts: u32,
    /// How long a connection may take to come about, TLS included.
    pub connect_timeout: Duration,
    /// How long the other side may say nothing at all.
    pub idle_timeout: Duration,
    /// The wait before the second attempt; it doubles with each one.
    pub first_delay: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            insecure: Vec::new(),
            mirrors: Vec::new(),
            certs_dirs: vec!["/etc/isopod/certs.d".into(), "/etc/docker/certs.d".into()],
            proxies: Proxies::default(),
            user_agent: concat!("isopod/", env!("CARGO_PKG_VERSION")).to_owned(),
            attempts: 5,
            connect_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
            first_delay: Duration::from_millis(500),
        }
    }
}
