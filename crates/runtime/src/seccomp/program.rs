//! From verdicts to a classic BPF program.
//!
//! ```text
//! arch == x86_64?  ─► number ─┬─ x32's bit? ─► x32's tree
//! arch == x86?     ─► …       ├─ newer than the profile? ─► ENOSYS
//! else kill                   └─ binary search over ranges of numbers with one verdict
//! ```
//!
//! Every piece of code ends in a return and jumps only forward within itself, so that pieces are
//! joined by putting one behind the other. The kernel (5.11) itself finds out, once, which numbers
//! are always allowed, and does not run the program for them at all.

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

type Code = Vec<Instruction>;

fn op(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

fn give(action: Action) -> Instruction {
    op(RETURN, action.0)
}

/// `if accumulator <test> k { yes } else { no }`; both end in a return.
fn branch(test: u16, k: u32, yes: Code, no: Code) -> Code {
    let mut code = Vec::with_capacity(yes.len() + no.len() + 2);
    // A conditional jump reaches 255 instructions, an unconditional one any number.
    match u8::try_from(no.len()) {
        Ok(jt) => code.push(Instruction { code: test, jt, jf: 0, k }),
        Err(_) => {
            code.push(Instruction { code: test, jt: 0, jf: 1, k });
            code.push(op(JUMP, no.len() as u32));
        }
    }
    code.extend(no);
    code.extend(yes);
    code
}

/// The whole filter for the architectures given.
pub(super) fn program(rules: &Rules, arches: &[Arch]) -> Code {
    let tree = |arch: Arch| arches.contains(&arch).then(|| calls(rules, arch));
    // An architecture that the profile does not list must not be used to get around it.
    let refuse = || vec![give(Action::KILL_THREAD)];
    let mut code = refuse();
    for arch in [Arch::Arm, Arch::Aarch64, Arch::X86] {
        if let Some(tree) = tree(arch) {
            code = branch(IF_EQUAL, arch.token(), with_number(tree), code);
        }
    }
    let (x64, x32) = (tree(Arch::X86_64), tree(Arch::X32));
    if x64.is_some() || x32.is_some() {
        let both = branch(
            IF_GREATER_OR_EQUAL,
            X32_BIT,
            x32.unwrap_or_else(refuse),
            x64.unwrap_or_else(refuse),
        );
        code = branch(IF_EQUAL, Arch::X86_64.token(), with_number(both), code);
    }
    code.insert(0, op(LOAD, ARCH));
    code
}

fn with_number(mut tree: Code) -> Code {
    tree.insert(0, op(LOAD, NUMBER));
    tree
}

/// The code for one architecture, with the call's number loaded.
fn calls(rules: &Rules, arch: Arch) -> Code {
    let verdicts = rules.verdicts(arch);
    let first = if arch == Arch::X32 { X32_BIT } else { 0 };
    let ranges = ranges(&verdicts, first, rules.default);
    let tree = search(&ranges, rules.default, arch.wide());
    match rules.newest(arch) {
        Some(newest) => branch(IF_GREATER, newest, vec![give(Action::ENOSYS)], tree),
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

fn search(ranges: &[(u32, Leaf<'_>)], default: Action, wide: bool) -> Code {
    match ranges {
        [] => vec![give(default)],
        [(_, Leaf::Give(action))] => vec![give(*action)],
        [(_, Leaf::Depends(rows))] => depends(rows, default, wide),
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let start = high[0].0;
            let (high, low) = (search(high, default, wide), search(low, default, wide));
            branch(IF_GREATER_OR_EQUAL, start, high, low)
        }
    }
}

/// Rows in their order; the first whose conditions hold returns.
fn depends(rows: &[(Vec<Condition>, Action)], default: Action, wide: bool) -> Code {
    let mut code = Vec::new();
    for (conditions, action) in rows {
        code.extend(row(conditions, *action, wide));
    }
    code.push(give(default));
    code
}

/// Where a test inside a row leads.
#[derive(Clone, Copy)]
enum To {
    Next,
    /// The condition holds: behind it.
    Holds,
    /// It does not: behind the row.
    Fails,
}

/// One instruction with its two ways.
type Test = (Instruction, To, To);

fn row(conditions: &[Condition], action: Action, wide: bool) -> Code {
    let mut tests: Vec<(Test, usize)> = Vec::new();
    for condition in conditions {
        let this = one(condition, wide);
        let end = tests.len() + this.len();
        tests.extend(this.into_iter().map(|test| (test, end)));
    }
    // Behind all tests stands the return, behind that the next row.
    let fails = tests.len() + 1;
    let resolve = |(at, ((mut instruction, yes, no), holds)): (usize, (Test, usize))| {
        // At most 6 conditions of 5 instructions each: a byte is enough.
        let distance = |to| match to {
            To::Next => 0,
            To::Holds => (holds - at - 1) as u8,
            To::Fails => (fails - at - 1) as u8,
        };
        instruction.jt = distance(yes);
        instruction.jf = distance(no);
        instruction
    };
    let mut code: Code = tests.into_iter().enumerate().map(resolve).collect();
    code.push(give(action));
    code
}

fn one(condition: &Condition, wide: bool) -> Vec<Test> {
    let low = ARGUMENTS + 8 * u32::from(condition.argument);
    let (value, mask) = (condition.value, condition.mask);
    let halves = |value: u64| (value as u32, (value >> 32) as u32);
    let ((low_value, high_value), (low_mask, high_mask)) = (halves(value), halves(mask));
    let load = |offset| (op(LOAD, offset), To::Next, To::Next);
    let and = |mask| (op(AND, mask), To::Next, To::Next);
    let (yes, no) = (To::Holds, To::Fails);
    // What decides on the low half, and on the high half: greater, and unequal otherwise.
    let (test, low_yes, low_no) = match condition.operator {
        Operator::ScmpCmpEq | Operator::ScmpCmpMaskedEq => (IF_EQUAL, yes, no),
        Operator::ScmpCmpNe => (IF_EQUAL, no, yes),
        Operator::ScmpCmpGt => (IF_GREATER, yes, no),
        Operator::ScmpCmpGe => (IF_GREATER_OR_EQUAL, yes, no),
        Operator::ScmpCmpLt => (IF_GREATER_OR_EQUAL, no, yes),
        Operator::ScmpCmpLe => (IF_GREATER, no, yes),
    };
    let mut tests = Vec::with_capacity(5);
    if wide && high_mask == 0 {
        // Nothing of the high half is looked at; a value there can never be met.
        if high_value != 0 {
            return vec![(op(IF_EQUAL, 0), no, no)];
        }
    } else if wide {
        tests.push(load(low + 4));
        if high_mask != u32::MAX {
            tests.push(and(high_mask));
        }
        if test != IF_EQUAL {
            tests.push((op(IF_GREATER, high_value), low_yes, To::Next));
        }
        let unequal = if test == IF_EQUAL { low_no } else { opposite(low_yes) };
        tests.push((op(IF_EQUAL, high_value), To::Next, unequal));
    }
    tests.push(load(low));
    if low_mask != u32::MAX {
        tests.push(and(low_mask));
    }
    tests.push((op(test, low_value), low_yes, low_no));
    tests
}

fn opposite(to: To) -> To {
    match to {
        To::Holds => To::Fails,
        To::Fails => To::Holds,
        To::Next => To::Next,
    }
}
