//! The little of ELF that is needed: what a file is for, whether it is a static program, and
//! whether a kernel can be entered directly.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::error::Unfit;
use crate::machine::Arch;

pub(super) const ELF: &[u8] = b"\x7fELF";

const PT_LOAD: u32 = 1;
const PT_INTERP: u32 = 3;
const PT_NOTE: u32 = 4;
const EXEC: u16 = 2;
const DYN: u16 = 3;

/// The note that names a kernel's 32-bit entry (`XEN_ELFNOTE_PHYS32_ENTRY`), owner `Xen`.
const PHYS32_ENTRY: u32 = 18;

struct Segment {
    kind: u32,
    offset: usize,
    size: usize,
}

/// The architecture of a 64-bit little-endian ELF file.
pub(super) fn elf(bytes: &[u8]) -> Option<Arch> {
    // Class 2 is 64-bit, data 1 little-endian.
    if !bytes.starts_with(ELF) || bytes.get(4..6) != Some(&[2, 1]) {
        return None;
    }
    match half(bytes, 18)? {
        62 => Some(Arch::X86_64),
        183 => Some(Arch::Aarch64),
        _ => None,
    }
}

/// Whether it is a 64-bit little-endian ELF file of the architecture.
pub(super) fn is_elf(bytes: &[u8], arch: Arch) -> bool {
    elf(bytes) == Some(arch)
}

/// That of a program's file, if it says one that guests can have.
pub(super) fn architecture(program: &Path) -> Option<Arch> {
    let mut head = Vec::new();
    File::open(program).ok()?.take(64).read_to_end(&mut head).ok()?;
    elf(&head)
}

/// A static program, without what is only there for people and debuggers.
pub(super) fn static_program(mut bytes: Vec<u8>, arch: Arch) -> Result<Vec<u8>, Unfit> {
    if !is_elf(&bytes, arch) || !matches!(half(&bytes, 16), Some(EXEC | DYN)) {
        return Err(Unfit::NoProgram(arch));
    }
    let all = segments(&bytes).ok_or(Unfit::NoProgram(arch))?;
    if all.iter().any(|segment| segment.kind == PT_INTERP) {
        return Err(Unfit::Dynamic);
    }
    let loaded = all.iter().filter(|segment| segment.kind == PT_LOAD);
    let end = loaded.map(|segment| segment.offset.saturating_add(segment.size)).max();
    // The kernel looks at segments only; sections and symbols are behind them.
    if let Some(end) = end.filter(|end| (64..bytes.len()).contains(end)) {
        bytes.truncate(end);
        // e_shoff, and e_shnum with e_shstrndx.
        bytes[40..48].fill(0);
        bytes[60..64].fill(0);
    }
    Ok(bytes)
}

/// Whether a kernel has an entry for virtual machines.
pub(super) fn has_pvh(bytes: &[u8]) -> bool {
    let Some(all) = segments(bytes) else { return false };
    all.iter().filter(|segment| segment.kind == PT_NOTE).any(|segment| {
        let end = segment.offset.checked_add(segment.size);
        end.and_then(|end| bytes.get(segment.offset..end)).is_some_and(names_entry)
    })
}

/// Notes: length of the owner, length of the content, kind, owner, content; padded to 4 bytes.
fn names_entry(mut notes: &[u8]) -> bool {
    while let (Some(owner), Some(content), Some(kind)) =
        (word(notes, 0), word(notes, 4), word(notes, 8))
    {
        let padded = |length: u32| (length as usize).next_multiple_of(4);
        if kind == PHYS32_ENTRY && notes.get(12..16) == Some(b"Xen\0") {
            return true;
        }
        let Some(rest) = notes.get(12 + padded(owner) + padded(content)..) else { return false };
        notes = rest;
    }
    false
}

/// The program headers of a 64-bit file.
fn segments(bytes: &[u8]) -> Option<Vec<Segment>> {
    let table = long(bytes, 32)?;
    let size = usize::from(half(bytes, 54)?);
    let count = usize::from(half(bytes, 56)?);
    (0..count)
        .map(|n| {
            let header = bytes.get(table.checked_add(n * size)?..)?;
            Some(Segment {
                kind: word(header, 0)?,
                offset: long(header, 8)?,
                size: long(header, 32)?,
            })
        })
        .collect()
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?)).ok()
}
