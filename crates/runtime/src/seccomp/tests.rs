//! Compiled filters, interpreted and in the kernel, against what the rules mean.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{
    Arch as OciArch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder,
    LinuxSeccompOperator as Operator, LinuxSyscall,
};
use proptest::prelude::*;

use super::syscalls::{Call, X32_BIT, names};
use super::*;

mod kernel;

fn number(name: &str, arch: Arch) -> Option<u32> {
    Call::named(name)?.number(arch)
}

const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;

/// What the kernel's interpreter does with the instructions that the compiler uses.
fn run(program: &[sys::seccomp::Instruction], arch: u32, number: u32, args: [u64; 6]) -> u32 {
    let load = |offset: u32| match offset {
        0 => number,
        4 => arch,
        _ => {
            let (index, half) = ((offset - 16) / 8, (offset - 16) % 8);
            (args[index as usize] >> (half * 8)) as u32
        }
    };
    let (mut at, mut accumulator) = (0usize, 0u32);
    loop {
        let i = program[at];
        at += 1;
        let jump = |holds: bool| usize::from(if holds { i.jt } else { i.jf });
        match i.code {
            0x20 => accumulator = load(i.k),
            0x54 => accumulator &= i.k,
            0x05 => at += i.k as usize,
            0x15 => at += jump(accumulator == i.k),
            0x25 => at += jump(accumulator > i.k),
            0x35 => at += jump(accumulator >= i.k),
            0x06 => return i.k,
            other => panic!("instruction {other:#x}"),
        }
    }
}

fn value(action: LinuxSeccompAction, errno: Option<u32>) -> u32 {
    match action {
        LinuxSeccompAction::ScmpActAllow => ALLOW,
        LinuxSeccompAction::ScmpActErrno => ERRNO | errno.unwrap_or(1),
        LinuxSeccompAction::ScmpActKillProcess => 0x8000_0000,
        LinuxSeccompAction::ScmpActLog => 0x7ffc_0000,
        other => panic!("{other:?}"),
    }
}

fn holds(arg: &LinuxSeccompArg, args: [u64; 6], wide: bool) -> bool {
    let narrow = |v: u64| if wide { v } else { u64::from(v as u32) };
    let (have, want) = (narrow(args[arg.index()]), narrow(arg.value()));
    match arg.op() {
        Operator::ScmpCmpEq => have == want,
        Operator::ScmpCmpNe => have != want,
        Operator::ScmpCmpLt => have < want,
        Operator::ScmpCmpLe => have <= want,
        Operator::ScmpCmpGt => have > want,
        Operator::ScmpCmpGe => have >= want,
        Operator::ScmpCmpMaskedEq => have & want == narrow(arg.value_two().unwrap_or(0)),
    }
}

/// Two conditions on one argument mean "or" for all of the rule.
fn alternatives(list: Vec<LinuxSeccompArg>) -> Vec<Vec<LinuxSeccompArg>> {
    let repeated =
        list.iter().enumerate().any(|(at, a)| list[..at].iter().any(|b| b.index() == a.index()));
    match repeated {
        true => list.into_iter().map(|arg| vec![arg]).collect(),
        false => vec![list],
    }
}

/// What a profile means for one call by name, read off its rules one by one.
enum Meaning {
    Always(u32),
    Depends(u32, Vec<(u32, Vec<LinuxSeccompArg>)>),
}

/// The highest number that the profile names.
fn newest(profile: &LinuxSeccomp, arch: Arch) -> Option<u32> {
    let calls = profile.syscalls().iter().flatten();
    calls.flat_map(|call| call.names()).filter_map(|name| number(name, arch)).max()
}

fn meaning(profile: &LinuxSeccomp, name: &str, arch: Arch, newest: Option<u32>) -> Meaning {
    let default = value(profile.default_action(), profile.default_errno_ret());
    let mine = number(name, arch).unwrap();
    if !matches!(default, ALLOW | 0x7ffc_0000) && newest.is_some_and(|newest| mine > newest) {
        return Meaning::Always(ERRNO | 38);
    }
    // (action, conditions) of every rule that speaks of this call, multiplexed ones included.
    let mut rows: Vec<(u32, Vec<LinuxSeccompArg>)> = Vec::new();
    for call in profile.syscalls().iter().flatten() {
        let action = value(call.action(), call.errno_ret());
        if action == default {
            continue;
        }
        for named in call.names() {
            if named == name || number(named, arch) == Some(mine) {
                let list = call.args().clone().unwrap_or_default();
                rows.extend(alternatives(list).into_iter().map(|list| (action, list)));
            }
            if let Some((multiplexer, first)) =
                Call::named(named).and_then(|call| call.multiplexed(arch))
                && multiplexer == mine
            {
                let list = call.args().clone().unwrap_or_default();
                for mut list in alternatives(list) {
                    list.retain(|arg| arg.index() != 0);
                    list.push(argument(0, Operator::ScmpCmpEq, first, None));
                    rows.push((action, list));
                }
            }
        }
    }
    match rows.iter().find(|(_, list)| list.is_empty()) {
        Some((action, _)) => Meaning::Always(*action),
        None => Meaning::Depends(default, rows),
    }
}

impl Meaning {
    fn answer(&self, args: [u64; 6], wide: bool) -> u32 {
        match self {
            Meaning::Always(action) => *action,
            Meaning::Depends(default, rows) => rows
                .iter()
                .find(|(_, list)| list.iter().all(|arg| holds(arg, args, wide)))
                .map_or(*default, |(action, _)| *action),
        }
    }
}

fn argument(index: usize, op: Operator, value: u64, two: Option<u64>) -> LinuxSeccompArg {
    let mut builder = LinuxSeccompArgBuilder::default().index(index).op(op).value(value);
    if let Some(two) = two {
        builder = builder.value_two(two);
    }
    builder.build().unwrap()
}

fn rule(
    names: &[&str],
    action: LinuxSeccompAction,
    errno: Option<u32>,
    args: Vec<LinuxSeccompArg>,
) -> LinuxSyscall {
    let mut rule = LinuxSyscall::default();
    rule.set_names(names.iter().map(|&name| name.to_owned()).collect())
        .set_action(action)
        .set_errno_ret(errno)
        .set_args((!args.is_empty()).then_some(args));
    rule
}

fn profile(default: LinuxSeccompAction, machine: Arch, calls: Vec<LinuxSyscall>) -> LinuxSeccomp {
    let arches = match machine {
        Arch::Aarch64 => vec![OciArch::ScmpArchAarch64, OciArch::ScmpArchArm],
        _ => vec![OciArch::ScmpArchX86_64, OciArch::ScmpArchX86, OciArch::ScmpArchX32],
    };
    let mut profile = LinuxSeccomp::default();
    profile.set_default_action(default).set_architectures(Some(arches)).set_syscalls(Some(calls));
    profile
}

fn arches(machine: Arch) -> &'static [Arch] {
    match machine {
        Arch::Aarch64 => &[Arch::Aarch64, Arch::Arm],
        _ => &[Arch::X86_64, Arch::X86, Arch::X32],
    }
}

/// Compares program and meaning for every call that the machine knows, with each of the argument lists.
fn compare(profile: &LinuxSeccomp, machine: Arch, arguments: &[[u64; 6]]) -> usize {
    let filter = compile_for(profile, machine).unwrap();
    let mut compared = 0;
    for &arch in arches(machine) {
        let wide = matches!(arch, Arch::X86_64 | Arch::Aarch64);
        let newest = newest(profile, arch);
        for name in names() {
            let Some(number) = number(name, arch) else { continue };
            let meaning = meaning(profile, name, arch, newest);
            for &args in arguments {
                let got = run(&filter.program, arch.token(), number, args);
                let want = meaning.answer(args, wide);
                assert_eq!(got, want, "{name} {arch:?} {args:x?}: {got:#x}, not {want:#x}");
                compared += 1;
            }
        }
    }
    compared
}

fn specs() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/specs");
    let directory = std::env::var_os("ISOPOD_SPECS").map_or(beside, PathBuf::from);
    Some(directory.join("docker-seccomp-default.json")).filter(|file| file.exists())
}

/// Docker's file, its conditional rows taken in or left out by hand.
fn docker(json: &serde_json::Value, caps: &[&str], machine: Arch) -> LinuxSeccomp {
    let native = if machine == Arch::Aarch64 { "arm64" } else { "amd64" };
    let list = |row: &serde_json::Value, filter: &str, key: &str| -> Vec<String> {
        let words = row[filter][key].as_array().cloned().unwrap_or_default();
        words.iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let mut calls = Vec::new();
    for row in json["syscalls"].as_array().unwrap() {
        let in_arches = list(row, "includes", "arches");
        let out_arches = list(row, "excludes", "arches");
        let has = |cap: &String| caps.contains(&cap.as_str());
        if list(row, "includes", "caps").iter().all(has)
            && !list(row, "excludes", "caps").iter().any(has)
            && (in_arches.is_empty() || in_arches.iter().any(|arch| arch == native))
            && !out_arches.iter().any(|arch| arch == native)
        {
            calls.push(serde_json::from_value(row.clone()).unwrap());
        }
    }
    let mut profile = profile(LinuxSeccompAction::ScmpActErrno, machine, calls);
    profile.set_default_errno_ret(Some(1));
    profile
}

#[test]
fn dockers_default_for_every_call() {
    let file = specs().expect(
        "docker-seccomp-default.json: set ISOPOD_SPECS to the directory that holds it, or put \
         shared/specs beside the checkout",
    );
    let json: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let default = ["CAP_CHOWN", "CAP_SYS_CHROOT", "CAP_NET_RAW", "CAP_MKNOD"];
    let sets: [&[&str]; 4] =
        [&[], &default, &["CAP_SYS_ADMIN"], &["CAP_SYS_PTRACE", "CAP_SYSLOG", "CAP_SYS_TIME"]];
    // Around every constant in the file, in each half of the first argument.
    let values = [
        0,
        1,
        7,
        8,
        37,
        38,
        39,
        40,
        41,
        0x20000,
        0x20008,
        0x7e02_0000,
        0x0200_0000,
        0x1000_0000,
        0xffff_ffff,
        1 << 32,
        (1 << 32) | 39,
        (39 << 32) | 8,
        u64::MAX,
    ];
    let arguments: Vec<[u64; 6]> = values.iter().map(|&v| [v, 0x7e02_0000, 3, 4, 5, 6]).collect();
    let mut compared = 0;
    for machine in [Arch::X86_64, Arch::Aarch64] {
        for caps in sets {
            compared += compare(&docker(&json, caps, machine), machine, &arguments);
        }
    }
    assert!(compared > 100_000, "{compared}");
}

/// The shape of Docker's default without its file, so that these paths are always tested.
fn sample(machine: Arch) -> LinuxSeccomp {
    let allow = LinuxSeccompAction::ScmpActAllow;
    let socket = |op, value| rule(&["socket"], allow, None, vec![argument(0, op, value, None)]);
    profile(
        LinuxSeccompAction::ScmpActErrno,
        machine,
        vec![
            rule(&["read", "write", "exit_group", "futex_wait", "nosuch"], allow, None, vec![]),
            socket(Operator::ScmpCmpLt, 38),
            socket(Operator::ScmpCmpGt, 40),
            rule(&["clone3"], LinuxSeccompAction::ScmpActErrno, Some(38), vec![]),
            rule(
                &["clone"],
                allow,
                None,
                vec![argument(0, Operator::ScmpCmpMaskedEq, 0x7e02_0000, Some(0))],
            ),
        ],
    )
}

#[test]
fn newer_calls_get_enosys_and_foreign_architectures_die() {
    let filter = compile_for(&sample(Arch::X86_64), Arch::X86_64).unwrap();
    let call = |arch: u32, number: u32| run(&filter.program, arch, number, [0; 6]);
    let x64 = Arch::X86_64.token();
    assert_eq!(call(x64, 0), ALLOW);
    assert_eq!(call(x64, 101), ERRNO | 1, "ptrace");
    assert_eq!(call(x64, 435), ERRNO | 38, "clone3");
    assert_eq!(call(x64, 455), ALLOW, "futex_wait, the newest");
    assert_eq!(call(x64, 456), ERRNO | 38, "newer");
    assert_eq!(call(x64, X32_BIT), ALLOW, "x32's read");
    assert_eq!(call(x64, u32::MAX), ERRNO | 38);
    assert_eq!(call(Arch::X86.token(), 3), ALLOW, "x86's read");
    assert_eq!(call(Arch::X86.token(), 456), ERRNO | 38);
    assert_eq!(call(Arch::Arm.token(), 3), 0, "killed");
    // socketcall lets the call through that the rules name, and only that.
    let socketcall = |which| run(&filter.program, Arch::X86.token(), 102, [which, 0, 0, 0, 0, 0]);
    assert_eq!(socketcall(1), ALLOW);
    assert_eq!(socketcall(2), ERRNO | 1);
    // Without a list of architectures there is only the machine's own.
    let mut narrow = sample(Arch::X86_64);
    narrow.set_architectures(None);
    let filter = compile_for(&narrow, Arch::X86_64).unwrap();
    assert_eq!(run(&filter.program, Arch::X86.token(), 3, [0; 6]), 0);
    assert_eq!(run(&filter.program, x64, X32_BIT, [0; 6]), 0);
}

#[test]
fn a_permissive_default_lets_newer_calls_go_on() {
    let deny = rule(&["mount"], LinuxSeccompAction::ScmpActErrno, None, vec![]);
    let profile = profile(LinuxSeccompAction::ScmpActAllow, Arch::X86_64, vec![deny]);
    let filter = compile_for(&profile, Arch::X86_64).unwrap();
    assert_eq!(run(&filter.program, Arch::X86_64.token(), 165, [0; 6]), ERRNO | 1);
    assert_eq!(run(&filter.program, Arch::X86_64.token(), 2000, [0; 6]), ALLOW);
}

#[test]
fn what_cannot_be_done_is_refused() {
    let build = |rule: LinuxSyscall| {
        compile_for(
            &profile(LinuxSeccompAction::ScmpActErrno, Arch::X86_64, vec![rule]),
            Arch::X86_64,
        )
    };
    let notify = rule(&["mount"], LinuxSeccompAction::ScmpActNotify, None, vec![]);
    assert!(matches!(build(notify), Err(Error::Notify)));
    let wide = vec![argument(6, Operator::ScmpCmpEq, 0, None)];
    let wide = rule(&["mount"], LinuxSeccompAction::ScmpActAllow, None, wide);
    assert!(matches!(build(wide), Err(Error::Argument(6))));
    let errno = rule(&["mount"], LinuxSeccompAction::ScmpActErrno, Some(5000), vec![]);
    assert!(matches!(build(errno), Err(Error::Errno(5000))));
    let mut foreign = sample(Arch::X86_64);
    foreign.set_architectures(Some(vec![OciArch::ScmpArchMips]));
    assert!(matches!(compile_for(&foreign, Arch::X86_64), Err(Error::Architecture)));
}

#[test]
fn flags_are_the_kernels() {
    let mut profile = sample(Arch::X86_64);
    assert_eq!(compile_for(&profile, Arch::X86_64).unwrap().flags, 4);
    profile.set_flags(Some(vec![LinuxSeccompFilterFlag::SeccompFilterFlagLog]));
    assert_eq!(compile_for(&profile, Arch::X86_64).unwrap().flags, 2);
    profile.set_flags(Some(vec![]));
    assert_eq!(compile_for(&profile, Arch::X86_64).unwrap().flags, 0);
}

const POOL: [&str; 9] =
    ["read", "socket", "socketcall", "clone", "semop", "ipc", "mount", "open", "mseal"];
const VALUES: [u64; 7] = [0, 1, 2, 0xffff_ffff, 1 << 32, (2 << 32) | 1, u64::MAX];

fn any_value() -> impl Strategy<Value = u64> {
    proptest::sample::select(&VALUES[..])
}

fn any_argument() -> impl Strategy<Value = LinuxSeccompArg> {
    let operators = [
        Operator::ScmpCmpEq,
        Operator::ScmpCmpNe,
        Operator::ScmpCmpLt,
        Operator::ScmpCmpLe,
        Operator::ScmpCmpGt,
        Operator::ScmpCmpGe,
        Operator::ScmpCmpMaskedEq,
    ];
    (0usize..3, proptest::sample::select(operators.to_vec()), any_value(), any_value())
        .prop_map(|(index, op, value, two)| argument(index, op, value, Some(two)))
}

fn any_action() -> impl Strategy<Value = (LinuxSeccompAction, Option<u32>)> {
    prop_oneof![
        Just((LinuxSeccompAction::ScmpActAllow, None)),
        Just((LinuxSeccompAction::ScmpActErrno, None)),
        Just((LinuxSeccompAction::ScmpActErrno, Some(38))),
        Just((LinuxSeccompAction::ScmpActKillProcess, None)),
        Just((LinuxSeccompAction::ScmpActLog, None)),
    ]
}

fn any_rule() -> impl Strategy<Value = LinuxSyscall> {
    let names = proptest::sample::subsequence(POOL.to_vec(), 1..4);
    (names, any_action(), proptest::collection::vec(any_argument(), 0..4))
        .prop_map(|(names, (action, errno), args)| rule(&names, action, errno, args))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn programs_mean_their_profiles(
        default in any_action(),
        rules in proptest::collection::vec(any_rule(), 0..8),
        arm: bool,
        args in proptest::collection::vec(proptest::array::uniform6(any_value()), 1..4),
    ) {
        let machine = if arm { Arch::Aarch64 } else { Arch::X86_64 };
        let mut profile = profile(default.0, machine, rules);
        profile.set_default_errno_ret(default.1);
        compare(&profile, machine, &args);
    }
}
