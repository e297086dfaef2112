//! A machine that is ready before anybody needs it.
//!
//! ```text
//!  clone a template ─► run a container of no meaning ─► forget it ─► wait
//!  or boot (shares)                                                   │ Launch
//!              monitor of a container ◄─ disks, card, shares, cgroup ─┘
//! ```
//!
//! An emulated processor translates every piece of code when it is executed first, and keeps the
//! translation: what a start costs in a clone is mostly that. It has been paid here. The process that
//! waits becomes the monitor of the container that gets the machine.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, OwnedFd};

use proto::frame::MAX_LEN;
use proto::guest::{self, FromGuest, Interface, Notice, Reply, Request};
use proto::launch::{self, Launch};
use relay::Part;
use sys::poll::{Interest, Poll};
use sys::stream::FrameReader;
use types::Error;
use vm::Disk;
use vm::network::Loose;

use super::Guest;
use super::start::{self, CREATE, StartError, introduce, options, share, without_devices};
use crate::launcher::{MAX_FDS, Prepared};
use crate::log::Log;
use crate::monitor;

/// The machine, and its card.
#[derive(Debug)]
pub(crate) struct Spare {
    pub(super) guest: Guest,
    pub(super) card: Loose,
    /// The name of the template that it is a clone of.
    template: String,
}

/// What something has happened to while it waits.
#[derive(Clone, Copy)]
enum Token {
    Orders,
    Link(Part),
    Console,
    Process,
}

/// In a freshly forked process: has a machine ready until an order for it comes, and is then the
/// monitor of its container. Returns the exit status.
pub(crate) fn stand_by(launch: &Launch, fds: Vec<OwnedFd>, prepared: &Prepared) -> i32 {
    let mut fds = fds.into_iter();
    let (Some(orders), Some(netns)) = (fds.next(), fds.next()) else { return 2 };
    let tell = |spare: &launch::Spare| {
        proto::frame::encode(spare)
            .is_ok_and(|bytes| crate::reap::send_all(&orders, &bytes).is_ok())
    };
    let mut spare = match prepare(launch, netns) {
        Ok(spare) => spare,
        Err(error) => {
            // Somebody who does not want to know is no failure.
            tell(&launch::Spare::Failed(error.into()));
            return 1;
        }
    };
    let order = if tell(&launch::Spare::Ready) {
        // Only now, for whoever sees the name takes it that the engine knows of it. Without the name
        // it serves as well.
        drop(sys::process::set_name(c"isopod-spare"));
        spare.wait(&orders)
    } else {
        None
    };
    match order {
        // A monitor stays when the launcher goes with its daemon.
        Some((launch, fds)) if sys::process::outlive_parent().is_ok() => {
            drop(orders);
            monitor::run(launch, fds, prepared, Some(spare))
        }
        _ => {
            spare.guest.switch_off();
            0
        }
    }
}

fn prepare(launch: &Launch, netns: OwnedFd) -> Result<Spare, StartError> {
    // Without a daemon nobody needs a machine that is not even ready.
    sys::process::die_with_parent()?;
    // The launcher has its children reaped by the kernel.
    sys::signal::default(sys::signal::SIGCHLD)?;
    sys::process::set_name(c"isopod-warming")?;
    let Some(machine) = &launch.machine else { return Err(StartError::NoMachine) };
    let agent = vm::kernel::agent(&start::wanted(machine)?).map_err(vm::Error::from)?;
    let mut wanted = without_devices(machine)?;
    let card = Loose::create(netns.as_fd())?;
    let disks = vm::rehearsal::disks(&machine.state, &wanted.kernel, agent)?;
    wanted.nics = vec![card.nic()?];
    wanted.netns = Some(netns);
    // Containers that run go first.
    let options = options(machine, None, &|| weigh("self", 10));
    let template = vm::template::name(&wanted, &options)?;
    let cloned = wanted.shares.is_empty();
    let running = if cloned {
        wanted.disks = disks;
        vm::start(wanted, &options)?
    } else {
        let mut running = vm::start_with_places(wanted, &options)?;
        for (n, disk) in disks.iter().enumerate() {
            running.replace_disk(n, disk)?;
        }
        running
    };
    let mut spare = Spare { guest: Guest::new(running)?, card, template };
    let ready = match &spare.guest.running.origin {
        vm::Origin::Cold { why } if cloned => {
            Err(StartError::NoTemplate(why.clone().unwrap_or_default()))
        }
        _ => spare.guest.rehearse(launch),
    };
    match ready {
        Ok(()) => Ok(spare),
        Err(error) => {
            spare.guest.switch_off();
            Err(error)
        }
    }
}

impl Guest {
    /// Runs a container of no meaning to its end.
    fn rehearse(&mut self, launch: &Launch) -> Result<(), StartError> {
        let card = Interface {
            name: "eth0".to_owned(),
            mac: [0x02, 0x42, 198, 18, 0, 2],
            mtu: 1500,
            // From a block that is for measurements (RFC 2544).
            addresses: vec![(IpAddr::V4(Ipv4Addr::new(198, 18, 0, 2)), 16)],
            gateways: vec![IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1))],
            on_link: Vec::new(),
            sysctls: Vec::new(),
        };
        let (streams, _) = introduce(self, launch, vec![card], Log::default(), || Ok(()))?;
        // Nobody reads what it writes.
        drop(streams);
        let start = self.request(Request::Start)?;
        let mut started = false;
        self.converse(CREATE, |message| match message {
            FromGuest::Reply { number, result } if number == start && !started => {
                started = true;
                result.map_err(|failure| StartError::Refused(failure.error))?;
                Ok(false)
            }
            FromGuest::Notice(Notice::Exited { exit_code: 0 }) if started => Ok(true),
            FromGuest::Notice(Notice::Exited { exit_code }) => {
                Err(StartError::Rehearsal(exit_code))
            }
            _ => Err(guest::Violation::Order("a message").into()),
        })?;
        let forget = self.request(Request::Forget)?;
        self.converse(CREATE, |message| match message {
            FromGuest::Reply { number, result: Ok(Reply::Done) } if number == forget => Ok(true),
            FromGuest::Reply { result: Err(failure), .. } => {
                Err(StartError::Refused(failure.error))
            }
            _ => Err(guest::Violation::Order("a message").into()),
        })
    }
}

impl Spare {
    /// Waits for an order. `None`: nobody will give one.
    fn wait(&mut self, orders: &OwnedFd) -> Option<(Launch, Vec<OwnedFd>)> {
        let mut reader = FrameReader::new(MAX_LEN, MAX_FDS);
        let mut poll = Poll::default();
        let mut ready = Vec::new();
        loop {
            poll.clear();
            poll.add(Token::Orders, orders, Interest::READ);
            poll.add(Token::Process, &self.guest.running.pidfd, Interest::READ);
            self.guest.link.register(&mut poll, Token::Link);
            if !self.guest.running.console.ended() {
                poll.add(Token::Console, &self.guest.running.console, Interest::READ);
            }
            poll.wait(None, &mut ready).ok()?;
            for (token, what) in ready.drain(..) {
                match token {
                    Token::Orders => return read(&mut reader, orders),
                    Token::Process => return self.last(&mut reader, orders),
                    Token::Console => self.guest.listen(),
                    // It has nothing to say; its end is heard here first.
                    Token::Link(part) => {
                        if self.guest.link.ready(part, what).is_err() {
                            return self.last(&mut reader, orders);
                        }
                    }
                }
            }
        }
    }

    /// The machine has ended, or is of no use: whoever sends an order from now on is told; one that has
    /// come is followed, in another machine.
    fn last(
        &mut self,
        reader: &mut FrameReader,
        orders: &OwnedFd,
    ) -> Option<(Launch, Vec<OwnedFd>)> {
        self.guest.switch_off();
        sys::stream::close_read(orders).ok()?;
        read(reader, orders)
    }

    /// Gives the machine the disks of a container, and what it is lent. `None`: it cannot have them, or
    /// is not what would be started now, and another one is.
    pub(super) fn equip(mut self, machine: &launch::Machine, disks: &[Disk]) -> Option<Self> {
        let current = is_current(&self.template, machine);
        let running = &mut self.guest.running;
        let mut disks = disks.iter().enumerate();
        let mut shares = machine.shares.iter().map(share).enumerate();
        if current
            && machine.shares.len() == running.helpers.len()
            && machine.interfaces.len() <= 1
            && disks.all(|(n, disk)| running.replace_disk(n, disk).is_ok())
            && shares.all(|(n, share)| running.lend(n, &share).is_ok())
            // What serves a share is a child of the one that waits for its end: it has to come along.
            && running.helpers.iter().all(|(pid, _)| !sys::process::children(*pid).is_empty())
            && self.guest.processes().iter().all(|pid| weigh(&pid.to_string(), 0).is_ok())
        {
            return Some(self);
        }
        self.guest.switch_off();
        None
    }
}

/// What the threads of a process's session count beside others, as `nice(1)` has it (sched(7),
/// autogrouping). A kernel that does not know sessions treats all alike.
fn weigh(process: &str, nice: i32) -> std::io::Result<()> {
    match sys::fs::write_file(format!("/proc/{process}/autogroup"), nice.to_string()) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Whether a machine like this one would be a clone of that template: kernel, agent and QEMU may have
/// been replaced while it waited. When that cannot be found out, the start says why.
fn is_current(template: &str, machine: &launch::Machine) -> bool {
    let name = without_devices(machine)
        .and_then(|wanted| Ok(vm::template::name(&wanted, &options(machine, None, &|| Ok(())))?));
    name.is_ok_and(|name| name == template)
}

fn read(reader: &mut FrameReader, orders: &OwnedFd) -> Option<(Launch, Vec<OwnedFd>)> {
    let frame = reader.read(orders).ok()??;
    Some((serde_json::from_slice(&frame.body).ok()?, frame.fds))
}

impl From<Error> for StartError {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}
