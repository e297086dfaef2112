//! Taking a kernel out of its wrapping.
//!
//! x86's `bzImage` is a boot sector, a set-up program and, compressed, the kernel as an ELF file
//! (kernel documentation, *The Linux/x86 Boot Protocol*: `setup_sects` at 0x1f1, `payload_offset`
//! and `payload_length` at 0x248 since version 2.08). ARM's `Image` is the kernel itself, perhaps
//! compressed with gzip.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::error::Unfit;
use super::{lz4, note};
use crate::machine::Arch;

/// No kernel is larger: the file may be anything.
const MAX: u64 = 512 << 20;

/// The kernel as it is booted.
pub(super) fn kernel(bytes: Vec<u8>, arch: Arch) -> Result<Vec<u8>, Unfit> {
    match arch {
        Arch::X86_64 => {
            let kernel = if bytes.starts_with(note::ELF) { bytes } else { payload(&bytes)? };
            if !note::is_elf(&kernel, arch) {
                return Err(Unfit::NoKernel(arch));
            }
            if note::has_pvh(&kernel) { Ok(kernel) } else { Err(Unfit::NoPvh) }
        }
        Arch::Aarch64 => {
            let compressed = bytes.starts_with(GZIP) || bytes.starts_with(ZSTD);
            let kernel = if compressed { decompress(&bytes)? } else { bytes };
            if is_image(&kernel) { Ok(kernel) } else { Err(Unfit::NoKernel(arch)) }
        }
    }
}

/// Which guests a kernel's file is for, if its beginning tells.
pub(super) fn architecture(path: &Path) -> Option<Arch> {
    /// Enough for the head of what is compressed.
    const HEAD: u64 = 64 << 10;
    let mut head = Vec::new();
    File::open(path).ok()?.take(HEAD).read_to_end(&mut head).ok()?;
    let mut begin = vec![0; 0x40];
    let unpacked = if head.starts_with(GZIP) {
        flate2::read::GzDecoder::new(&head[..]).read_exact(&mut begin)
    } else if head.starts_with(ZSTD) {
        zstd::stream::read::Decoder::new(&head[..])
            .and_then(|mut decoder| decoder.read_exact(&mut begin))
    } else if is_wrapped(&head) {
        return Some(Arch::X86_64);
    } else {
        begin = head;
        Ok(())
    };
    unpacked.ok()?;
    if is_image(&begin) { Some(Arch::Aarch64) } else { note::elf(&begin) }
}

/// ARM's `Image`.
fn is_image(bytes: &[u8]) -> bool {
    bytes.get(0x38..0x3c) == Some(b"ARM\x64")
}

/// x86's `bzImage`, since the version whose payload can be found.
fn is_wrapped(bytes: &[u8]) -> bool {
    bytes.get(0x202..0x206) == Some(b"HdrS") && bytes.get(0x206..0x208) >= Some(&[8, 2])
}

/// What a `bzImage` unpacks.
fn payload(bytes: &[u8]) -> Result<Vec<u8>, Unfit> {
    let no_kernel = || Unfit::NoKernel(Arch::X86_64);
    let word = |at: usize| {
        let found = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_le_bytes(found) as usize)
    };
    if !is_wrapped(bytes) {
        return Err(no_kernel());
    }
    let sectors = match bytes[0x1f1] {
        // Before anybody counted.
        0 => 4,
        count => usize::from(count),
    };
    let range = || {
        let begin = (sectors + 1) * 512 + word(0x248)?;
        bytes.get(begin..begin.checked_add(word(0x24c)?)?)
    };
    decompress(range().ok_or_else(no_kernel)?)
}

const GZIP: &[u8] = &[0x1f, 0x8b];
const XZ: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z', 0];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// Unpacks one stream; what comes after it is the length, which is not needed.
pub(super) fn decompress(bytes: &[u8]) -> Result<Vec<u8>, Unfit> {
    let mut out = Vec::new();
    let mut read = |reader: &mut dyn Read| {
        let read = reader.take(MAX + 1).read_to_end(&mut out);
        read.map_err(Unfit::Damaged)
    };
    let length = if bytes.starts_with(GZIP) {
        read(&mut flate2::read::GzDecoder::new(bytes))?
    } else if bytes.starts_with(XZ) {
        read(&mut lzma_rust2::XzReader::new(bytes, false))?
    } else if bytes.starts_with(ZSTD) {
        let decoder = zstd::stream::read::Decoder::new(bytes).map_err(Unfit::Damaged)?;
        read(&mut decoder.single_frame())?
    } else if bytes.starts_with(lz4::MAGIC) {
        return lz4::decompress(bytes, MAX as usize).map_err(Unfit::Damaged);
    } else {
        return Err(Unfit::Compression);
    };
    if length as u64 > MAX {
        return Err(Unfit::Damaged(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(out)
}

/// What `uname -r` says in it.
pub(super) fn release(kernel: &[u8]) -> Option<String> {
    const BANNER: &[u8] = b"Linux version ";
    let mut rest = kernel;
    loop {
        let at = find(rest, BANNER)? + BANNER.len();
        rest = &rest[at..];
        let end = rest.iter().take(128).position(|byte| !byte.is_ascii_graphic())?;
        // A format string is not a version.
        if rest[0].is_ascii_digit() && rest[end] == b' ' {
            return String::from_utf8(rest[..end].to_vec()).ok();
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + bytes[from..].iter().position(|byte| *byte == what[0])?;
        if bytes[at..].starts_with(what) {
            return Some(at);
        }
        from = at + 1;
    }
}
