//! Programs that see what comes in by a link before anything else does, or what is to go out by it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use super::map::Map;
use super::{
    Attach, BPF_PROG_ATTACH, BPF_PROG_QUERY, ById, Instruction, MAX_PROGRAMS, Query, call, load,
    name_of, own, program_by_id,
};

const BPF_MAP_GET_FD_BY_ID: libc::c_ulong = 14;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_ulong = 15;

const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
/// How many maps of a program are looked at.
const MAX_MAPS: usize = 8;

/// What a program at a link sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// What comes in by it (`BPF_TCX_INGRESS`).
    Received = 46,
    /// What is to go out by it (`BPF_TCX_EGRESS`).
    Sent = 47,
}

#[repr(C)]
#[derive(Default)]
struct Info {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// The beginning of `struct bpf_prog_info`.
#[repr(C)]
#[derive(Default)]
struct Program {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    jited_len: u32,
    xlated_len: u32,
    jited: u64,
    xlated: u64,
    load_time: u64,
    created_by_uid: u32,
    nr_map_ids: u32,
    map_ids: u64,
    name: [u8; 16],
}

/// The beginning of `struct bpf_map_info`.
#[repr(C)]
#[derive(Default)]
struct MapInfo {
    kind: u32,
    id: u32,
    key_size: u32,
    value_size: u32,
}

/// Loads a program of type `BPF_PROG_TYPE_SCHED_CLS`.
///
/// # Errors
/// EPERM without CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN; EACCES or EINVAL when the verifier
/// refuses it: it may need a newer kernel.
pub fn load_classifier(program: &[Instruction], name: &str) -> io::Result<OwnedFd> {
    load(BPF_PROG_TYPE_SCHED_CLS, program, name)
}

/// Has a program see a link's traffic for as long as there is the link (tcx, 6.6). Waits for RCU.
///
/// # Errors
/// EINVAL before 6.6; ENODEV; EEXIST when it does already.
pub fn attach_traffic(link: u32, traffic: Traffic, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = Attach {
        // The same place in the union.
        target_fd: link,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: traffic as u32,
        ..Attach::default()
    };
    call(BPF_PROG_ATTACH, &mut attr).map(drop)
}

/// The program of that name that sees a link's traffic; `None` if there is none.
///
/// # Errors
/// EINVAL before 6.6; ENODEV.
pub fn program_at(link: u32, traffic: Traffic, name: &str) -> io::Result<Option<OwnedFd>> {
    for id in attached(link, traffic)? {
        let program = program_by_id(id)?;
        let mut about = Program::default();
        describe(&program, &mut about)?;
        if about.name == name_of(name) {
            return Ok(Some(program));
        }
    }
    Ok(None)
}

/// Two maps of a program, known by their sizes; `None` unless it has both.
///
/// # Errors
/// What the kernel says.
#[allow(clippy::type_complexity, reason = "each part is said once")]
pub fn maps_of<const K1: usize, const V1: usize, const K2: usize, const V2: usize>(
    program: &OwnedFd,
) -> io::Result<Option<(Map<K1, V1>, Map<K2, V2>)>> {
    let mut map_ids = [0u32; MAX_MAPS];
    let mut about = Program {
        nr_map_ids: MAX_MAPS as u32,
        map_ids: map_ids.as_mut_ptr() as u64,
        ..Program::default()
    };
    describe(program, &mut about)?;
    let (mut one, mut other) = (None, None);
    for id in map_ids.iter().take(about.nr_map_ids as usize) {
        let mut attr = ById { prog_id: *id, ..ById::default() };
        let map = own(call(BPF_MAP_GET_FD_BY_ID, &mut attr)?);
        let mut about = MapInfo::default();
        describe(&map, &mut about)?;
        let sizes = (about.key_size as usize, about.value_size as usize);
        if sizes == (K1, V1) {
            one = Some(Map::of(map));
        } else if sizes == (K2, V2) {
            other = Some(Map::of(map));
        }
    }
    Ok(one.zip(other))
}

fn attached(link: u32, traffic: Traffic) -> io::Result<Vec<u32>> {
    let mut ids = [0u32; MAX_PROGRAMS];
    let mut attr = Query {
        target_fd: link,
        attach_type: traffic as u32,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: MAX_PROGRAMS as u32,
        ..Query::default()
    };
    match call(BPF_PROG_QUERY, &mut attr) {
        Ok(_) => Ok(ids.into_iter().take(attr.prog_cnt as usize).collect()),
        // Nothing was ever attached there.
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

/// Asks what a program or a map is; `T` is the beginning of the struct for it.
fn describe<T>(object: &OwnedFd, about: &mut T) -> io::Result<()> {
    let mut attr = Info {
        bpf_fd: object.as_raw_fd() as u32,
        info_len: size_of::<T>() as u32,
        info: std::ptr::from_mut(about) as u64,
    };
    call(BPF_OBJ_GET_INFO_BY_FD, &mut attr).map(drop)
}
