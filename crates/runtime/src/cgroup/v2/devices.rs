//! v2 devices: a program that the kernel runs at each open and mknod.
//!
//! The rules are looked at from the last to the first; each takes the accesses it speaks of out of
//! the question, and the first "no" ends it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use sys::bpf::{self, Instruction};

use crate::cgroup::Error;
use crate::cgroup::devices::{Policy, Rule};
use crate::cgroup::files::Dir;

// Registers: the accesses still in question, and what the kernel tells.
const ANSWER: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

fn op(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: to | from << 4, offset, immediate }
}

/// `to = *(u32 *)(context + offset)`
fn load(to: u8, offset: i16) -> Instruction {
    op(0x61, to, CONTEXT, offset, 0)
}

fn and(to: u8, mask: i32) -> Instruction {
    op(0x54, to, 0, 0, mask)
}

fn shift_right(to: u8, bits: i32) -> Instruction {
    op(0x74, to, 0, 0, bits)
}

/// Low 32 bits, the upper ones become zero.
fn copy(to: u8, from: u8) -> Instruction {
    op(0xbc, to, from, 0, 0)
}

/// Skips `offset` instructions when the low 32 bits differ (4.20 has the 32-bit jump only from 5.1 on; the
/// 64-bit one is right too, for all registers here have zeroes above).
fn skip_unless(register: u8, value: u32, offset: i16) -> Instruction {
    // The immediate is sign-extended: numbers from 2^31 on cannot be device numbers (12 and 20 bits).
    op(0x55, register, 0, offset, value as i32)
}

fn skip_if_zero(register: u8, offset: i16) -> Instruction {
    op(0x15, register, 0, offset, 0)
}

fn answer(allow: bool) -> [Instruction; 2] {
    [op(0xb7, ANSWER, 0, 0, i32::from(allow)), op(0x95, 0, 0, 0, 0)]
}

/// The program for a policy.
pub(in crate::cgroup) fn program(policy: &Policy) -> Vec<Instruction> {
    // struct bpf_cgroup_dev_ctx { u32 access_type /* access << 16 | kind */, major, minor }
    let mut program = vec![
        load(KIND, 0),
        copy(ACCESS, KIND),
        and(KIND, 0xffff),
        shift_right(ACCESS, 16),
        load(MAJOR, 4),
        load(MINOR, 8),
    ];
    for rule in policy.rules.iter().rev() {
        one(rule, &mut program);
    }
    program.extend(answer(policy.allow));
    program
}

fn one(rule: &Rule, program: &mut Vec<Instruction>) {
    let access = i32::from(rule.access.0);
    let mut verdict = Vec::with_capacity(5);
    if rule.allow {
        // Whatever this rule allows is settled; when nothing is left, it is a yes.
        verdict.push(and(ACCESS, !access));
        verdict.push(skip_unless(ACCESS, 0, 2));
        verdict.extend(answer(true));
    } else {
        verdict.push(copy(SCRATCH, ACCESS));
        verdict.push(and(SCRATCH, access));
        verdict.push(skip_if_zero(SCRATCH, 2));
        verdict.extend(answer(false));
    }
    let devices = rule.devices;
    let conditions: Vec<(u8, u32)> = [
        Some((KIND, devices.kind as u32)),
        devices.major.map(|major| (MAJOR, major)),
        devices.minor.map(|minor| (MINOR, minor)),
    ]
    .into_iter()
    .flatten()
    .collect();
    for (at, (register, value)) in conditions.iter().enumerate() {
        let behind = conditions.len() - at - 1 + verdict.len();
        program.push(skip_unless(*register, *value, behind as i16));
    }
    program.extend(verdict);
}

/// Puts the policy's program on the cgroup in place of the one that is there, in one step where the
/// kernel can (5.6), so that at no time there is none.
pub(in crate::cgroup) fn enforce(dir: &Dir, policy: &Policy) -> Result<(), Error> {
    let cgroup = File::open(dir.path())
        .map_err(|source| Error::Open { path: dir.path().to_owned(), source })?;
    let cgroup = cgroup.as_fd();
    let failed = |step| move |source| Error::DeviceFilter { step, source };
    let old = bpf::attached_device_programs(cgroup).map_err(failed("query"))?;
    if policy.allows_all() {
        return detach(cgroup, &old).map_err(failed("detach"));
    }
    let new =
        bpf::load_device_program(&program(policy), "isopod_devices").map_err(failed("load"))?;
    if let [single] = old[..] {
        let single = bpf::program_by_id(single).map_err(failed("query"))?;
        match bpf::attach_device_program(cgroup, new.as_fd(), Some(single.as_fd())) {
            // Before 5.6 the flag is unknown: both at once, then the old one goes.
            Err(error) if error.raw_os_error() == Some(22) => {}
            outcome => return outcome.map_err(failed("attach")),
        }
    }
    bpf::attach_device_program(cgroup, new.as_fd(), None).map_err(failed("attach"))?;
    detach(cgroup, &old).map_err(failed("detach"))
}

fn detach(cgroup: BorrowedFd<'_>, programs: &[u32]) -> io::Result<()> {
    for &id in programs {
        let program = bpf::program_by_id(id)?;
        bpf::detach_device_program(cgroup, program.as_fd())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cgroup::devices::{Access, Devices, Kind};

    /// What the kernel does with the instructions used here.
    fn run(program: &[Instruction], kind: u32, access: u32, major: u32, minor: u32) -> bool {
        let context = [access << 16 | kind, major, minor];
        let mut registers = [0u64; 7];
        let mut at = 0usize;
        loop {
            let Instruction { code, registers: r, offset, immediate } = program[at];
            let (to, from) = (usize::from(r & 15), usize::from(r >> 4));
            at += 1;
            match code {
                0x61 => registers[to] = u64::from(context[offset as usize / 4]),
                0x54 => registers[to] = u64::from(registers[to] as u32 & immediate as u32),
                0x74 => registers[to] = u64::from(registers[to] as u32 >> immediate),
                0xbc => registers[to] = u64::from(registers[from] as u32),
                0xb7 => registers[to] = immediate as u64,
                0x55 if registers[to] != i64::from(immediate) as u64 => at += offset as usize,
                0x15 if registers[to] == i64::from(immediate) as u64 => at += offset as usize,
                0x55 | 0x15 => {}
                0x95 => return registers[0] == 1,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    /// The meaning of a policy, said simply: for each access the last rule that speaks of it.
    fn meaning(policy: &Policy, kind: u32, access: u32, major: u32, minor: u32) -> bool {
        [1u8, 2, 4].iter().filter(|bit| access & u32::from(**bit) != 0).all(|bit| {
            let speaks = |rule: &&Rule| {
                rule.devices.kind as u32 == kind
                    && rule.devices.major.is_none_or(|m| m == major)
                    && rule.devices.minor.is_none_or(|m| m == minor)
                    && rule.access.0 & bit != 0
            };
            policy.rules.iter().rev().find(speaks).map_or(policy.allow, |rule| rule.allow)
        })
    }

    fn rule() -> impl Strategy<Value = Rule> {
        (
            any::<bool>(),
            any::<bool>(),
            proptest::option::of(0u32..3),
            proptest::option::of(0u32..3),
            1u8..8,
        )
            .prop_map(|(allow, block, major, minor, access)| Rule {
                allow,
                devices: Devices {
                    kind: if block { Kind::Block } else { Kind::Char },
                    major,
                    minor,
                },
                access: Access(access),
            })
    }

    proptest! {
        #[test]
        fn the_program_means_the_policy(
            allow: bool,
            rules in proptest::collection::vec(rule(), 0..12),
            kind in 1u32..3, access in 1u32..8, major in 0u32..4, minor in 0u32..4,
        ) {
            let policy = Policy { allow, rules };
            prop_assert_eq!(
                run(&program(&policy), kind, access, major, minor),
                meaning(&policy, kind, access, major, minor)
            );
        }
    }

    #[test]
    fn default_policy() {
        let policy = Policy::new(&[]).unwrap();
        let program = program(&policy);
        assert!(run(&program, 2, 6, 1, 3), "/dev/null");
        assert!(run(&program, 1, 1, 8, 0), "mknod of a disk");
        assert!(!run(&program, 1, 2, 8, 0), "reading a disk");
        assert!(!run(&program, 2, 4, 1, 1), "/dev/mem");
        assert!(run(&program, 2, 6, 136, 17), "a pty");
    }
}
