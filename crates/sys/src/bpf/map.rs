//! Maps: what programs and we tell each other.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::{call, name_of, own};

const BPF_MAP_CREATE: libc::c_ulong = 0;
const BPF_MAP_LOOKUP_ELEM: libc::c_ulong = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_ulong = 2;
const BPF_MAP_DELETE_ELEM: libc::c_ulong = 3;
const BPF_MAP_GET_NEXT_KEY: libc::c_ulong = 4;

const BPF_MAP_TYPE_HASH: u32 = 1;
/// Memory is only taken by what is in the map.
const BPF_F_NO_PREALLOC: u32 = 1;

#[repr(C)]
#[derive(Default)]
struct Create {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    map_name: [u8; 16],
}

#[repr(C)]
#[derive(Default)]
struct Element {
    map_fd: u32,
    padding: u32,
    key: u64,
    /// Or the next key.
    value: u64,
    flags: u64,
}

/// A hash map from keys of `K` bytes to values of `V` bytes.
#[derive(Debug)]
pub struct Map<const K: usize, const V: usize> {
    fd: OwnedFd,
    sizes: PhantomData<([u8; K], [u8; V])>,
}

impl<const K: usize, const V: usize> Map<K, V> {
    /// An empty map for at most `most` entries.
    ///
    /// # Errors
    /// EPERM without CAP_BPF or CAP_SYS_ADMIN; ENOSYS, where the kernel has no `bpf(2)`.
    pub fn create(name: &str, most: u32) -> io::Result<Self> {
        let mut attr = Create {
            map_type: BPF_MAP_TYPE_HASH,
            key_size: K as u32,
            value_size: V as u32,
            max_entries: most,
            map_flags: BPF_F_NO_PREALLOC,
            map_name: name_of(name),
            ..Create::default()
        };
        Ok(Self::of(own(call(BPF_MAP_CREATE, &mut attr)?)))
    }

    /// One that is there; the caller has looked at its sizes.
    pub(super) fn of(fd: OwnedFd) -> Self {
        Self { fd, sizes: PhantomData }
    }

    /// The value of a key.
    ///
    /// # Errors
    /// What the kernel says, other than that there is none.
    pub fn get(&self, key: &[u8; K]) -> io::Result<Option<[u8; V]>> {
        let mut value = [0; V];
        let mut attr = self.element(key, value.as_mut_ptr() as u64);
        match call(BPF_MAP_LOOKUP_ELEM, &mut attr) {
            Ok(_) => Ok(Some(value)),
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Sets the value of a key.
    ///
    /// # Errors
    /// E2BIG when it is full.
    pub fn set(&self, key: &[u8; K], value: &[u8; V]) -> io::Result<()> {
        let mut attr = self.element(key, value.as_ptr() as u64);
        call(BPF_MAP_UPDATE_ELEM, &mut attr).map(drop)
    }

    /// Takes a key out. One that is not there is as good.
    ///
    /// # Errors
    /// What else the kernel says.
    pub fn remove(&self, key: &[u8; K]) -> io::Result<()> {
        let mut attr = self.element(key, 0);
        match call(BPF_MAP_DELETE_ELEM, &mut attr) {
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            other => other.map(drop),
        }
    }

    /// All keys. While others change the map some may be left out or come twice.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn keys(&self) -> io::Result<Vec<[u8; K]>> {
        let mut keys: Vec<[u8; K]> = Vec::new();
        loop {
            let mut next = [0; K];
            let mut attr = Element {
                map_fd: self.fd.as_raw_fd() as u32,
                key: keys.last().map_or(0, |key| key.as_ptr() as u64),
                value: next.as_mut_ptr() as u64,
                ..Element::default()
            };
            match call(BPF_MAP_GET_NEXT_KEY, &mut attr) {
                Ok(_) => keys.push(next),
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(keys),
                Err(e) => return Err(e),
            }
        }
    }

    fn element(&self, key: &[u8; K], value: u64) -> Element {
        Element {
            map_fd: self.fd.as_raw_fd() as u32,
            key: key.as_ptr() as u64,
            value,
            ..Element::default()
        }
    }
}

impl<const K: usize, const V: usize> AsFd for Map<K, V> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn privileged_what_is_put_in_is_found() {
        let map: Map<2, 4> = Map::create("test", 3).expect("a map");
        assert_eq!(map.keys().expect("keys"), [[0; 2]; 0]);
        for n in 1..=3 {
            map.set(&[n; 2], &[n; 4]).expect("room");
        }
        assert!(map.set(&[4; 2], &[4; 4]).is_err(), "it is full");
        map.set(&[3; 2], &[9; 4]).expect("it is there");
        assert_eq!(map.get(&[3; 2]).expect("an answer"), Some([9; 4]));
        map.remove(&[3; 2]).expect("removed");
        map.remove(&[3; 2]).expect("it is not there");
        assert_eq!(map.get(&[3; 2]).expect("an answer"), None);
        let mut keys = map.keys().expect("keys");
        keys.sort_unstable();
        assert_eq!(keys, [[1; 2], [2; 2]]);
    }
}
