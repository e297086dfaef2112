//! From verdicts to a classic BPF program.
//!
//! ```text
//! arch == x86_64?  ─► number ─┬─ x32's bit? ─► x32's tree
//! arch == x86?     ─► …       ├─ newer than the profile? ─► ENOSYS
//! else kill                   └─ binary search over ranges of numbers with one verdict
//! ```
//!
//! Written from its end to its beginning, for jumps only go forward: what an instruction leads to
//! stands already, and returns are shared. Short, because the kernel compiles it at every start. The
//! kernel (5.11) itself finds out, once, which numbers are always allowed, and does not run the
//! program for them at all.

use std::collections::BTreeMap;

use oci_spec::runtime::LinuxSeccompOperator as Operator;
use sys::seccomp::Instruction;

use super::arch::Arch;
use super::rules::{Action, Condition, Rules, Verdict};
use super::syscalls::X32_BIT;

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_GREATER: u16 = 0x25;
const IF_GREATER_OR_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;

/// Offsets into `struct seccomp_data`; the halves of an argument are little-endian.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;

/// The end of a program.
#[derive(Default)]
struct Code {
    /// The last instruction first.
    reversed: Vec<Instruction>,
    /// Where each verdict was returned last.
    returns: BTreeMap<u32, Place>,
}

/// An instruction: how many there are from it to the end of the program.
#[derive(Clone, Copy, PartialEq)]
struct Place(usize);

impl Code {
    fn push(&mut self, code: u16, k: u32, jt: u8, jf: u8) -> Place {
        self.reversed.push(Instruction { code, jt, jf, k });
        Place(self.reversed.len())
    }

    /// How many instructions the next one would skip to get there.
    fn distance(&self, to: Place) -> usize {
        self.reversed.len() - to.0
    }

    fn give(&mut self, action: Action) -> Place {
        match self.returns.get(&action.0) {
            Some(place) => *place,
            None => self.give_here(action),
        }
    }

    fn give_here(&mut self, action: Action) -> Place {
        let place = self.push(RETURN, action.0, 0, 0);
        self.returns.insert(action.0, place);
        place
    }

    /// The same, no further away than a conditional jump reaches behind `between` instructions more.
    fn near(&mut self, to: Place, between: usize) -> Place {
        let distance = self.distance(to);
        if distance + between <= usize::from(u8::MAX) {
            return to;
        }
        let target = self.reversed[to.0 - 1];
        match target.code {
            RETURN => self.give_here(Action(target.k)),
            _ => self.push(JUMP, distance as u32, 0, 0),
        }
    }

    /// `if accumulator <test> k { yes } else { no }`.
    fn branch(&mut self, test: u16, k: u32, yes: Place, no: Place) -> Place {
        // What is put near for one way is between the test and the other.
        let yes = self.near(yes, 1);
        let no = self.near(no, 0);
        let (jt, jf) = (self.distance(yes), self.distance(no));
        self.push(test, k, jt as u8, jf as u8)
    }

    /// Takes a word into the accumulator and goes there.
    fn load(&mut self, offset: u32, to: Place) -> Place {
        self.straight(LOAD, offset, to)
    }

    /// An instruction that leads to the next one.
    fn straight(&mut self, code: u16, k: u32, to: Place) -> Place {
        let distance = self.distance(to);
        if distance > 0 {
            self.push(JUMP, distance as u32, 0, 0);
        }
        self.push(code, k, 0, 0)
    }
}

/// The whole filter for the architectures given.
pub(super) fn program(rules: &Rules, arches: &[Arch]) -> Vec<Instruction> {
    let mut code = Code::default();
    // An architecture that the profile does not list must not be used to get around it.
    let refuse = code.give(Action::KILL_THREAD);
    let tree =
        |code: &mut Code, arch: Arch| arches.contains(&arch).then(|| calls(code, rules, arch));
    let mut start = refuse;
    for arch in [Arch::Arm, Arch::Aarch64, Arch::X86] {
        if let Some(tree) = tree(&mut code, arch) {
            let tree = code.load(NUMBER, tree);
            start = code.branch(IF_EQUAL, arch.token(), tree, start);
        }
    }
    let (x32, x64) = (tree(&mut code, Arch::X32), tree(&mut code, Arch::X86_64));
    if x64.is_some() || x32.is_some() {
        let (x32, x64) = (x32.unwrap_or(refuse), x64.unwrap_or(refuse));
        let both = code.branch(IF_GREATER_OR_EQUAL, X32_BIT, x32, x64);
        let both = code.load(NUMBER, both);
        start = code.branch(IF_EQUAL, Arch::X86_64.token(), both, start);
    }
    code.load(ARCH, start);
    code.reversed.reverse();
    code.reversed
}

/// The code for one architecture, with the call's number loaded.
fn calls(code: &mut Code, rules: &Rules, arch: Arch) -> Place {
    let verdicts = rules.verdicts(arch);
    let first = if arch == Arch::X32 { X32_BIT } else { 0 };
    let ranges = ranges(&verdicts, first, rules.default);
    let tree = search(code, &ranges, rules.default, arch.wide());
    match rules.newest(arch) {
        Some(newest) => {
            let unknown = code.give(Action::ENOSYS);
            code.branch(IF_GREATER, newest, unknown, tree)
        }
        None => tree,
    }
}

/// What a range of numbers leads to.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Leaf<'a> {
    Give(Action),
    Depends(&'a [(Vec<Condition>, Action)]),
}

/// Starts of ranges, ascending, the first at `first`; a range goes to the next start.
fn ranges(verdicts: &BTreeMap<u32, Verdict>, first: u32, default: Action) -> Vec<(u32, Leaf<'_>)> {
    let mut ranges = vec![(first, Leaf::Give(default))];
    let mut push = |start: u32, leaf| {
        if ranges.last().is_some_and(|(last, _)| *last == start) {
            ranges.pop();
        }
        if ranges.last().is_none_or(|(_, last)| *last != leaf) {
            ranges.push((start, leaf));
        }
    };
    for (&number, verdict) in verdicts {
        let leaf = match verdict {
            Verdict::Always(action) => Leaf::Give(*action),
            Verdict::Depends(rows) => Leaf::Depends(rows),
        };
        push(number, leaf);
        push(number + 1, Leaf::Give(default));
    }
    ranges
}

fn search(code: &mut Code, ranges: &[(u32, Leaf<'_>)], default: Action, wide: bool) -> Place {
    match ranges {
        [] => code.give(default),
        [(_, Leaf::Give(action))] => code.give(*action),
        [(_, Leaf::Depends(rows))] => depends(code, rows, default, wide),
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let start = high[0].0;
            let high = search(code, high, default, wide);
            let low = search(code, low, default, wide);
            code.branch(IF_GREATER_OR_EQUAL, start, high, low)
        }
    }
}

/// Rows in their order; the first whose conditions all hold decides.
fn depends(
    code: &mut Code,
    rows: &[(Vec<Condition>, Action)],
    default: Action,
    wide: bool,
) -> Place {
    let mut next = code.give(default);
    for (conditions, action) in rows.iter().rev() {
        let mut holds = code.give(*action);
        for condition in conditions.iter().rev() {
            holds = test(code, condition, wide, holds, next);
        }
        next = holds;
    }
    next
}

/// `if condition { yes } else { no }`.
fn test(code: &mut Code, condition: &Condition, wide: bool, yes: Place, no: Place) -> Place {
    let offset = ARGUMENTS + 8 * u32::from(condition.argument);
    let (value, mask) = (condition.value, condition.mask);
    let halves = |value: u64| (value as u32, (value >> 32) as u32);
    let ((low_value, high_value), (low_mask, high_mask)) = (halves(value), halves(mask));
    // Nothing of the high half is looked at; a value there can never be met.
    if wide && high_mask == 0 && high_value != 0 {
        return no;
    }
    // What decides on the low half, and on the high half: greater, and unequal otherwise.
    let (comparison, if_so, if_not) = match condition.operator {
        Operator::ScmpCmpEq | Operator::ScmpCmpMaskedEq => (IF_EQUAL, yes, no),
        Operator::ScmpCmpNe => (IF_EQUAL, no, yes),
        Operator::ScmpCmpGt => (IF_GREATER, yes, no),
        Operator::ScmpCmpGe => (IF_GREATER_OR_EQUAL, yes, no),
        Operator::ScmpCmpLt => (IF_GREATER_OR_EQUAL, no, yes),
        Operator::ScmpCmpLe => (IF_GREATER, no, yes),
    };
    let load = |code: &mut Code, offset, mask, to| {
        let to = if mask == u32::MAX { to } else { code.straight(AND, mask, to) };
        code.load(offset, to)
    };
    let low = code.branch(comparison, low_value, if_so, if_not);
    let low = load(code, offset, low_mask, low);
    if !wide || high_mask == 0 {
        return low;
    }
    let high = if comparison == IF_EQUAL {
        code.branch(IF_EQUAL, high_value, low, if_not)
    } else {
        let equal = code.branch(IF_EQUAL, high_value, low, if_not);
        code.branch(IF_GREATER, high_value, if_so, equal)
    };
    load(code, offset + 4, high_mask, high)
}
