//! Which system calls a machine's process may make: an allow list.
//!
//! Reading, writing, waiting, memory, threads and clocks. No sockets but pairs, no processes, no
//! mounts, no tracing, no keys. The program itself puts a second, finer filter on top of this one.

use sys::seccomp::Instruction;
use sys::seccomp::notify::NOTIFY;
use sys::syscall::{
    AUDIT_ARCH, CLONE_THREAD, OLD, SYS_brk, SYS_clock_getres, SYS_clock_gettime,
    SYS_clock_nanosleep, SYS_clone, SYS_close, SYS_close_range, SYS_dup, SYS_dup3,
    SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_pwait, SYS_eventfd2, SYS_execve, SYS_exit,
    SYS_exit_group, SYS_faccessat, SYS_fadvise64, SYS_fallocate, SYS_fcntl, SYS_fdatasync,
    SYS_fstat, SYS_fstatfs, SYS_fsync, SYS_ftruncate, SYS_futex, SYS_get_robust_list, SYS_getcwd,
    SYS_getdents64, SYS_getegid, SYS_geteuid, SYS_getgid, SYS_getpeername, SYS_getpid, SYS_getppid,
    SYS_getrandom, SYS_getsockname, SYS_getsockopt, SYS_gettid, SYS_gettimeofday, SYS_getuid,
    SYS_ioctl, SYS_lseek, SYS_madvise, SYS_membarrier, SYS_memfd_create, SYS_mmap, SYS_mprotect,
    SYS_mremap, SYS_msync, SYS_munmap, SYS_nanosleep, SYS_newfstatat, SYS_openat, SYS_pipe2,
    SYS_ppoll, SYS_prctl, SYS_pread64, SYS_preadv, SYS_prlimit64, SYS_pselect6, SYS_pwrite64,
    SYS_pwritev, SYS_read, SYS_readlinkat, SYS_readv, SYS_recvfrom, SYS_recvmsg,
    SYS_restart_syscall, SYS_rseq, SYS_rt_sigaction, SYS_rt_sigpending, SYS_rt_sigprocmask,
    SYS_rt_sigreturn, SYS_rt_sigsuspend, SYS_rt_sigtimedwait, SYS_sched_getaffinity,
    SYS_sched_getparam, SYS_sched_getscheduler, SYS_sched_yield, SYS_seccomp, SYS_sendmsg,
    SYS_sendto, SYS_set_robust_list, SYS_set_tid_address, SYS_setsockopt, SYS_shutdown,
    SYS_sigaltstack, SYS_signalfd4, SYS_socketpair, SYS_statx, SYS_sysinfo, SYS_tgkill,
    SYS_timer_create, SYS_timer_delete, SYS_timer_settime, SYS_timerfd_create, SYS_timerfd_gettime,
    SYS_timerfd_settime, SYS_umask, SYS_uname, SYS_write, SYS_writev,
};

#[rustfmt::skip]
const ALLOWED: &[i64] = &[
    SYS_brk, SYS_clock_getres, SYS_clock_gettime, SYS_clock_nanosleep, SYS_close, SYS_close_range,
    SYS_dup, SYS_dup3, SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_pwait, SYS_eventfd2,
    // Its own program; the filter that it puts on itself takes this away.
    SYS_execve,
    SYS_exit, SYS_exit_group, SYS_faccessat, SYS_fadvise64, SYS_fcntl, SYS_fdatasync, SYS_fstat,
    SYS_fstatfs, SYS_fsync, SYS_ftruncate, SYS_futex, SYS_get_robust_list, SYS_getcwd,
    SYS_getdents64, SYS_getegid, SYS_geteuid, SYS_getgid, SYS_getpeername, SYS_getpid, SYS_getppid,
    SYS_getrandom, SYS_getsockname, SYS_getsockopt, SYS_gettid, SYS_gettimeofday, SYS_getuid,
    SYS_ioctl, SYS_lseek, SYS_madvise, SYS_membarrier, SYS_memfd_create, SYS_mmap, SYS_mprotect,
    SYS_mremap, SYS_msync, SYS_munmap, SYS_nanosleep, SYS_newfstatat, SYS_pipe2, SYS_ppoll,
    SYS_prctl, SYS_pread64, SYS_preadv, SYS_prlimit64, SYS_pselect6, SYS_pwrite64, SYS_pwritev,
    SYS_read, SYS_readlinkat, SYS_readv, SYS_recvfrom, SYS_recvmsg, SYS_restart_syscall, SYS_rseq,
    SYS_rt_sigaction, SYS_rt_sigpending, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_rt_sigsuspend,
    SYS_rt_sigtimedwait, SYS_sched_getaffinity, SYS_sched_getparam, SYS_sched_getscheduler,
    SYS_sched_yield, SYS_seccomp, SYS_sendmsg, SYS_sendto, SYS_set_robust_list,
    SYS_set_tid_address, SYS_setsockopt, SYS_shutdown, SYS_sigaltstack, SYS_signalfd4, SYS_socketpair, SYS_statx,
    SYS_sysinfo, SYS_tgkill, SYS_timer_create, SYS_timer_delete, SYS_timer_settime,
    SYS_timerfd_create, SYS_timerfd_gettime, SYS_timerfd_settime, SYS_umask, SYS_uname, SYS_write,
    SYS_writev,
];

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const IF_EQUAL: u16 = 0x15;
const IF_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

/// Offsets into `struct seccomp_data`; the low half of an argument comes first.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;
const SECOND_ARGUMENT: u32 = 24;
const THIRD_ARGUMENT: u32 = 32;

const ALLOW: u32 = 0x7fff_0000;
const KILL_PROCESS: u32 = 0x8000_0000;
const EPERM: u32 = 0x0005_0000 | sys::errno::EPERM as u32;
/// The caller then does with `clone` what it wanted to do with `clone3`, whose flags are out of a
/// filter's sight.
const ENOSYS: u32 = 0x0005_0000 | sys::errno::ENOSYS as u32;
/// The same number on every architecture that has it.
const CLONE3: u32 = 435;
const ACCESS_MODE: u32 = 3;
const READ_WRITE: u32 = 2;
/// `FALLOC_FL_PUNCH_HOLE` of `fallocate(2)`.
const PUNCH_HOLE: u32 = 2;

/// What waits for a listener's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asks {
    /// Nothing.
    Nothing,
    /// Opening a file for reading and writing.
    Opening,
    /// And punching a hole into one.
    Freeing,
}

fn op(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

fn unless(code: u16, k: u32, skip: u8) -> Instruction {
    Instruction { code, jt: 0, jf: skip, k }
}

/// The filter.
pub(crate) fn program(asks: Asks) -> Vec<Instruction> {
    let mut code = vec![
        op(LOAD, ARCH),
        Instruction { code: IF_EQUAL, jt: 1, jf: 0, k: AUDIT_ARCH },
        op(RETURN, KILL_PROCESS),
        op(LOAD, NUMBER),
    ];
    for number in ALLOWED.iter().chain(OLD) {
        code.extend([unless(IF_EQUAL, *number as u32, 1), op(RETURN, ALLOW)]);
    }
    let asked = |asked: bool| if asked { NOTIFY } else { ALLOW };
    let (read_write, hole) = (asked(asks != Asks::Nothing), asked(asks == Asks::Freeing));
    code.extend([
        unless(IF_EQUAL, CLONE3, 1),
        op(RETURN, ENOSYS),
        unless(IF_EQUAL, SYS_clone as u32, 4),
        op(LOAD, FIRST_ARGUMENT),
        unless(IF_ANY_BIT, CLONE_THREAD, 1),
        op(RETURN, ALLOW),
        op(RETURN, EPERM),
        unless(IF_EQUAL, SYS_fallocate as u32, 4),
        op(LOAD, SECOND_ARGUMENT),
        unless(IF_ANY_BIT, PUNCH_HOLE, 1),
        op(RETURN, hole),
        op(RETURN, ALLOW),
        unless(IF_EQUAL, SYS_openat as u32, 5),
        op(LOAD, THIRD_ARGUMENT),
        op(AND, ACCESS_MODE),
        unless(IF_EQUAL, READ_WRITE, 1),
        op(RETURN, read_write),
        op(RETURN, ALLOW),
        op(RETURN, EPERM),
    ]);
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would make of a call.
    fn run(code: &[Instruction], arch: u32, number: i64, arguments: [u32; 3]) -> u32 {
        let mut accumulator = 0u32;
        let mut at = 0;
        loop {
            let Instruction { code: what, jt, jf, k } = code[at];
            at += 1;
            let jump = |holds: bool| usize::from(if holds { jt } else { jf });
            match what {
                LOAD => {
                    accumulator = match k {
                        NUMBER => number as u32,
                        ARCH => arch,
                        _ => arguments[(k as usize - 16) / 8],
                    }
                }
                AND => accumulator &= k,
                IF_EQUAL => at += jump(accumulator == k),
                IF_ANY_BIT => at += jump(accumulator & k != 0),
                RETURN => return k,
                _ => panic!("an unknown instruction: {what:#x}"),
            }
        }
    }

    #[test]
    fn what_is_not_on_the_list_is_refused() {
        let code = program(Asks::Nothing);
        let call = |number: i64, arguments| run(&code, AUDIT_ARCH, number, arguments);
        assert_eq!(call(SYS_read, [0; 3]), ALLOW);
        assert_eq!(call(SYS_writev, [0; 3]), ALLOW);
        // socket, ptrace and mount on x86-64; on others some call that is not on the list either.
        for number in [41, 101, 165] {
            if !ALLOWED.contains(&number) {
                assert_eq!(call(number, [0; 3]), EPERM, "call {number}");
            }
        }
        assert_eq!(call(i64::from(CLONE3), [0; 3]), ENOSYS);
        assert_eq!(call(SYS_clone, [CLONE_THREAD | 0xf00, 0, 0]), ALLOW);
        assert_eq!(call(SYS_clone, [17, 0, 0]), EPERM, "a fork");
        assert_eq!(run(&code, AUDIT_ARCH ^ 1, SYS_read, [0; 3]), KILL_PROCESS);
    }

    #[test]
    fn only_opening_for_writing_and_freeing_are_asked_about() {
        let (plain, asking) = (program(Asks::Nothing), program(Asks::Opening));
        let freeing = program(Asks::Freeing);
        let open = |code: &[Instruction], flags| run(code, AUDIT_ARCH, SYS_openat, [0, 0, flags]);
        assert_eq!(open(&asking, 2), NOTIFY);
        assert_eq!(open(&asking, 0x8_0002), NOTIFY);
        assert_eq!(open(&asking, 0), ALLOW);
        assert_eq!(open(&freeing, 2), NOTIFY);
        assert_eq!(open(&plain, 2), ALLOW);
        let hole = |code: &[Instruction], mode| run(code, AUDIT_ARCH, SYS_fallocate, [0, mode, 0]);
        assert_eq!(hole(&freeing, 3), NOTIFY);
        assert_eq!(hole(&freeing, 1), ALLOW);
        assert_eq!(hole(&asking, 3), ALLOW);
        assert_eq!(hole(&plain, 3), ALLOW);
    }
}
