//! The fork: one `clone3` with everything new, or two when something must be joined first.
//!
//! A pid namespace that is joined takes in children only. Where nothing else asks for two steps,
//! this process names it as the one of its next child, and takes that back.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;

use sys::fs::OFlags;
use sys::namespace::{self, Kinds};
use sys::process::{CloneOptions, Forked, clone3};

use crate::cgroup::Cgroup;
use crate::channel::{Channel, Report};
use crate::error::{Context, Error, Result, Step};
use crate::namespaces::join_all;

/// What the new process shall be born into.
pub(crate) struct Spawn<'a> {
    /// Kinds to make.
    pub new: Kinds,
    /// Descriptors to join (namespace files or pidfds) with the kinds meant.
    pub join: Vec<(OwnedFd, Kinds)>,
    /// The cgroup to be in from the first moment.
    pub cgroup: &'a Cgroup,
    /// For `/proc/self/timens_offsets`, with a new time namespace.
    pub time_offsets: Option<String>,
    /// Nobody in the joined namespaces may look into the process before its `execve`.
    pub hidden: bool,
    /// Run in the first new process when it is in its cgroup and has joined nothing yet.
    pub before_join: &'a dyn Fn(&Channel) -> Result<()>,
}

/// Which process this is now.
#[derive(Debug)]
pub(crate) enum Side {
    /// The new one: everything of [`Spawn`] is in place but the id maps.
    Child(Channel),
    /// The old one.
    Parent(Child),
}

/// The new process as its parent sees it.
#[derive(Debug)]
pub(crate) struct Child {
    pub pid: i32,
    pub pidfd: OwnedFd,
    pub channel: Channel,
}

impl Child {
    /// Ends the process and reaps it, after a failure.
    pub(crate) fn destroy(&self) {
        let _ = sys::process::pidfd_signal(&self.pidfd, 9);
        let _ = sys::process::wait_pidfd(&self.pidfd);
    }
}

impl Spawn<'_> {
    /// Whether an intermediate process is needed: a time namespace takes in children only, what is
    /// made after joining a user namespace belongs to that, and after *making* one there are no
    /// rights left to join others.
    fn two_steps(&self) -> bool {
        let joined = self.join.iter().fold(0, |all, (_, kinds)| all | kinds);
        joined & (namespace::USER | namespace::TIME) != 0
            || self.new & namespace::TIME != 0
            || (self.new & namespace::USER != 0 && joined != 0)
    }

    /// Forks.
    pub(crate) fn run(self) -> Result<Side> {
        let (ours, theirs) =
            Channel::pair().context(Step::Prepare, || "cannot make a socket pair")?;
        let joiner = self.cgroup.joiner()?;
        let two_steps = self.two_steps();
        // Not CGROUP: the root of a new cgroup namespace is where the *parent* is at clone time,
        // so the child makes it after it has moved (kernel/cgroup/namespace.c: copy_cgroup_ns).
        let at_birth =
            if two_steps { 0 } else { self.new & !(namespace::CGROUP | namespace::TIME) };
        let options =
            CloneOptions { namespaces: at_birth, cgroup: self.cgroup.v2_fd(), sibling: false };
        let adopted = if two_steps { None } else { self.adopt_pid_namespace()? };
        let forked = clone3(&options).context(Step::Clone, || clone_failed(at_birth));
        let returned = match (&forked, adopted) {
            (Ok(Forked::Child), _) | (_, None) => Ok(()),
            (_, Some(adopted)) => adopted.give_back(),
        };
        match forked? {
            Forked::Child => {
                drop(ours);
                let made = self.be_born(&joiner, two_steps, &theirs);
                drop(joiner);
                match made {
                    Ok(true) => Ok(Side::Child(theirs)),
                    Ok(false) => sys::process::exit_now(0),
                    Err(error) => {
                        theirs.fail(&error);
                        sys::process::exit_now(1)
                    }
                }
            }
            Forked::Parent { pid, pidfd } => {
                drop(theirs);
                let child = Child { pid, pidfd, channel: ours };
                if let Err(error) = returned {
                    child.destroy();
                    return Err(error);
                }
                Ok(Side::Parent(if two_steps { adopt(child)? } else { child }))
            }
        }
    }

    /// Makes the pid namespace that is to be joined that of the next child.
    fn adopt_pid_namespace(&self) -> Result<Option<Adopted>> {
        let Some((target, _)) = self.join.iter().find(|(_, kinds)| kinds & namespace::PID != 0)
        else {
            return Ok(None);
        };
        let own = sys::fs::open_host("/proc/self/ns/pid", OFlags::RDONLY | OFlags::CLOEXEC)
            .context(Step::Namespace, || "cannot open the own pid namespace")?;
        // A child inherits this, so it is hidden from the moment it can be seen in there.
        let dumpable = self.hidden
            && sys::process::is_dumpable().context(Step::Privileges, || "cannot hide")?;
        if dumpable {
            sys::process::set_dumpable(false).context(Step::Privileges, || "cannot hide")?;
        }
        let joined = namespace::join(target, namespace::PID)
            .context(Step::Namespace, || "cannot join the pid namespace");
        let adopted = Adopted { own, dumpable };
        match joined {
            Ok(()) => Ok(Some(adopted)),
            Err(error) => adopted.give_back().and(Err(error)),
        }
    }

    /// In the child, or in the intermediate process and then the child; false in the intermediate
    /// process, which has nothing more to do.
    fn be_born(
        &self,
        joiner: &crate::cgroup::Joiner,
        two_steps: bool,
        channel: &Channel,
    ) -> Result<bool> {
        joiner.join().context(Step::Cgroup, || "cannot join the container's cgroup")?;
        (self.before_join)(channel)?;
        if self.hidden {
            // Joining a pid namespace makes this copy of the runtime visible in there.
            sys::process::set_dumpable(false).context(Step::Privileges, || "cannot hide")?;
        }
        // Born into its pid namespace already, unless there are two steps.
        join_all(&self.join, if two_steps { 0 } else { namespace::PID })?;
        if two_steps {
            if self.new & namespace::TIME != 0 {
                self.make_time_namespace()?;
            }
            let namespaces = self.new & !(namespace::CGROUP | namespace::TIME);
            let options = CloneOptions { namespaces, cgroup: None, sibling: true };
            let (told, untold) =
                sys::stream::pipe().context(Step::Clone, || "cannot make a pipe")?;
            match clone3(&options).context(Step::Clone, || clone_failed(namespaces))? {
                Forked::Child => {
                    drop(untold);
                    // Both write to one channel, and who this is has to be said before all else.
                    let waited = File::from(told).read(&mut [0]);
                    waited.context(Step::Clone, || "cannot wait for the pid's report")?;
                }
                Forked::Parent { pid, .. } => {
                    channel.tell_pid(pid).context(Step::Clone, || "cannot report the pid")?;
                    // The pipe is closed with this process, which ends now.
                    return Ok(false);
                }
            }
        }
        if self.new & namespace::CGROUP != 0 {
            namespace::unshare(namespace::CGROUP)
                .context(Step::Namespace, || "cannot make a cgroup namespace")?;
        }
        Ok(true)
    }

    fn make_time_namespace(&self) -> Result<()> {
        namespace::unshare(namespace::TIME)
            .context(Step::Namespace, || "cannot make a time namespace")?;
        if let Some(offsets) = &self.time_offsets {
            sys::fs::write_file("/proc/self/timens_offsets", offsets)
                .context(Step::Namespace, || "cannot set the time offsets")?;
        }
        Ok(())
    }
}

/// A pid namespace for one child, and what this process was before.
struct Adopted {
    own: OwnedFd,
    dumpable: bool,
}

impl Adopted {
    /// Further children are of the own pid namespace again.
    fn give_back(self) -> Result<()> {
        if self.dumpable {
            sys::process::set_dumpable(true).context(Step::Privileges, || "cannot show again")?;
        }
        namespace::join(&self.own, namespace::PID)
            .context(Step::Namespace, || "cannot return to the own pid namespace")
    }
}

/// Waits for the intermediate process to hand over the real one, which is a child of ours too.
fn adopt(intermediate: Child) -> Result<Child> {
    let report = intermediate.channel.report();
    let reaped = |error: Error| {
        intermediate.destroy();
        error
    };
    let report = report
        .map_err(|e| reaped(Error::at(Step::Clone, "cannot hear from the new process", e)))?;
    match report {
        Report::Pid(pid) => {
            let pidfd = sys::process::pidfd_open(pid)
                .map_err(|e| reaped(Error::at(Step::Clone, "cannot open the new process", e)))?;
            let _ = sys::process::wait_pidfd(&intermediate.pidfd);
            Ok(Child { pid, pidfd, channel: intermediate.channel })
        }
        Report::Failed(error) => Err(reaped(error)),
        _ => {
            let how = sys::process::wait_pidfd(&intermediate.pidfd);
            Err(Error::Died(how.map_or("unknown".into(), |exit| format!("{exit:?}"))))
        }
    }
}

fn clone_failed(kinds: Kinds) -> String {
    if kinds & namespace::USER != 0 {
        "cannot create the container's process (is the limit /proc/sys/user/max_user_namespaces \
         reached?)"
            .into()
    } else {
        "cannot create the container's process".into()
    }
}
