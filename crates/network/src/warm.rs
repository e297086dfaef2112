//! Network namespaces made ahead of the containers that will live in them.
//!
//! ```text
//!           make()                    take()
//! nothing ──────────► ready (≤ target) ──────► a container's
//!                        │ idle for a while, beyond the configured number
//!                        └────────► dropped: the kernel removes namespace and links
//! ```
//!
//! A ready namespace has its loopback link up and `eth0`, up as well but without an address, whose
//! other end is a link of the host that is not yet on any bridge. So what is left for the start is
//! three requests that need no RCU grace period: bridge port, address, route. Both ends are up
//! ahead because the carrier's way from one end to the other takes a work queue of the kernel; a
//! container's first packets would be lost.
//!
//! None of it has a name in a file system, so when the daemon dies, all of it vanishes.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use sys::netlink::{Change, Socket, Target, Veth, add_veth, link_named};

use crate::bridge::{ENODEV, at};
use crate::direct::Direct;
use crate::error::{Error, Result};
use crate::random;
use crate::sysctl;

/// The link inside.
pub(crate) const INSIDE: &str = "eth0";

/// A namespace with its link.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) netns: OwnedFd,
    pub(crate) wire: Wire,
}

/// A veth pair into a namespace, and a socket there.
#[derive(Debug)]
pub(crate) struct Wire {
    /// Of the namespace, not of the host.
    pub(crate) inside: Socket,
    /// Index of the link inside.
    pub(crate) inside_index: u32,
    /// Name of the link inside.
    pub(crate) name: String,
    /// Whether IPv6 is on inside.
    pub(crate) ipv6: bool,
    /// Name of the other end, on the host.
    pub(crate) host_link: String,
    /// Index of the other end, on the host.
    pub(crate) host_index: u32,
    /// Bytes.
    pub(crate) mtu: u32,
}

/// How long after the last start the pool is filled up again: starts go first.
const QUIET: Duration = Duration::from_millis(25);
/// After so long without a start a pool that grew shrinks by one.
const IDLE: Duration = Duration::from_secs(10);

/// The pool.
#[derive(Debug)]
pub(crate) struct Warm {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    least: usize,
    most: usize,
    mtu: u32,
    direct: Option<Arc<Direct>>,
}

#[derive(Debug)]
struct State {
    ready: VecDeque<Ready>,
    target: usize,
    last_take: Instant,
    stop: bool,
}

impl Warm {
    /// Starts filling; with `least` 0 there is no pool and each namespace is made when needed.
    pub(crate) fn start(
        (least, most): (usize, usize),
        mtu: u32,
        direct: Option<Arc<Direct>>,
    ) -> io::Result<Warm> {
        let state = State {
            ready: VecDeque::new(),
            target: least,
            last_take: Instant::now().checked_sub(QUIET).unwrap_or_else(Instant::now),
            stop: false,
        };
        let most = most.max(least);
        let (state, wake) = (Mutex::new(state), Condvar::new());
        let shared = Arc::new(Shared { state, wake, least, most, mtu, direct });
        let thread = if least == 0 {
            None
        } else {
            let shared = shared.clone();
            let fill = move || shared.fill();
            Some(thread::Builder::new().name("warm".to_owned()).stack_size(256 << 10).spawn(fill)?)
        };
        Ok(Warm { shared, thread })
    }

    /// A ready one, or one made on the spot.
    pub(crate) fn take(&self) -> Result<Ready> {
        let found = {
            let mut state = self.shared.lock();
            state.last_take = Instant::now();
            let found = state.ready.pop_front();
            if found.is_none() && self.thread.is_some() {
                state.target = (state.target * 2).min(self.shared.most);
            }
            found
        };
        self.shared.wake.notify_one();
        match found {
            Some(ready) => Ok(ready),
            None => {
                let ready = make(self.shared.mtu)?;
                if let Some(direct) = &self.shared.direct {
                    direct.attach_soon(vec![ready.wire.host_index]);
                }
                Ok(ready)
            }
        }
    }

    /// How many are ready.
    pub(crate) fn len(&self) -> usize {
        self.shared.lock().ready.len()
    }
}

impl Drop for Warm {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // It only ends early by a panic, which has been printed.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fill(&self) {
        let mut trouble = Duration::ZERO;
        while self.wait_for_need(trouble) {
            match make(self.mtu) {
                Ok(ready) => {
                    trouble = Duration::ZERO;
                    let link = ready.wire.host_index;
                    self.lock().ready.push_back(ready);
                    if let Some(direct) = &self.direct {
                        direct.attach(link);
                    }
                }
                Err(e) => {
                    if trouble.is_zero() {
                        tracing::warn!("no namespaces are made ahead for now: {e}");
                    }
                    trouble = (trouble * 2).clamp(Duration::from_secs(1), Duration::from_secs(60));
                }
            }
        }
    }

    /// Waits until one more is needed; `false`: the end.
    fn wait_for_need(&self, trouble: Duration) -> bool {
        let started = Instant::now();
        let mut state = self.lock();
        loop {
            if state.stop {
                return false;
            }
            let quiet = state.last_take.elapsed();
            let wait = if started.elapsed() < trouble {
                trouble - started.elapsed()
            } else if state.ready.len() < state.target {
                // With none left the next start waits for it anyway.
                if state.ready.is_empty() || quiet >= QUIET {
                    return true;
                }
                QUIET - quiet
            } else if state.target > self.least {
                if quiet >= IDLE {
                    state.target -= 1;
                    state.last_take = Instant::now();
                    let extra = state.ready.pop_back();
                    drop(state);
                    drop(extra);
                    state = self.lock();
                    continue;
                }
                IDLE - quiet
            } else {
                Duration::from_secs(3600)
            };
            state = match self.wake.wait_timeout(state, wait) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }
}

fn namespace_error(step: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Namespace { step, source }
}

/// A namespace with nothing but its loopback link, up.
pub(crate) fn make_bare() -> Result<OwnedFd> {
    let (netns, result) = sys::netns::create(|_| furnish().map(drop))
        .map_err(namespace_error("creating a network namespace"))?;
    result.map(|()| netns)
}

/// A namespace with both links.
fn make(mtu: u32) -> Result<Ready> {
    // Opened here, so it is the host's.
    let mut host = Socket::open().map_err(namespace_error("opening a netlink socket"))?;
    let (netns, wire) = sys::netns::create(|netns| {
        let inside = furnish()?;
        wire(&mut host, inside, netns, INSIDE, mtu, false)
    })
    .map_err(namespace_error("creating a network namespace"))?;
    Ok(Ready { netns, wire: wire? })
}

/// In a fresh namespace: loopback up, and the settings that dockerd gives containers, so that
/// they need neither a capability to bind port 80 nor one to ping.
fn furnish() -> Result<Socket> {
    let mut inside = Socket::open().map_err(namespace_error("opening a netlink socket"))?;
    inside
        .run(&[Change::of(Target::Name("lo")).up(true).request()])
        .map_err(at("starting", "lo"))?;
    sysctl::set("net/ipv4/ip_unprivileged_port_start", "0")?;
    sysctl::set("net/ipv4/ping_group_range", "0\t2147483647")?;
    Ok(inside)
}

/// Called inside a namespace: makes a veth pair from the host to it, both ends up, without IPv6
/// inside unless asked.
pub(crate) fn wire(
    host: &mut Socket,
    mut inside: Socket,
    netns: std::os::fd::BorrowedFd<'_>,
    name: &str,
    mtu: u32,
    ipv6: bool,
) -> Result<Wire> {
    let host_link = pair(host, netns, name, mtu)?;
    let up = Change::of(Target::Name(&host_link)).no_link_local().up(true).request();
    host.run(&[up]).map_err(at("starting", &host_link))?;
    match ipv6 {
        true => sysctl::turn_on_ipv6(name)?,
        false => sysctl::set_if_there(&format!("net/ipv6/conf/{name}/disable_ipv6"), "1")?,
    }
    inside
        .run(&[Change::of(Target::Name(name)).up(true).request()])
        .map_err(at("starting", name))?;
    let inside_index = running(&mut inside, name)?;
    let host_index = running(host, &host_link)?;
    let name = name.to_owned();
    Ok(Wire { inside, inside_index, name, ipv6, host_link, host_index, mtu })
}

/// Waits until a link that is up passes packets, and returns its index. A work queue of the kernel
/// turns it on after its other end came up (linkwatch); until then it drops what it is given, and
/// a container's first connection would take a second longer.
fn running(socket: &mut Socket, name: &str) -> Result<u32> {
    const STEP: Duration = Duration::from_micros(500);
    let deadline = Instant::now() + Duration::from_millis(200);
    loop {
        let link = link_named(socket, name).map_err(at("looking for", name))?;
        match link {
            Some(link) if link.running || Instant::now() > deadline => return Ok(link.index),
            Some(_) => thread::sleep(STEP),
            None => {
                let source = io::Error::from_raw_os_error(ENODEV);
                return Err(Error::Namespace { step: "looking for the new link", source });
            }
        }
    }
}

/// A veth pair whose host end has a name that nobody has. Names of links that are going away stay
/// taken until the kernel has waited for RCU, so a name is never made from a container's id.
fn pair(
    host: &mut Socket,
    netns: std::os::fd::BorrowedFd<'_>,
    peer: &str,
    mtu: u32,
) -> Result<String> {
    const EEXIST: i32 = 17;
    let mut attempts = 0;
    loop {
        attempts += 1;
        let name = format!("veth{}", &random::hex(4)?[..7]);
        let veth = Veth { name: &name, peer, peer_netns: netns.as_fd(), mtu, peer_mac: None };
        match host.run(&[add_veth(&veth)]) {
            Ok(()) => return Ok(name),
            // It may also be the name inside that is taken; then another try cannot help.
            Err(e) if e.errno() == Some(EEXIST) && attempts < 5 => {}
            Err(e) => return Err(at("creating veth pair for", peer)(e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn privileged_pool_fills_up_and_grows_under_demand() {
        let warm = Warm::start((2, 8), 1500, None).unwrap();
        let filled = |n: usize| {
            let deadline = Instant::now() + Duration::from_secs(10);
            while warm.len() < n {
                assert!(Instant::now() < deadline, "only {} ready", warm.len());
                thread::sleep(Duration::from_millis(5));
            }
        };
        filled(2);
        let taken: Vec<Ready> = (0..6).map(|_| warm.take().unwrap()).collect();
        let names: std::collections::HashSet<&str> =
            taken.iter().map(|r| r.wire.host_link.as_str()).collect();
        assert_eq!(names.len(), 6);
        assert!(taken.iter().all(|r| r.wire.inside_index > 1));
        // Four of six were not ready, so more are kept now.
        filled(3);
    }
}
