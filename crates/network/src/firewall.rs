//! Our nftables table: address translation, published ports, the walls between networks and between
//! containers. The kernel keeps it as two, one of each family that sees the packets in question.
//!
//! ```text
//! table inet isopod
//!   strange      containers cannot address or claim to be 127.0.0.0/8, nor ask for the metadata
//!                of the machine, nor claim an address that is not routed to their bridge
//!   prerouting ┐
//!   output     ┴► published   maps (protocol, [address,] port) → (container's address, port)
//!   postrouting  masquerade: host's loopback → container, hairpin, container → elsewhere
//!   forward      answers; within a network; published; nothing else towards a container
//! table bridge isopod
//!   guard        what comes in by a container's port comes from that container
//! ```
//!
//! Networks and ports are elements of sets and maps, so the number of rules never grows and a
//! change is a transaction of a few elements, that goes to the kernel by netlink; `nft` is started
//! when the whole table is written. Nothing outside the table is read or written. Another
//! firewall's `drop` wins over our `accept`, as always in nftables: where one drops forwarded
//! traffic by default, it has to let the bridges through itself.
//!
//! What should be in the kernel is kept in memory. Whenever the kernel's table does not fit (it
//! was flushed, or a change failed half-way) the whole table is written again, in one transaction.

mod element;
mod guard;
mod nft;
mod published;
mod ruleset;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sys::netlink::{Elements, Family};

use crate::error::{Error, Result};
use crate::model::Endpoint;
use crate::sysctl;
use element::Step;
use guard::Guard;
use published::Published;
pub(crate) use ruleset::BridgeRules;
use ruleset::{Ruleset, Verb};

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
    turn: Mutex<Turn>,
    nft: nft::Nft,
    /// The number of the socket of `turn`.
    port: Option<u32>,
}

/// Whose turn it is to change what is in the kernel.
#[derive(Debug)]
struct Turn {
    /// `false`: the kernel's table has to be written as a whole.
    written: bool,
    /// `None`: the kernel has no nftables, and `nft` will say so.
    kernel: Option<Elements>,
}

/// A change of the table.
#[derive(Debug)]
struct Job {
    steps: Vec<Step>,
    done: Mutex<Option<Result<()>>>,
}

impl Firewall {
    /// Nothing is written yet. It is about the network namespace of the calling thread.
    pub(crate) fn new(table: &str) -> Firewall {
        let kernel = Elements::open().ok();
        let inner = Arc::new(Inner {
            wanted: Mutex::new(Ruleset {
                table: table.to_owned(),
                bridges: BTreeMap::new(),
                ports: BTreeSet::new(),
                guards: BTreeMap::new(),
                loopback6: !sysctl::ipv6_bridges_are_filtered(),
            }),
            queue: Mutex::default(),
            port: kernel.as_ref().map(Elements::port),
            turn: Mutex::new(Turn { written: false, kernel }),
            nft: nft::Nft::default(),
        });
        Firewall { inner, _watch: None }
    }

    /// Notes the ports and, on a network that is guarded, the addresses of an endpoint that is in
    /// use already, for the next [`Firewall::write`].
    pub(crate) fn note_endpoint(&self, endpoint: &Endpoint, guarded: bool, talks: bool) {
        let mut wanted = lock(&self.inner.wanted);
        wanted.ports.extend(Published::of(endpoint));
        if guarded && !endpoint.host_link.is_empty() {
            wanted.guards.insert(endpoint.host_link.clone(), Guard::of(endpoint, talks));
        }
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
        let steps = Step::all(Verb::Add, rules.elements(link));
        lock(&self.inner.wanted).bridges.insert(link.to_owned(), rules);
        self.inner.commit(steps).inspect_err(|_| {
            lock(&self.inner.wanted).bridges.remove(link);
        })
    }

    /// Forgets networks.
    pub(crate) fn remove_bridges(&self, links: &[&str]) -> Result<()> {
        let mut elements = Vec::new();
        {
            let mut wanted = lock(&self.inner.wanted);
            for link in links {
                let rules = wanted.bridges.remove(*link);
                elements.extend(rules.iter().flat_map(|rules| rules.elements(link)));
            }
        }
        // Those of a set in one message.
        elements.sort_by_key(|element| element.set);
        self.inner.commit(Step::all(Verb::Delete, elements))
    }

    /// Opens an endpoint's ports: one transaction, together with those of others who ask now.
    pub(crate) fn publish(&self, endpoint: &Endpoint) -> Result<()> {
        // It changes when somebody loads br_netfilter, or sets it.
        let loopback6 = !sysctl::ipv6_bridges_are_filtered();
        if std::mem::replace(&mut lock(&self.inner.wanted).loopback6, loopback6) != loopback6 {
            lock(&self.inner.turn).written = false;
        }
        self.exchange(&[], &Published::of(endpoint))
    }

    /// Closes an endpoint's ports. Ports that are not open are left out.
    pub(crate) fn unpublish(&self, endpoint: &Endpoint) -> Result<()> {
        self.exchange(&Published::of(endpoint), &[])
    }

    /// Closes the ports that an endpoint had and opens those that it has, in the same moment. Those
    /// that it had and has stay as they are.
    pub(crate) fn republish(&self, before: &Endpoint, now: &Endpoint) -> Result<()> {
        self.exchange(&Published::of(before), &Published::of(now))
    }

    fn exchange(&self, old: &[Published], new: &[Published]) -> Result<()> {
        let (closed, opened) = {
            let mut wanted = lock(&self.inner.wanted);
            let closed: Vec<Published> = old
                .iter()
                .filter(|p| !new.contains(p) && wanted.ports.remove(p))
                .copied()
                .collect();
            wanted.ports.extend(new);
            // Also those that were open: an element that is there may be put in again.
            let opened: Vec<Published> = new.iter().filter(|p| !old.contains(p)).copied().collect();
            (closed, opened)
        };
        let mut steps = Step::all(Verb::Delete, published::elements(&closed));
        steps.extend(Step::all(Verb::Add, published::elements(&opened)));
        self.inner.commit(steps).inspect_err(|_| {
            let mut wanted = lock(&self.inner.wanted);
            wanted.ports.retain(|p| !opened.contains(p));
        })
    }

    /// From now on what comes in by a port comes from this endpoint, or not in.
    pub(crate) fn guard(&self, link: &str, endpoint: &Endpoint, talks: bool) -> Result<()> {
        let guard = Guard::of(endpoint, talks);
        let steps = Step::all(Verb::Add, guard.elements(link));
        lock(&self.inner.wanted).guards.insert(link.to_owned(), guard);
        self.inner.commit(steps).inspect_err(|_| {
            lock(&self.inner.wanted).guards.remove(link);
        })
    }

    /// Whoever finds out that links have gone.
    pub(crate) fn guards(&self) -> Guards {
        Guards(Arc::clone(&self.inner))
    }

    /// Removes the table. An absent one is as good.
    pub(crate) fn remove(&self) -> Result<()> {
        let mut turn = lock(&self.inner.turn);
        turn.written = false;
        let text = lock(&self.inner.wanted).removal();
        self.inner.nft.run(&text)
    }
}

/// What is known of the ports of containers.
#[derive(Debug)]
pub(crate) struct Guards(Arc<Inner>);

impl Guards {
    /// Forgets a port that has gone.
    pub(crate) fn forget(&self, link: &str) -> Result<()> {
        let Some(guard) = lock(&self.0.wanted).guards.remove(link) else { return Ok(()) };
        self.0.commit(Step::all(Verb::Delete, guard.elements(link)))
    }
}

impl Inner {
    fn write(&self) -> Result<()> {
        self.write_in_turn(&mut lock(&self.turn))
    }

    fn write_in_turn(&self, turn: &mut Turn) -> Result<()> {
        turn.written = false;
        let text = lock(&self.wanted).whole();
        self.nft.run(&text)?;
        turn.written = true;
        Ok(())
    }

    /// Writes the table if it is gone.
    fn write_if_gone(&self) -> Result<bool> {
        let mut turn = lock(&self.turn);
        let table = lock(&self.wanted).table.clone();
        let Some(kernel) = &mut turn.kernel else { return Ok(false) };
        let there = [Family::Inet, Family::Bridge]
            .into_iter()
            .all(|family| kernel.has_table(family, &table).unwrap_or(false));
        if there {
            return Ok(false);
        }
        self.write_in_turn(&mut turn).map(|()| true)
    }

    /// Has a change made. Whoever gets the turn makes the changes of all who wait, because a
    /// transaction costs nearly the same for one and for a hundred.
    fn commit(&self, steps: Vec<Step>) -> Result<()> {
        if steps.is_empty() {
            return Ok(());
        }
        let job = Arc::new(Job { steps, done: Mutex::new(None) });
        lock(&self.queue).push(job.clone());
        let mut turn = lock(&self.turn);
        if let Some(result) = lock(&job.done).take() {
            return result;
        }
        let jobs = std::mem::take(&mut *lock(&self.queue));
        self.make(&jobs, &mut turn);
        lock(&job.done).take().unwrap_or(Ok(()))
    }

    fn make(&self, jobs: &[Arc<Job>], turn: &mut Turn) {
        if turn.written && self.try_steps(jobs, turn) {
            jobs.iter().for_each(|j| *lock(&j.done) = Some(Ok(())));
            return;
        }
        // Not yet written, or it is not as it should be: what is wanted is in memory, with the
        // changes of all who wait.
        let whole = self.write_in_turn(turn);
        for job in jobs {
            let result = match &whole {
                Ok(()) => Ok(()),
                Err(e) => Err(copy(e)),
            };
            *lock(&job.done) = Some(result);
        }
    }

    fn try_steps(&self, jobs: &[Arc<Job>], turn: &mut Turn) -> bool {
        let Some(kernel) = &mut turn.kernel else { return false };
        let table = lock(&self.wanted).table.clone();
        let steps: Vec<Step> = jobs.iter().flat_map(|job| job.steps.iter().cloned()).collect();
        element::run(kernel, &table, &steps).is_ok()
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

/// A poisoned lock guards plain values that are valid after every statement.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
