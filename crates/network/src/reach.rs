//! What the host reaches without our networks: where its routes lead, what addresses it has, its
//! name servers. No new subnet may cover any of it.
//!
//! ```text
//! kernel's news ──► of a link that is none of ours? ──► all is asked for again, when needed
//! ```
//!
//! With thousands of networks it takes tens of milliseconds to ask, and nearly all of the answer is
//! about our own bridges. So the answer is kept until the kernel tells of a change elsewhere.

use std::collections::HashSet;
use std::{fs, io};

use sys::netlink::{RouteWatch, Socket};

use crate::bridge;
use crate::cidr::Cidr;
use crate::error::Result;
use crate::resolv;

/// What is known of it.
#[derive(Debug)]
pub(crate) struct Reach {
    watch: RouteWatch,
    /// Indices of our bridges, also of those that are gone: the kernel gives none a second time.
    own: HashSet<u32>,
    known: Option<Vec<Cidr>>,
}

impl Reach {
    /// Knows nothing yet. It is about the network namespace of the calling thread.
    pub(crate) fn open() -> io::Result<Reach> {
        Ok(Reach { watch: RouteWatch::open()?, own: HashSet::new(), known: None })
    }

    /// From now on changes of this link are our own.
    pub(crate) fn note(&mut self, bridge: u32) {
        self.own.insert(bridge);
    }

    /// Addresses that no new subnet may cover.
    pub(crate) fn obstacles(&mut self, kernel: &mut Socket) -> Result<Vec<Cidr>> {
        let Reach { watch, own, known } = self;
        let mut foreign = false;
        let heard = watch.news(|link| foreign |= link.is_none_or(|link| !own.contains(&link)));
        // What cannot be heard of has to be looked for.
        let mut all = match known.take().filter(|_| !foreign && heard.is_ok()) {
            Some(all) => all,
            None => bridge::routed(kernel, own)?,
        };
        *known = Some(all.clone());
        all.extend(name_servers());
        Ok(all)
    }
}

/// The name servers that the host asks.
pub(crate) fn name_servers() -> impl Iterator<Item = Cidr> {
    let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let all = resolv::name_servers(&text).into_iter();
    all.filter_map(|a| Cidr::new(a, if a.is_ipv4() { 32 } else { 128 }))
}
