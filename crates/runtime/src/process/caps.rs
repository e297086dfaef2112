//! Capabilities.

use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities};
use sys::process::Caps;

use crate::channel::Channel;
use crate::create::Asked;
use crate::error::{Context, Error, Result, Step};

/// The five sets, as bit masks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CapPlan {
    bounding: u64,
    effective: u64,
    permitted: u64,
    inheritable: u64,
    ambient: u64,
    /// Those that the user named.
    asked: u64,
}

impl CapPlan {
    /// Reads the specification; no sets at all mean none.
    pub(crate) fn new(caps: Option<&LinuxCapabilities>, asked: &Asked) -> CapPlan {
        let asked = asked.capabilities.iter().fold(0, |mask, cap| mask | 1 << number(*cap));
        let Some(caps) = caps else { return CapPlan { asked, ..CapPlan::default() } };
        CapPlan {
            bounding: mask(caps.bounding()),
            effective: mask(caps.effective()),
            permitted: mask(caps.permitted()),
            inheritable: mask(caps.inheritable()),
            ambient: mask(caps.ambient()),
            asked,
        }
    }

    fn all(&self) -> u64 {
        self.bounding | self.effective | self.permitted | self.inheritable | self.ambient
    }

    /// Takes out of all sets what this process does not have itself, with a warning (or an error
    /// when it was asked for by name), and drops all else from the bounding set.
    pub(crate) fn limit_bounding(&mut self, channel: &Channel) -> Result<()> {
        let own = sys::process::get_caps().context(Step::Capabilities, || "capget")?;
        let missing = self.all() & !own.permitted;
        if missing & self.asked != 0 {
            return Err(Error::because(
                Step::Capabilities,
                format!(
                    "unable to apply caps: {} is not available on this host",
                    names(missing & self.asked)
                ),
            ));
        }
        if missing != 0 {
            channel.warn(&format!("not available on this host and left out: {}", names(missing)));
            for set in [
                &mut self.bounding,
                &mut self.effective,
                &mut self.permitted,
                &mut self.inheritable,
                &mut self.ambient,
            ] {
                *set &= own.permitted;
            }
        }
        for cap in 0..=sys::process::last_cap() {
            // What is not permitted here need not be dropped if it is not bounding either; asking
            // costs as much as dropping.
            if self.bounding & 1 << cap == 0 {
                match sys::process::bounding_drop(cap) {
                    Ok(()) => {}
                    Err(e) => {
                        return Err(e).context(Step::Capabilities, || {
                            format!("cannot drop {} from the bounding set", names(1 << cap))
                        });
                    }
                }
            }
        }
        Ok(())
    }

    /// Makes everything that is permitted effective, for the moment before [`CapPlan::apply`].
    pub(crate) fn raise_all(&self) -> Result<()> {
        let own = sys::process::get_caps().context(Step::Capabilities, || "capget")?;
        let caps = Caps { effective: own.permitted, ..own };
        sys::process::set_caps(caps).context(Step::Capabilities, || "capset")
    }

    /// Sets the sets.
    pub(crate) fn apply(&self) -> Result<()> {
        let caps = Caps {
            effective: self.effective,
            permitted: self.permitted,
            inheritable: self.inheritable,
        };
        sys::process::set_caps(caps).context(Step::Capabilities, || "unable to apply caps")?;
        // An ambient capability needs to be permitted and inheritable; runc too lets others go.
        let ambient = self.ambient & self.permitted & self.inheritable;
        for cap in (0..64).filter(|cap| ambient & 1 << cap != 0) {
            sys::process::ambient_raise(cap).context(Step::Capabilities, || {
                format!("unable to apply ambient {}", names(1 << cap))
            })?;
        }
        Ok(())
    }
}

fn mask(set: &Option<Capabilities>) -> u64 {
    set.iter().flatten().fold(0, |mask, cap| mask | 1 << number(*cap))
}

/// Capabilities in the kernel's order (`include/uapi/linux/capability.h`).
const ORDER: [Capability; 41] = {
    use Capability::*;
    [
        Chown,
        DacOverride,
        DacReadSearch,
        Fowner,
        Fsetid,
        Kill,
        Setgid,
        Setuid,
        Setpcap,
        LinuxImmutable,
        NetBindService,
        NetBroadcast,
        NetAdmin,
        NetRaw,
        IpcLock,
        IpcOwner,
        SysModule,
        SysRawio,
        SysChroot,
        SysPtrace,
        SysPacct,
        SysAdmin,
        SysBoot,
        SysNice,
        SysResource,
        SysTime,
        SysTtyConfig,
        Mknod,
        Lease,
        AuditWrite,
        AuditControl,
        Setfcap,
        MacOverride,
        MacAdmin,
        Syslog,
        WakeAlarm,
        BlockSuspend,
        AuditRead,
        Perfmon,
        Bpf,
        CheckpointRestore,
    ]
};

/// All names, in the kernel's order.
pub(crate) fn capability_names() -> Vec<String> {
    ORDER.iter().map(|cap| format!("CAP_{cap}")).collect()
}

fn number(cap: Capability) -> u32 {
    ORDER.iter().position(|c| *c == cap).unwrap_or(63) as u32
}

fn names(mask: u64) -> String {
    let name =
        |(bit, cap): (usize, &Capability)| (mask & 1 << bit != 0).then(|| format!("CAP_{cap}"));
    let names: Vec<_> = ORDER.iter().enumerate().filter_map(name).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_numbers() {
        assert_eq!(number(Capability::Chown), 0);
        assert_eq!(number(Capability::SysAdmin), 21);
        assert_eq!(number(Capability::SysResource), 24);
        assert_eq!(number(Capability::Setfcap), 31);
        assert_eq!(number(Capability::CheckpointRestore), 40);
        assert_eq!(names(1 << 24 | 1), "CAP_CHOWN, CAP_SYS_RESOURCE");
    }
}
