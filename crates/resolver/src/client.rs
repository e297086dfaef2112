//! A container, as one who asks.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use proto::names::{Container, Descriptors, Server};

use crate::slab::Key;

/// How long a server that did not answer is asked last.
const SHUNNED: Duration = Duration::from_secs(20);

/// A container, as one who asks.
#[derive(Debug, Default)]
pub(crate) struct Client {
    pub(crate) id: String,
    /// Where it asks; `None` before the sockets have come.
    pub(crate) listening: Option<Listening>,
    /// Readable when it has ended.
    pub(crate) process: Option<OwnedFd>,
    /// Unused sockets of its namespace.
    pub(crate) unused: Unused,
    pub(crate) servers: Vec<Asked>,
    pub(crate) forwards: bool,
    pub(crate) keeps_short: bool,
    /// How many questions of it are with name servers.
    pub(crate) flights: usize,
    /// Those of them that wait for an unused socket.
    pub(crate) waiting: VecDeque<Key>,
    /// Its connections, the oldest first.
    pub(crate) streams: VecDeque<Key>,
}

/// Where a container asks.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) datagrams: OwnedFd,
    pub(crate) connections: OwnedFd,
}

/// A name server, and how it behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) server: Server,
    /// It did not answer; until then others are asked first.
    pub(crate) shunned: Option<Instant>,
}

/// Sockets that were made in the container's namespace and are bound to nothing.
#[derive(Debug, Default)]
pub(crate) struct Unused {
    kinds: [Vec<OwnedFd>; 4],
}

impl Unused {
    /// Those for addresses of IPv6 or IPv4, for TCP or UDP.
    pub(crate) fn of(&mut self, ipv6: bool, stream: bool) -> &mut Vec<OwnedFd> {
        &mut self.kinds[usize::from(ipv6) * 2 + usize::from(stream)]
    }
}

impl Client {
    /// Takes over what the engine says of it, but for what comes in descriptors.
    pub(crate) fn learn(&mut self, container: &Container) {
        self.id.clone_from(&container.id);
        self.forwards = container.forwards;
        self.keeps_short = container.keeps_short;
        let known = std::mem::take(&mut self.servers);
        self.servers = container
            .servers
            .iter()
            .map(|server| {
                let before = known.iter().find(|asked| asked.server == *server);
                before.copied().unwrap_or(Asked { server: *server, shunned: None })
            })
            .collect();
    }

    /// Takes the sockets that came with a message, which are as many as it counts.
    pub(crate) fn equip(&mut self, counts: Descriptors, fds: Vec<OwnedFd>) -> bool {
        let mut fds = fds.into_iter();
        let (Some(datagrams), Some(connections)) = (fds.next(), fds.next()) else { return false };
        self.listening = Some(Listening { datagrams, connections });
        let mut take = |count: usize| -> Vec<OwnedFd> { fds.by_ref().take(count).collect() };
        let kinds = [counts.udp4, counts.tcp4, counts.udp6, counts.tcp6];
        self.unused = Unused { kinds: kinds.map(&mut take) };
        for socket in self.unused.kinds.iter().flatten() {
            // A resolver that was killed may have been asking with it.
            let _ = rustix::net::connect_unspec(socket);
        }
        true
    }

    /// The order in which its servers are asked, by their numbers: who did not answer lately comes
    /// last. One alone gets a second chance.
    pub(crate) fn order(&self, now: Instant) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.servers.len()).collect();
        order.sort_by_key(|number| self.servers[*number].shunned.is_some_and(|until| until > now));
        order.truncate(ATTEMPTS);
        if let [only] = order[..] {
            order.push(only);
        }
        order
    }

    /// Notes that a server did not answer, or that it did.
    pub(crate) fn judge(&mut self, number: usize, server: Server, answered: bool) {
        if let Some(asked) = self.servers.get_mut(number)
            && asked.server == server
        {
            asked.shunned = (!answered).then(|| Instant::now() + SHUNNED);
        }
    }
}

/// How many servers are asked for one question: as many as resolv.conf(5) may name.
const ATTEMPTS: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_did_not_answer_is_asked_last() {
        let server = |last: u8| Server { address: ([10, 0, 0, last], 53).into(), inside: false };
        let container =
            Container { servers: (1..=4).map(server).collect(), ..Container::default() };
        let mut client = Client::default();
        client.learn(&container);
        let now = Instant::now();
        assert_eq!(client.order(now), [0, 1, 2]);
        client.judge(0, server(1), false);
        assert_eq!(client.order(now), [1, 2, 3]);
        // What is said again changes nothing; a server that comes back is asked in its turn.
        client.learn(&container);
        assert_eq!(client.order(now), [1, 2, 3]);
        client.judge(0, server(1), true);
        assert_eq!(client.order(now), [0, 1, 2]);
        client.judge(0, server(9), false);
        assert_eq!(client.order(now), [0, 1, 2]);
        client.learn(&Container { servers: vec![server(1)], ..container });
        assert_eq!(client.order(now), [0, 0]);
        assert!(Client::default().order(now).is_empty());
    }
}
