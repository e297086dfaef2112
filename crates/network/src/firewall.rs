//! One nftables table: address translation, published ports and the walls between networks.
//!
//! ```text
//! table inet isopod
//!   raw          containers cannot address or claim to be 127.0.0.0/8
//!   spoof        containers cannot claim an address that is not routed to their bridge
//!   prerouting ┐
//!   output     ┴► published   maps (protocol, [address,] port) → (container's address, port)
//!   postrouting  masquerade: host's loopback → container, hairpin, container → elsewhere
//!   forward      answers; within a network; published; nothing else towards a container
//! ```
//!
//! Networks and ports are elements of sets and maps, so the number of rules never grows and a
//! change is a transaction of one line. Nothing outside the table is read or written. Another
//! firewall's `drop` wins over our `accept`, as always in nftables: where one drops forwarded
//! traffic by default, it has to let the bridges through itself.
//!
//! What should be in the kernel is kept in memory. Whenever the kernel's table does not fit (it
//! was flushed, or a change failed half-way) the whole table is written again, in one transaction.

mod nft;
mod ruleset;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};
use crate::model::{BoundPort, Endpoint};
pub(crate) use ruleset::BridgeRules;
use ruleset::{Published, Ruleset, Verb};

/// The table and what should be in it.
#[derive(Debug)]
pub(crate) struct Firewall {
    inner: Arc<Inner>,
    _watch: Option<watch::Watcher>,
}

#[derive(Debug)]
struct Inner {
    wanted: Mutex<Ruleset>,
    /// Changes that wait for their turn; whoever has it takes all with it.
    queue: Mutex<Vec<Arc<Job>>>,
    /// Whose turn it is; `false`: the kernel's table has to be written as a whole.
    turn: Mutex<bool>,
    nft: nft::Nft,
}

#[derive(Debug)]
struct Job {
    text: String,
    done: Mutex<Option<Result<()>>>,
}

impl Firewall {
    /// Nothing is written yet.
    pub(crate) fn new(table: &str) -> Firewall {
        let inner = Arc::new(Inner {
            wanted: Mutex::new(Ruleset {
                table: table.to_owned(),
                bridges: BTreeMap::new(),
                ports: BTreeSet::new(),
            }),
            queue: Mutex::default(),
            turn: Mutex::new(false),
            nft: nft::Nft::default(),
        });
        Firewall { inner, _watch: None }
    }

    /// Notes ports that are in use already, for the next [`Firewall::write`].
    pub(crate) fn note_ports(&self, endpoint: &Endpoint) {
        lock(&self.inner.wanted).ports.extend(published(endpoint));
    }

    /// Notes a bridge for the next [`Firewall::write`].
    pub(crate) fn note_bridge(&self, link: &str, rules: BridgeRules) {
        lock(&self.inner.wanted).bridges.insert(link.to_owned(), rules);
    }

    /// Writes the whole table.
    pub(crate) fn write(&self) -> Result<()> {
        self.inner.write()
    }

    /// From now on the table is put back when somebody else changes it.
    pub(crate) fn watch(&mut self) -> std::io::Result<()> {
        let inner = Arc::downgrade(&self.inner);
        let table = lock(&self.inner.wanted).table.clone();
        self._watch = Some(watch::Watcher::start(&table, inner)?);
        Ok(())
    }

    /// Lets a network in.
    pub(crate) fn add_bridge(&self, link: &str, rules: BridgeRules) -> Result<()> {
        let text = {
            let mut wanted = lock(&self.inner.wanted);
            let text = wanted.bridge(Verb::Add, link, &rules);
            wanted.bridges.insert(link.to_owned(), rules);
            text
        };
        self.inner.commit(text).inspect_err(|_| {
            lock(&self.inner.wanted).bridges.remove(link);
        })
    }

    /// Forgets a network.
    pub(crate) fn remove_bridge(&self, link: &str) -> Result<()> {
        let text = {
            let mut wanted = lock(&self.inner.wanted);
            let Some(rules) = wanted.bridges.remove(link) else { return Ok(()) };
            wanted.bridge(Verb::Delete, link, &rules)
        };
        self.inner.commit(text)
    }

    /// Opens an endpoint's ports: one transaction, together with those of others who ask now.
    pub(crate) fn publish(&self, endpoint: &Endpoint) -> Result<()> {
        let ports = published(endpoint);
        if ports.is_empty() {
            return Ok(());
        }
        let text = {
            let mut wanted = lock(&self.inner.wanted);
            wanted.ports.extend(ports.iter().copied());
            wanted.ports(Verb::Add, &ports)
        };
        self.inner.commit(text).inspect_err(|_| {
            let mut wanted = lock(&self.inner.wanted);
            wanted.ports.retain(|p| !ports.contains(p));
        })
    }

    /// Closes an endpoint's ports. Ports that are not open are left out.
    pub(crate) fn unpublish(&self, endpoint: &Endpoint) -> Result<()> {
        let text = {
            let mut wanted = lock(&self.inner.wanted);
            let mut ports = published(endpoint);
            ports.retain(|p| wanted.ports.remove(p));
            if ports.is_empty() {
                return Ok(());
            }
            wanted.ports(Verb::Delete, &ports)
        };
        self.inner.commit(text)
    }

    /// Removes the table. An absent one is as good.
    pub(crate) fn remove(&self) -> Result<()> {
        let mut written = lock(&self.inner.turn);
        *written = false;
        let text = lock(&self.inner.wanted).removal();
        self.inner.nft.run(&text)
    }
}

impl Inner {
    fn write(&self) -> Result<()> {
        let mut written = lock(&self.turn);
        self.write_in_turn(&mut written)
    }

    fn write_in_turn(&self, written: &mut bool) -> Result<()> {
        *written = false;
        let text = lock(&self.wanted).whole();
        self.nft.run(&text)?;
        *written = true;
        Ok(())
    }

    /// Has a change made. Whoever gets the turn makes the changes of all who wait, because an
    /// `nft` costs the same for one line and for a hundred.
    fn commit(&self, text: String) -> Result<()> {
        let job = Arc::new(Job { text, done: Mutex::new(None) });
        lock(&self.queue).push(job.clone());
        let mut written = lock(&self.turn);
        if let Some(result) = lock(&job.done).take() {
            return result;
        }
        let jobs = std::mem::take(&mut *lock(&self.queue));
        self.make(&jobs, &mut written);
        lock(&job.done).take().unwrap_or(Ok(()))
    }

    fn make(&self, jobs: &[Arc<Job>], written: &mut bool) {
        if *written {
            let all: String = jobs.iter().map(|j| j.text.as_str()).collect();
            if self.nft.run(&all).is_ok() {
                jobs.iter().for_each(|j| *lock(&j.done) = Some(Ok(())));
                return;
            }
        }
        // Not yet written, or it is not as it should be: what is wanted is in memory, with the
        // changes of all who wait.
        let whole = self.write_in_turn(written);
        for job in jobs {
            let result = match &whole {
                Ok(()) => Ok(()),
                Err(e) => Err(copy(e)),
            };
            *lock(&job.done) = Some(result);
        }
    }
}

/// An error of `nft` for another who waited for the same run.
fn copy(e: &Error) -> Error {
    match e {
        Error::NftMissing => Error::NftMissing,
        Error::NftRun(io) => Error::NftRun(match io.raw_os_error() {
            Some(errno) => std::io::Error::from_raw_os_error(errno),
            None => io.kind().into(),
        }),
        other => Error::NftRefused(other.to_string()),
    }
}

/// The elements for an endpoint's ports.
fn published(endpoint: &Endpoint) -> Vec<Published> {
    let to = |p: &BoundPort| {
        let inside = if p.host_ip.is_ipv4() { endpoint.ipv4 } else { endpoint.ipv6 }?;
        Some(Published {
            protocol: p.protocol,
            host: SocketAddr::new(p.host_ip, p.host_port),
            inside: SocketAddr::new(inside.addr(), p.container_port),
        })
    };
    endpoint.ports.iter().filter_map(to).collect()
}

/// A poisoned lock guards plain values that are valid after every statement.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
