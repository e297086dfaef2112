//! Numbers of system calls on this architecture, for filters.

pub use libc::{
    SYS_brk, SYS_clock_getres, SYS_clock_gettime, SYS_clock_nanosleep, SYS_clone, SYS_close,
    SYS_close_range, SYS_dup, SYS_dup3, SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_pwait,
    SYS_eventfd2, SYS_execve, SYS_exit, SYS_exit_group, SYS_faccessat, SYS_fadvise64,
    SYS_fallocate, SYS_fcntl, SYS_fdatasync, SYS_fstat, SYS_fstatfs, SYS_fsync, SYS_ftruncate,
    SYS_futex, SYS_get_robust_list, SYS_getcwd, SYS_getdents64, SYS_getegid, SYS_geteuid,
    SYS_getgid, SYS_getpeername, SYS_getpid, SYS_getppid, SYS_getrandom, SYS_getsockname,
    SYS_getsockopt, SYS_gettid, SYS_gettimeofday, SYS_getuid, SYS_ioctl, SYS_lseek, SYS_madvise,
    SYS_membarrier, SYS_memfd_create, SYS_mmap, SYS_mprotect, SYS_mremap, SYS_msync, SYS_munmap,
    SYS_nanosleep, SYS_newfstatat, SYS_openat, SYS_pipe2, SYS_ppoll, SYS_prctl, SYS_pread64,
    SYS_preadv, SYS_prlimit64, SYS_pselect6, SYS_pwrite64, SYS_pwritev, SYS_read, SYS_readlinkat,
    SYS_readv, SYS_recvfrom, SYS_recvmsg, SYS_restart_syscall, SYS_rseq, SYS_rt_sigaction,
    SYS_rt_sigpending, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_rt_sigsuspend,
    SYS_rt_sigtimedwait, SYS_sched_getaffinity, SYS_sched_getparam, SYS_sched_getscheduler,
    SYS_sched_yield, SYS_seccomp, SYS_sendmsg, SYS_sendto, SYS_set_robust_list,
    SYS_set_tid_address, SYS_setsockopt, SYS_shutdown, SYS_sigaltstack, SYS_signalfd4,
    SYS_socketpair, SYS_statx, SYS_sysinfo, SYS_tgkill, SYS_timer_create, SYS_timer_delete,
    SYS_timer_settime, SYS_timerfd_create, SYS_timerfd_gettime, SYS_timerfd_settime, SYS_umask,
    SYS_uname, SYS_write, SYS_writev,
};

/// Those that only older architectures have.
#[cfg(target_arch = "x86_64")]
pub const OLD: &[libc::c_long] = &[
    libc::SYS_access,
    libc::SYS_arch_prctl,
    libc::SYS_dup2,
    libc::SYS_epoll_wait,
    libc::SYS_getrlimit,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_select,
];
/// Those that only older architectures have.
#[cfg(not(target_arch = "x86_64"))]
pub const OLD: &[libc::c_long] = &[];

/// The kernel's word for this architecture in filters (`AUDIT_ARCH_*`).
#[cfg(target_arch = "x86_64")]
pub const AUDIT_ARCH: u32 = 0xc000_003e;
/// The kernel's word for this architecture in filters (`AUDIT_ARCH_*`).
#[cfg(target_arch = "aarch64")]
pub const AUDIT_ARCH: u32 = 0xc000_00b7;

/// `CLONE_THREAD`: the new task is a thread of the caller's process.
pub const CLONE_THREAD: u32 = libc::CLONE_THREAD as u32;
