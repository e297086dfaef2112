//! From an OCI profile to what each system call of one architecture leads to. The rules of this
//! game are libseccomp's and, where it calls libseccomp, runc's:
//!
//! * a rule whose action is the default action is no rule;
//! * names that the architecture does not have are passed over;
//! * the first rule without conditions settles its call, conditional ones before or after it are
//!   forgotten;
//! * the conditions of a rule must hold all, unless two of them look at the same argument: then each stands for a
//!   rule of its own (older profiles mean "or" by it);
//! * of several conditional rules the first that holds decides.

use std::collections::BTreeMap;

use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator as Operator,
};

use super::Error;
use super::arch::Arch;
use super::syscalls::Call;

/// What a filter returns: `SECCOMP_RET_*` with its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Action(pub(super) u32);

impl Action {
    pub(super) const KILL_THREAD: Action = Action(0);
    pub(super) const ENOSYS: Action = Action(0x0005_0000 | 38);

    /// EPERM is what ERRNO and TRACE carry when nothing is said.
    pub(super) fn new(action: LinuxSeccompAction, data: Option<u32>) -> Result<Action, Error> {
        let data = data.unwrap_or(1);
        // The kernel's MAX_ERRNO: above it, the call would seem to succeed.
        if data > 4095 {
            return Err(Error::Errno(data));
        }
        Ok(Action(match action {
            LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => 0,
            LinuxSeccompAction::ScmpActKillProcess => 0x8000_0000,
            LinuxSeccompAction::ScmpActTrap => 0x0003_0000,
            LinuxSeccompAction::ScmpActErrno => 0x0005_0000 | data,
            LinuxSeccompAction::ScmpActTrace => 0x7ff0_0000 | data,
            LinuxSeccompAction::ScmpActLog => 0x7ffc_0000,
            LinuxSeccompAction::ScmpActAllow => 0x7fff_0000,
            LinuxSeccompAction::ScmpActNotify => return Err(Error::Notify),
        }))
    }

    /// Under such a default a call that nobody knows goes on: allow, log, and trace (the tracer answers).
    fn lets_go_on(self) -> bool {
        self.0 >= 0x7ff0_0000 && self.0 < 0x8000_0000
    }
}

/// `(argument & mask) <operator> value`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) argument: u8,
    pub(super) operator: Operator,
    pub(super) mask: u64,
    pub(super) value: u64,
}

impl Condition {
    fn new(arg: &LinuxSeccompArg) -> Result<Condition, Error> {
        let argument = u8::try_from(arg.index()).ok().filter(|&index| index < 6);
        let argument = argument.ok_or(Error::Argument(arg.index()))?;
        // For the masked comparison the first value is the mask.
        let (mask, value) = match arg.op() {
            Operator::ScmpCmpMaskedEq => (arg.value(), arg.value_two().unwrap_or(0)),
            _ => (u64::MAX, arg.value()),
        };
        Ok(Condition { argument, operator: arg.op(), mask, value })
    }
}

/// What one system call leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Always(Action),
    /// The first row whose conditions all hold; the default if none.
    Depends(Vec<(Vec<Condition>, Action)>),
}

/// One rule of the profile, ready for every architecture.
struct Rule {
    calls: Vec<Call>,
    action: Action,
    alternatives: Vec<Vec<Condition>>,
}

/// A profile, checked.
pub(super) struct Rules {
    pub(super) default: Action,
    /// Those with the default action too.
    rules: Vec<Rule>,
}

impl Rules {
    pub(super) fn new(profile: &LinuxSeccomp) -> Result<Rules, Error> {
        let default = Action::new(profile.default_action(), profile.default_errno_ret())?;
        let mut rules = Vec::new();
        for rule in profile.syscalls().iter().flatten() {
            let action = Action::new(rule.action(), rule.errno_ret())?;
            let args = rule.args().as_deref().unwrap_or_default();
            let conditions: Vec<_> = args.iter().map(Condition::new).collect::<Result<_, _>>()?;
            let calls = rule.names().iter().filter_map(|name| Call::named(name)).collect();
            rules.push(Rule { calls, action, alternatives: alternatives(conditions) });
        }
        Ok(Rules { default, rules })
    }

    /// What each call of the architecture leads to, by number; other calls meet the default.
    pub(super) fn verdicts(&self, arch: Arch) -> BTreeMap<u32, Verdict> {
        let mut verdicts = BTreeMap::new();
        for rule in self.rules.iter().filter(|rule| rule.action != self.default) {
            for call in &rule.calls {
                if let Some(own) = call.number(arch) {
                    for conditions in &rule.alternatives {
                        add(&mut verdicts, own, conditions.clone(), rule.action);
                    }
                }
                // Through the multiplexer the call's number is the first argument. What the rule
                // says of others is kept, as libseccomp does, although the call's own are in memory.
                if let Some((shared, first)) = call.multiplexed(arch) {
                    for conditions in &rule.alternatives {
                        add(&mut verdicts, shared, through(conditions, first), rule.action);
                    }
                }
            }
        }
        verdicts
    }

    /// The highest number that the profile speaks of. A call above it is newer than the profile:
    /// the honest answer is ENOSYS, for C libraries then fall back, and do not on EPERM. `None` where
    /// unknown calls go on anyway, and where the profile names nothing.
    pub(super) fn newest(&self, arch: Arch) -> Option<u32> {
        if self.default.lets_go_on() {
            return None;
        }
        let calls = self.rules.iter().flat_map(|rule| &rule.calls);
        calls.filter_map(|call| call.number(arch)).max()
    }
}

/// The sets of conditions, one of which has to hold.
fn alternatives(conditions: Vec<Condition>) -> Vec<Vec<Condition>> {
    let mut seen = [false; 6];
    let twice = conditions
        .iter()
        .any(|condition| std::mem::replace(&mut seen[usize::from(condition.argument)], true));
    match twice {
        true => conditions.into_iter().map(|condition| vec![condition]).collect(),
        false => vec![conditions],
    }
}

/// The conditions for the multiplexer, whose first argument names the call.
fn through(conditions: &[Condition], call: u64) -> Vec<Condition> {
    let (argument, mask, operator) = (0, u64::MAX, Operator::ScmpCmpEq);
    let this = Condition { argument, operator, mask, value: call };
    let others = conditions.iter().copied().filter(|condition| condition.argument != 0);
    std::iter::once(this).chain(others).collect()
}

fn add(
    verdicts: &mut BTreeMap<u32, Verdict>,
    number: u32,
    conditions: Vec<Condition>,
    action: Action,
) {
    let verdict = verdicts.entry(number).or_insert_with(|| Verdict::Depends(Vec::new()));
    match verdict {
        Verdict::Always(_) => {}
        _ if conditions.is_empty() => *verdict = Verdict::Always(action),
        Verdict::Depends(rows) => {
            if !rows.iter().any(|(known, _)| *known == conditions) {
                rows.push((conditions, action));
            }
        }
    }
}
