//! Programs that see what comes in by a link, before anything else does.

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
const BPF_TCX_INGRESS: u32 = 46;

/// How many maps of a program are looked at.
const MAX_MAPS: usize = 8;

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

/// Has a program see what comes in by a link, for as long as there is the link (tcx, 6.6). Waits
/// for RCU.
///
/// # Errors
/// EINVAL before 6.6; ENODEV.
pub fn attach_ingress(link: u32, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = Attach {
        // The same place in the union.
        target_fd: link,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: BPF_TCX_INGRESS,
        ..Attach::default()
    };
    call(BPF_PROG_ATTACH, &mut attr).map(drop)
}

/// The program of that name that sees what comes in by a link, with two of its maps, known by
/// their sizes; `None` if there is none.
///
/// # Errors
/// EINVAL before 6.6; ENODEV.
#[allow(clippy::type_complexity, reason = "each part is said once")]
pub fn maps_of_ingress<const K1: usize, const V1: usize, const K2: usize, const V2: usize>(
    link: u32,
    name: &str,
) -> io::Result<Option<(OwnedFd, Map<K1, V1>, Map<K2, V2>)>> {
    for id in attached(link)? {
        let program = program_by_id(id)?;
        let mut map_ids = [0u32; MAX_MAPS];
        let mut about = Program {
            nr_map_ids: MAX_MAPS as u32,
            map_ids: map_ids.as_mut_ptr() as u64,
            ..Program::default()
        };
        describe(&program, &mut about)?;
        if about.name != name_of(name) {
            continue;
        }
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
        if let Some((one, other)) = one.zip(other) {
            return Ok(Some((program, one, other)));
        }
    }
    Ok(None)
}

fn attached(link: u32) -> io::Result<Vec<u32>> {
    let mut ids = [0u32; MAX_PROGRAMS];
    let mut attr = Query {
        target_fd: link,
        attach_type: BPF_TCX_INGRESS,
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
