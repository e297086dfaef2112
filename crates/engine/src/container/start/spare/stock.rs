//! Which machines are ready and which are wanted.

use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use network::Sandbox;
use proto::launch::Spare;

use crate::record::MachineSize;

/// So long one is kept that nobody takes.
const KEPT: Duration = Duration::from_secs(5 * 60);

/// When none could be made, nobody tries again for so long.
const PAUSE: Duration = Duration::from_secs(60);

/// What a machine that fits a container is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    /// By Docker's name.
    pub(super) architecture: String,
    pub(super) size: MachineSize,
    /// How many directories and files of the host it is lent.
    pub(super) shares: usize,
}

/// The machines that are ready, and the one that is being made.
#[derive(Debug, Default)]
pub(crate) struct Spares(Mutex<Stock>);

#[derive(Debug, Default)]
struct Stock {
    /// Of one kind, those made last at the end. They are made one after the other.
    machines: Vec<Waiting>,
    /// Of which kind; `None`: nobody has wanted one for long.
    kind: Option<Kind>,
    /// As many are wanted: one more whenever there was none to take, one less whenever one was for
    /// nobody.
    wanted: usize,
    /// Counts them all.
    number: u64,
    /// What was started last.
    last: Option<Kind>,
    not_before: Option<Instant>,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    /// `None`: it has not been ordered yet.
    spare: Option<Ready>,
    /// Its monitor has said so.
    ready: bool,
    until: Instant,
}

/// A machine for whoever has this.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) line: Line,
    /// The network namespace that it is in.
    pub(crate) sandbox: Sandbox,
}

/// The way to its monitor, which takes a launch; without the way the machine goes.
#[derive(Debug)]
pub(crate) struct Line(pub(crate) OwnedFd);

impl Drop for Line {
    fn drop(&mut self) {
        // Whoever listens to it has a descriptor as well. An error: it has gone already.
        let _ = rustix::net::shutdown(&self.0, rustix::net::Shutdown::Both);
    }
}

impl Spares {
    /// Takes one of this kind that is ready, if there is one: the last that was made, so that those
    /// which are too many are left over.
    pub(super) fn take(&self, kind: &Kind, most: usize) -> Option<Ready> {
        let mut stock = crate::lock(&self.0);
        if stock.kind.as_ref() != Some(kind) {
            return None;
        }
        let Some(at) = stock.machines.iter().rposition(|waiting| waiting.ready) else {
            stock.wanted = (stock.wanted + 1).min(most);
            return None;
        };
        stock.machines.remove(at).spare
    }

    /// One of this kind has been started. Those of another kind go when this one was started twice in
    /// a row, or kinds that take turns would have each other's thrown away.
    pub(super) fn started(&self, kind: &Kind) {
        let mut stock = crate::lock(&self.0);
        let again = stock.last.replace(kind.clone()).as_ref() == Some(kind);
        if stock.kind.as_ref() != Some(kind) && (again || stock.kind.is_none()) {
            stock.machines.clear();
            stock.kind = Some(kind.clone());
            stock.wanted = 1;
        }
    }

    /// Has a place for one more, if there are too few and none is being made: its number, and what it
    /// is to be like. Whoever asked makes it, or says that it has failed.
    pub(super) fn reserve(&self) -> Option<(u64, Kind)> {
        let mut stock = crate::lock(&self.0);
        let now = Instant::now();
        let lacks = stock.machines.len() < stock.wanted
            && stock.machines.iter().all(|waiting| waiting.ready)
            && stock.not_before.is_none_or(|at| now >= at);
        let kind = stock.kind.clone().filter(|_| lacks)?;
        stock.number += 1;
        let number = stock.number;
        stock.machines.push(Waiting { number, spare: None, ready: false, until: now + KEPT });
        Some((number, kind))
    }

    /// Keeps the one of a number, unless that is for nobody any more.
    pub(super) fn keep(&self, number: u64, spare: Ready) {
        let mut stock = crate::lock(&self.0);
        if let Some(waiting) = stock.find(number) {
            waiting.spare = Some(spare);
        }
    }

    /// Until when the one of a number stays; `None`: it has gone, or goes now.
    pub(super) fn until(&self, number: u64) -> Option<Instant> {
        let mut stock = crate::lock(&self.0);
        let until = stock.find(number)?.until;
        if until > Instant::now() {
            return Some(until);
        }
        stock.lose(number);
        if stock.machines.is_empty() {
            stock.kind = None;
        }
        None
    }

    /// Hears what the one of a number has to say; `None`: nothing more.
    pub(super) fn hear(&self, number: u64, said: Option<Spare>) {
        let mut stock = crate::lock(&self.0);
        let Some(waiting) = stock.find(number) else { return };
        match said {
            Some(Spare::Ready) => {
                waiting.ready = true;
                return;
            }
            Some(Spare::Failed(error)) => {
                tracing::warn!("no virtual machine can be had ready: {error}");
                stock.not_before = Some(Instant::now() + PAUSE);
            }
            None => tracing::warn!("the virtual machine that was to be ready has gone"),
        }
        // Where one is killed for want of memory, as many would be too many.
        stock.lose(number);
    }
}

impl Stock {
    fn find(&mut self, number: u64) -> Option<&mut Waiting> {
        self.machines.iter_mut().find(|waiting| waiting.number == number)
    }

    /// The one of a number was for nobody.
    fn lose(&mut self, number: u64) {
        self.machines.retain(|waiting| waiting.number != number);
        self.wanted = self.wanted.saturating_sub(1).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::Error;

    fn kind(architecture: &str, cpus: u32) -> Kind {
        let size = MachineSize { memory: 512 << 20, cpus };
        Kind { architecture: architecture.to_owned(), size, shares: 0 }
    }

    /// One that is being made.
    fn kept(spares: &Spares) -> (u64, OwnedFd) {
        let (number, _) = spares.reserve().expect("one is lacking");
        let (socket, theirs) = sys::stream::pair().expect("pair");
        let netns = sys::stream::null().expect("any descriptor");
        spares.keep(number, Ready { line: Line(socket), sandbox: Sandbox::adopt(netns) });
        (number, theirs)
    }

    /// One that is ready.
    fn made(spares: &Spares) -> (u64, OwnedFd) {
        let (number, monitor) = kept(spares);
        spares.hear(number, Some(Spare::Ready));
        (number, monitor)
    }

    /// Whether there is one for a container of a kind.
    fn taken(spares: &Spares, kind: &Kind) -> bool {
        spares.take(kind, 3).is_some()
    }

    fn lacks(spares: &Spares) -> bool {
        let lacking = spares.reserve();
        if let Some((number, _)) = &lacking {
            crate::lock(&spares.0).machines.retain(|waiting| waiting.number != *number);
        }
        lacking.is_some()
    }

    /// The one of a number has been there for as long as it may.
    fn expire(spares: &Spares, number: u64) {
        crate::lock(&spares.0).find(number).expect("it is there").until = Instant::now();
        assert_eq!(spares.until(number), None);
    }

    fn for_one(kind: &Kind) -> Spares {
        let spares = Spares::default();
        assert!(!taken(&spares, kind), "there was none before");
        spares.started(kind);
        spares
    }

    #[test]
    fn one_is_taken_when_it_is_ready_and_fits() {
        let own = kind("amd64", 1);
        let spares = for_one(&own);
        let (number, _monitor) = kept(&spares);
        assert!(spares.reserve().is_none(), "it has a place already");
        assert!(!taken(&spares, &kind("amd64", 2)) && !taken(&spares, &kind("arm64", 1)));
        spares.hear(number, Some(Spare::Ready));
        assert!(!lacks(&spares));
        assert!(!taken(&spares, &kind("amd64", 2)), "it is of another size");
        assert!(!taken(&spares, &kind("arm64", 1)), "it is of another architecture");
        assert!(taken(&spares, &own));
        assert!(!taken(&spares, &own), "it has been taken");
        assert!(lacks(&spares));
    }

    #[test]
    fn one_that_is_being_made_is_for_nobody_yet() {
        let own = kind("amd64", 1);
        let spares = for_one(&own);
        let (number, _) = spares.reserve().expect("a place");
        assert!(spares.reserve().is_none(), "one after the other");
        assert!(!taken(&spares, &own));
        spares.hear(number, Some(Spare::Ready));
        assert!(!taken(&spares, &own), "it was never ordered");
    }

    #[test]
    fn those_of_another_kind_go_when_that_is_started_twice() {
        let (own, other) = (kind("amd64", 1), kind("amd64", 2));
        let spares = for_one(&own);
        let (number, _monitor) = made(&spares);
        assert!(taken(&spares, &own));
        // It is not replaced yet, and stays what is wanted.
        spares.started(&other);
        assert_eq!(spares.reserve().expect("one is lacking").1, own);
        spares.started(&own);
        spares.started(&other);
        assert!(!lacks(&spares), "they take turns");
        spares.started(&other);
        let (next, kind) = spares.reserve().expect("they have changed");
        assert_eq!(kind, other);
        // What was being made of the other kind meanwhile is for nobody.
        let (socket, theirs) = sys::stream::pair().expect("pair");
        let netns = sys::stream::null().expect("any descriptor");
        spares.keep(next - 1, Ready { line: Line(socket), sandbox: Sandbox::adopt(netns) });
        let mut end = Vec::with_capacity(8);
        assert_eq!(sys::stream::receive_now(&theirs, &mut end).expect("closed"), 0);
        assert_eq!(spares.until(number), None);
    }

    #[test]
    fn there_are_as_many_as_were_missed_and_less_when_they_are_for_nobody() {
        let own = kind("amd64", 1);
        let spares = for_one(&own);
        let first = kept(&spares);
        for _ in 0..5 {
            assert!(!taken(&spares, &own));
            spares.started(&own);
        }
        spares.hear(first.0, Some(Spare::Ready));
        let mut monitors = vec![first];
        while lacks(&spares) {
            monitors.push(made(&spares));
        }
        assert_eq!(monitors.len(), 3, "as many as are allowed");
        assert!(taken(&spares, &own));
        assert_eq!(spares.until(monitors[2].0), None, "the last one is taken first");
        monitors.push(made(&spares));
        expire(&spares, monitors[0].0);
        expire(&spares, monitors[1].0);
        assert!(!lacks(&spares), "one is enough again");
        assert!(taken(&spares, &own) && lacks(&spares));
        // Whoever comes when there has been none for long has not missed one.
        let last = made(&spares);
        expire(&spares, last.0);
        assert!(!taken(&spares, &own) && !lacks(&spares));
        spares.started(&own);
        let _last = made(&spares);
        assert!(!lacks(&spares));
    }

    #[test]
    fn one_that_failed_or_went_is_not_taken() {
        let own = kind("amd64", 1);
        let spares = for_one(&own);
        let (number, _monitor) = made(&spares);
        assert!(taken(&spares, &own) && !taken(&spares, &own), "one is missed");
        let (next, _monitor) = made(&spares);
        spares.hear(number, Some(Spare::Ready));
        spares.hear(next, None);
        assert!(!taken(&spares, &own));
        let (next, _monitor) = kept(&spares);
        spares.hear(next, Some(Spare::Failed(Error::system("no room"))));
        assert!(!taken(&spares, &own));
        assert!(!lacks(&spares), "nobody tries again at once");
    }

    #[test]
    fn where_those_that_are_ready_die_fewer_are_wanted() {
        let own = kind("amd64", 1);
        let spares = for_one(&own);
        let first = kept(&spares);
        assert!(!taken(&spares, &own));
        spares.hear(first.0, Some(Spare::Ready));
        let second = kept(&spares);
        spares.hear(first.0, None);
        spares.hear(second.0, Some(Spare::Ready));
        assert!(!lacks(&spares), "the first would be killed again");
    }

    #[test]
    fn one_that_nobody_needs_goes() {
        let spares = for_one(&kind("amd64", 1));
        let (number, monitor) = kept(&spares);
        let until = spares.until(number).expect("it is there");
        assert!(until > Instant::now() + KEPT / 2);
        assert_eq!(spares.until(number + 1), None);
        expire(&spares, number);
        let mut end = Vec::with_capacity(8);
        assert_eq!(sys::stream::receive_now(&monitor, &mut end).expect("closed"), 0);
    }
}
