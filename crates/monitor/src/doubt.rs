//! Things that cannot be told apart at once, and are looked at again a little later.

use std::time::{Duration, Instant};

use crate::monitor::Monitor;

/// A process closes its sockets one after the other when it is killed; so long that takes.
const DAEMON_DEATH: Duration = Duration::from_millis(300);

/// When to look again for a kill after memory ran out: the v1 event comes *before* the kernel
/// chooses whom to kill (`mem_cgroup_oom_notify`), and the count rises only after that.
const OOM_KILL: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(1000)];

/// What is to be looked at again.
#[derive(Debug, Default)]
pub(crate) struct Doubts {
    /// The container's input has lost its writer. If that was a client, its input has ended, as
    /// it would have with Docker. If the whole daemon has died, the container shall not notice:
    /// then these connections, which were open at that moment, are gone as well.
    input: Option<(Instant, Vec<u32>)>,
    /// Memory ran out: when to look next, and how often more.
    oom: Option<(Instant, usize)>,
}

impl Doubts {
    /// When the next one is to be looked at.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let input = self.input.as_ref().map(|(at, _)| *at);
        input.into_iter().chain(self.oom.map(|(at, _)| at)).min()
    }
}

impl Monitor<'_> {
    /// Looks at what was in doubt.
    pub(crate) fn resolve_doubts(&mut self, now: Instant) {
        for exec in &mut self.execs {
            exec.end_orphaned_input();
        }
        if self.streams.take_orphaned() {
            let open = self.connections.iter().map(|connection| connection.number).collect();
            self.doubts.input = Some((now + DAEMON_DEATH, open));
        }
        if let Some((_, open)) = self.doubts.input.take_if(|(at, _)| now >= *at)
            && self.connections.iter().any(|connection| open.contains(&connection.number))
        {
            self.streams.close_stdin();
        }
        if let Some((_, round)) = self.doubts.oom.take_if(|(at, _)| now >= *at) {
            self.look_for_oom(now, round);
        }
    }

    /// Notes, and tells, that the kernel killed for want of memory. Looks again later when it has
    /// not yet, until all rounds are over.
    pub(crate) fn look_for_oom(&mut self, now: Instant, round: usize) {
        let Some(cgroup) = &self.cgroup else { return };
        let kills = cgroup.oom_kills();
        if kills > self.oom_kills {
            self.oom_kills = kills;
            self.tell(proto::control::Notice::OutOfMemory);
        } else if let Some(delay) = OOM_KILL.get(round) {
            self.doubts.oom = Some((now + *delay, round + 1));
        }
    }
}
