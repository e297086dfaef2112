//! `bpf(2)`, as far as device filters on a unified cgroup and the direct way between containers need
//! it.

mod map;
mod traffic;

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

pub use map::Map;
pub use traffic::{Traffic, attach_traffic, load_classifier, maps_of, program_at};

/// One eBPF instruction, laid out as the kernel's `struct bpf_insn`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Instruction {
    /// Operation.
    pub code: u8,
    /// Destination register in the low, source register in the high four bits.
    pub registers: u8,
    /// Jump distance or memory offset.
    pub offset: i16,
    /// Immediate operand.
    pub immediate: i32,
}

const BPF_PROG_LOAD: libc::c_ulong = 5;
const BPF_PROG_ATTACH: libc::c_ulong = 8;
const BPF_PROG_DETACH: libc::c_ulong = 9;
const BPF_PROG_GET_FD_BY_ID: libc::c_ulong = 13;
const BPF_PROG_QUERY: libc::c_ulong = 16;

const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;
const BPF_F_REPLACE: u32 = 4;

/// How many programs on one cgroup are looked at; the kernel takes 64.
const MAX_PROGRAMS: usize = 64;

#[repr(C)]
#[derive(Default)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
}

#[repr(C)]
#[derive(Default)]
struct Attach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

#[repr(C)]
#[derive(Default)]
struct Query {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
}

#[repr(C)]
#[derive(Default)]
struct ById {
    prog_id: u32,
    next_id: u32,
    open_flags: u32,
}

/// `bpf(2)` with one of the structs above.
///
/// The caller upholds that every pointer inside `attr` is valid for what `command` does with it.
fn call<T>(command: libc::c_ulong, attr: &mut T) -> io::Result<RawFd> {
    // SAFETY: `attr` is a C struct that starts as the kernel's `union bpf_attr` does for this
    // command, its size is given, and the functions below only put live buffers into it.
    let answer =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer as RawFd) }
}

fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel just made this descriptor for us (close-on-exec by itself), nobody else
    // has it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Loads a program of type `BPF_PROG_TYPE_CGROUP_DEVICE` (4.15).
///
/// # Errors
/// EPERM without CAP_BPF or CAP_SYS_ADMIN, EACCES or EINVAL when the verifier refuses it.
pub fn load_device_program(program: &[Instruction], name: &str) -> io::Result<OwnedFd> {
    load(BPF_PROG_TYPE_CGROUP_DEVICE, program, name)
}

fn load(kind: u32, program: &[Instruction], name: &str) -> io::Result<OwnedFd> {
    let license = c"Apache-2.0";
    let mut attr = Load {
        prog_type: kind,
        insn_cnt: program.len() as u32,
        insns: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        prog_name: name_of(name),
        ..Load::default()
    };
    call(BPF_PROG_LOAD, &mut attr).map(own)
}

/// A name as the kernel has it: 15 bytes and a NUL.
fn name_of(text: &str) -> [u8; 16] {
    let mut name = [0; 16];
    for (to, from) in name.iter_mut().take(15).zip(text.bytes()) {
        *to = from;
    }
    name
}

/// Attaches a device program to a cgroup so that others may be attached too; in place of
/// `replace`, in one step, if given (5.6, EINVAL before).
pub fn attach_device_program(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    replace: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut attr = Attach {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: BPF_F_ALLOW_MULTI,
        ..Attach::default()
    };
    if let Some(old) = replace {
        attr.attach_flags |= BPF_F_REPLACE;
        attr.replace_bpf_fd = old.as_raw_fd() as u32;
    }
    call(BPF_PROG_ATTACH, &mut attr).map(drop)
}

/// Takes a device program off a cgroup.
pub fn detach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = Attach {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: BPF_CGROUP_DEVICE,
        ..Attach::default()
    };
    call(BPF_PROG_DETACH, &mut attr).map(drop)
}

/// The ids of the device programs on this very cgroup, not those above it (4.15).
pub fn attached_device_programs(cgroup: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut ids = [0u32; MAX_PROGRAMS];
    let mut attr = Query {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_type: BPF_CGROUP_DEVICE,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: MAX_PROGRAMS as u32,
        ..Query::default()
    };
    call(BPF_PROG_QUERY, &mut attr)?;
    let count = (attr.prog_cnt as usize).min(MAX_PROGRAMS);
    Ok(ids[..count].to_vec())
}

/// A descriptor of a loaded program (4.13, CAP_SYS_ADMIN).
pub fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    let mut attr = ById { prog_id: id, ..ById::default() };
    call(BPF_PROG_GET_FD_BY_ID, &mut attr).map(own)
}
