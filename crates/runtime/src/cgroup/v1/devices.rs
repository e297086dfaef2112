//! v1 devices: a default and a set of exceptions, changed through `devices.allow` and
//! `devices.deny`.
//!
//! What is there now is read first and only the difference is written, so that a live update never
//! shuts a running process out for a moment.

use std::collections::BTreeMap;

use crate::cgroup::devices::{Access, Devices, Kind, Policy};
use crate::cgroup::plan::{Step, write};
use crate::cgroup::{Error, Missing};

/// The kernel's view: exceptions are the opposite of the default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct State {
    allow: bool,
    exceptions: BTreeMap<Devices, Access>,
}

/// `list` is the text of `devices.list`.
pub(in crate::cgroup) fn plan(policy: &Policy, list: &str) -> Result<Vec<Step>, Error> {
    let (now, target) = (State::parse(list), State::of(policy)?);
    let mut steps = Vec::new();
    // devices.list does not show the exceptions of an allowing default: start over from there. That opens, and
    // never shuts, anything for a moment.
    let known = if now.allow != target.allow || (now.allow && !target.exceptions.is_empty()) {
        steps.push(write(file(target.allow), "a", Missing::Devices).into());
        State { allow: target.allow, exceptions: BTreeMap::new() }
    } else {
        now
    };
    let line = |devices: &Devices, access: Access| {
        let kind = if devices.kind == Kind::Block { 'b' } else { 'c' };
        let number = |n: Option<u32>| n.map_or("*".to_owned(), |n| n.to_string());
        format!("{kind} {}:{} {access}", number(devices.major), number(devices.minor))
    };
    for (devices, &access) in &target.exceptions {
        let have = known.exceptions.get(devices).map_or(0, |access| access.0);
        if access.0 & !have != 0 {
            steps.push(write(file(!target.allow), line(devices, access), Missing::Devices).into());
        }
    }
    for (devices, &access) in &known.exceptions {
        let keep = target.exceptions.get(devices).map_or(0, |access| access.0);
        let drop = Access(access.0 & !keep);
        if drop.0 != 0 {
            steps.push(write(file(target.allow), line(devices, drop), Missing::Devices).into());
        }
    }
    Ok(steps)
}

fn file(allow: bool) -> &'static str {
    if allow { "devices.allow" } else { "devices.deny" }
}

impl State {
    fn parse(list: &str) -> State {
        let mut state = State::default();
        for line in list.lines() {
            let mut words = line.split([' ', ':']);
            let (kind, major, minor) = (words.next(), words.next(), words.next());
            let access = words.next().and_then(Access::parse).unwrap_or(Access(0));
            let kind = match kind {
                Some("a") => {
                    state.allow = true;
                    continue;
                }
                Some("b") => Kind::Block,
                Some("c") => Kind::Char,
                _ => continue,
            };
            let number = |text: Option<&str>| text.and_then(|text| text.parse().ok());
            let devices = Devices { kind, major: number(major), minor: number(minor) };
            state.exceptions.insert(devices, access);
        }
        state
    }

    /// Plays the rules in their order on the kernel's model.
    fn of(policy: &Policy) -> Result<State, Error> {
        let mut state = State { allow: policy.allow, exceptions: BTreeMap::new() };
        for rule in &policy.rules {
            if rule.allow == policy.allow {
                state.take_back(rule.devices, rule.access)?;
            } else {
                let access = state.exceptions.entry(rule.devices).or_insert(Access(0));
                access.0 |= rule.access.0;
            }
        }
        Ok(state)
    }

    /// The kernel only takes back exceptions with the very same numbers; a hole in a wider one cannot
    /// be expressed, and pretending would leave a device open.
    fn take_back(&mut self, devices: Devices, access: Access) -> Result<(), Error> {
        if let Some(have) = self.exceptions.get_mut(&devices) {
            have.0 &= !access.0;
        }
        self.exceptions.retain(|_, have| have.0 != 0);
        let wider = |known: &Devices| {
            known.kind == devices.kind
                && (known.major.is_none() || known.major == devices.major)
                && (known.minor.is_none() || known.minor == devices.minor)
        };
        match self.exceptions.iter().find(|(known, have)| wider(known) && have.0 & access.0 != 0) {
            None => Ok(()),
            Some(_) => Err(Error::Value {
                what: "device rule (cgroup v1 cannot take back a part of a wildcard rule)",
                value: format!("{devices:?} {access}"),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::devices::Rule;

    const ANY: &str = "a *:* rwm";

    fn rule(allow: bool, major: u32, minor: Option<u32>, access: &str) -> Rule {
        let devices = Devices { kind: Kind::Char, major: Some(major), minor };
        Rule { allow, devices, access: Access::parse(access).unwrap() }
    }

    fn lines(policy: &Policy, list: &str) -> Vec<String> {
        plan(policy, list)
            .unwrap()
            .into_iter()
            .map(|step| match step {
                Step::Write(w) => format!("{} {}", w.file.trim_start_matches("devices."), w.value),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn a_new_cgroup() {
        let policy = Policy { allow: false, rules: vec![rule(true, 1, Some(3), "rwm")] };
        assert_eq!(lines(&policy, ANY), ["deny a", "allow c 1:3 rwm"]);
    }

    #[test]
    fn an_update_writes_the_difference() {
        let policy = Policy {
            allow: false,
            rules: vec![rule(true, 1, Some(3), "rwm"), rule(true, 10, None, "r")],
        };
        let now = "c 1:3 rwm\nc 5:0 rwm\nc 10:* rw";
        assert_eq!(lines(&policy, now), ["deny c 5:0 rwm", "deny c 10:* w"]);
        assert_eq!(lines(&policy, "c 1:3 rwm\nc 10:* r"), Vec::<String>::new());
    }

    #[test]
    fn privileged_needs_nothing() {
        let policy = Policy { allow: true, rules: Vec::new() };
        assert_eq!(lines(&policy, ANY), Vec::<String>::new());
        assert_eq!(lines(&policy, "c 1:3 rwm"), ["allow a"]);
        let policy = Policy { allow: true, rules: vec![rule(false, 10, Some(229), "rwm")] };
        assert_eq!(lines(&policy, ANY), ["allow a", "deny c 10:229 rwm"]);
    }

    #[test]
    fn no_hole_in_a_wildcard() {
        let rules = vec![rule(true, 10, None, "rwm"), rule(false, 10, Some(229), "w")];
        assert!(plan(&Policy { allow: false, rules }, ANY).is_err());
        let rules = vec![rule(true, 10, None, "rm"), rule(false, 10, Some(229), "w")];
        assert!(plan(&Policy { allow: false, rules }, ANY).is_ok());
    }
}
