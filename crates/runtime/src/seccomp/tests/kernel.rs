//! The kernel is asked: programs of a few bytes make one system call under a filter and exit with
//! its error number.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use super::*;

/// Enough for a libc to start a program, and for the program to end.
const NEEDED: [&str; 34] = [
    "clone",
    "vfork",
    "fork",
    "execve",
    "execveat",
    "exit",
    "exit_group",
    "wait4",
    "waitid",
    "rt_sigprocmask",
    "rt_sigaction",
    "rt_sigreturn",
    "sigaltstack",
    "close",
    "dup2",
    "dup3",
    "read",
    "write",
    "mmap",
    "munmap",
    "mprotect",
    "madvise",
    "futex",
    "openat",
    "pipe2",
    "fcntl",
    "poll",
    "recvfrom",
    "sendto",
    "sendmsg",
    "recvmsg",
    "prctl",
    "gettid",
    "rseq",
];

/// A program that exists for one test.
struct Program(PathBuf);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Program {
    fn new(name: &str, image: &[u8]) -> Program {
        let path = std::env::temp_dir().join(format!("isopod-{name}-{}", std::process::id()));
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(image).unwrap();
        file.set_permissions(PermissionsExt::from_mode(0o755)).unwrap();
        Program(path)
    }

    /// `number(first, 0, 0)` the way 64-bit programs call; exits with the error number.
    fn wide(name: &str, number: u32, first: u32) -> Program {
        let mut code = Vec::new();
        code.push(0xb8); // mov eax, number
        code.extend(number.to_le_bytes());
        code.push(0xbf); // mov edi, first
        code.extend(first.to_le_bytes());
        code.extend([0x31, 0xf6, 0x31, 0xd2]); // xor esi, esi; xor edx, edx
        code.extend([0x0f, 0x05]); // syscall
        code.extend([0xf7, 0xd8, 0x89, 0xc7]); // neg eax; mov edi, eax
        code.extend([0xb8, 60, 0, 0, 0, 0x0f, 0x05]); // exit
        Program::new(name, &elf64(&code))
    }

    /// The same through `int 0x80`, the way of 32-bit programs; the kernel lets a 64-bit one use it too.
    fn narrow(name: &str, number: u32, first: u32) -> Program {
        let mut code = Vec::new();
        code.push(0xb8); // mov eax, number
        code.extend(number.to_le_bytes());
        code.push(0xbb); // mov ebx, first
        code.extend(first.to_le_bytes());
        code.extend([0x31, 0xc9, 0x31, 0xd2]); // xor ecx, ecx; xor edx, edx
        code.extend([0xcd, 0x80]); // int 0x80
        code.extend([0xf7, 0xd8, 0x89, 0xc7]); // neg eax; mov edi, eax
        code.extend([0xb8, 60, 0, 0, 0, 0x0f, 0x05]); // exit, 64-bit
        Program::new(name, &elf64(&code))
    }

    /// Runs it below the filter: a filter belongs to a thread and what it starts.
    fn run(&self, filter: &Filter) -> std::process::ExitStatus {
        let (path, filter) = (self.0.clone(), filter.clone());
        let thread = std::thread::spawn(move || {
            filter.install().unwrap();
            Command::new(path).status().unwrap()
        });
        thread.join().unwrap()
    }
}

/// The smallest static program: one header, one segment.
fn elf64(code: &[u8]) -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    let mut image = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    image.extend(2u16.to_le_bytes()); // executable
    image.extend(62u16.to_le_bytes()); // x86_64
    image.extend(1u32.to_le_bytes());
    image.extend((BASE + 120).to_le_bytes()); // entry: behind both headers
    image.extend(64u64.to_le_bytes()); // program headers
    image.extend(0u64.to_le_bytes());
    image.extend(0u32.to_le_bytes());
    for half in [64u16, 56, 1, 0, 0, 0] {
        image.extend(half.to_le_bytes());
    }
    image.extend(1u32.to_le_bytes()); // load
    image.extend(5u32.to_le_bytes()); // read, execute
    let size = 120 + code.len() as u64;
    for word in [0, BASE, BASE, size, size, 0x1000] {
        image.extend(word.to_le_bytes());
    }
    image.extend(code);
    image
}

fn filter() -> Filter {
    assert!(rustix::process::geteuid().is_root(), "this test needs root");
    let allow = LinuxSeccompAction::ScmpActAllow;
    let personality = |value| {
        rule(&["personality"], allow, None, vec![argument(0, Operator::ScmpCmpEq, value, None)])
    };
    let profile = profile(
        LinuxSeccompAction::ScmpActErrno,
        Arch::X86_64,
        vec![
            rule(&NEEDED, allow, None, vec![]),
            rule(&["getpid", "mseal"], allow, None, vec![]),
            personality(0xffff_ffff),
            rule(&["clone3"], LinuxSeccompAction::ScmpActErrno, Some(38), vec![]),
            rule(&["chdir"], LinuxSeccompAction::ScmpActErrno, Some(77), vec![]),
            rule(&["acct"], LinuxSeccompAction::ScmpActKillProcess, None, vec![]),
        ],
    );
    compile(&profile).unwrap()
}

#[cfg(target_arch = "x86_64")]
#[test]
fn privileged_seccomp_errnos_of_64_bit_programs() {
    let filter = filter();
    for (what, number, first, errno) in [
        ("default", 165, 0, 1), // mount
        ("own", 80, 0, 77),     // chdir
        ("clone3", 435, 0, 38),
        ("newer", 463, 0, 38),
        ("question", 135, 0xffff_ffff, 0), // personality
        ("change", 135, 0x8, 1),
        ("x32", X32_BIT | 165, 0, 1),
    ] {
        let program = Program::wide(what, number, first);
        assert_eq!(program.run(&filter).code(), Some(errno), "{what}");
    }
    let killed = Program::wide("killed", 163, 0).run(&filter); // acct
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&killed), Some(31), "SIGSYS");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn privileged_seccomp_errnos_of_32_bit_calls() {
    // getpid without a filter: are there 32-bit calls on this kernel at all?
    let bare = Program::narrow("bare", 12, 0); // chdir(0): EFAULT
    let there = Command::new(&bare.0).status().unwrap().code() == Some(14);
    assert!(there, "these tests need a kernel with 32-bit system calls (CONFIG_IA32_EMULATION)");
    let filter = filter();
    for (what, number, first, errno) in [
        ("default32", 21, 0, 1), // mount
        ("own32", 12, 0, 77),    // chdir
        ("clone332", 435, 0, 38),
        ("newer32", 463, 0, 38),
        ("question32", 136, 0xffff_ffff, 0), // personality
        ("change32", 136, 0x8, 1),
    ] {
        let program = Program::narrow(what, number, first);
        assert_eq!(program.run(&filter).code(), Some(errno), "{what}");
    }
    // A filter for 64-bit calls alone must not be walked around.
    let mut narrow = sample(Arch::X86_64);
    let mut needed = narrow.syscalls().clone().unwrap();
    needed.push(rule(&NEEDED, LinuxSeccompAction::ScmpActAllow, None, vec![]));
    narrow.set_syscalls(Some(needed)).set_architectures(None);
    let killed = Program::narrow("foreign", 20, 0).run(&compile(&narrow).unwrap());
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&killed), Some(31), "SIGSYS");
}

/// Prints what a compilation costs; the bound is for debug builds on busy machines.
#[test]
fn compiling_is_quick() {
    let Some(file) = specs() else { return };
    let json = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let profile = docker(&json, &["CAP_SYS_CHROOT", "CAP_MKNOD"], Arch::X86_64);
    let mut best = std::time::Duration::MAX;
    let mut size = 0;
    for _ in 0..20 {
        let start = std::time::Instant::now();
        size = compile(&profile).unwrap().instructions();
        best = best.min(start.elapsed());
    }
    eprintln!("{size} instructions in {best:?}");
    assert!(size < 1500 && best < std::time::Duration::from_millis(20), "{size} {best:?}");
}
