//! Writing tars: POSIX headers, extended ones where a value does not fit.

use std::io::{self, Write};

use super::entry::Kind;
use super::{BLOCK, padding};

/// What a header says of an entry.
#[derive(Clone, Debug)]
pub(crate) struct Header<'a> {
    /// Its name; a directory's should end in `/`.
    pub(crate) name: &'a [u8],
    /// What it makes.
    pub(crate) kind: Kind,
    /// Permission bits.
    pub(crate) mode: u32,
    /// Owner.
    pub(crate) uid: u32,
    /// Group.
    pub(crate) gid: u32,
    /// Bytes of content.
    pub(crate) size: u64,
    /// Last change, in whole seconds: what Docker's layers have too.
    pub(crate) mtime: i64,
    /// Where a link leads.
    pub(crate) link: &'a [u8],
    /// Major and minor number.
    pub(crate) device: (u32, u32),
    /// Extended attributes.
    pub(crate) xattrs: &'a [(Vec<u8>, Vec<u8>)],
    /// Its name and size, where those of the block are of the map and content of a file with holes.
    pub(crate) sparse: Option<(&'a [u8], u64)>,
}

impl Default for Header<'_> {
    fn default() -> Self {
        Self {
            name: b"",
            kind: Kind::File,
            mode: 0o644,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: 0,
            link: b"",
            device: (0, 0),
            xattrs: &[],
            sparse: None,
        }
    }
}

/// A tar being written.
pub(crate) struct TarWriter<W> {
    output: W,
}

impl<W: Write> TarWriter<W> {
    pub(crate) fn new(output: W) -> Self {
        Self { output }
    }

    /// Writes the headers of an entry; exactly `size` bytes of content and then
    /// [`TarWriter::pad`] must follow.
    ///
    /// # Errors
    /// Those of the output.
    pub(crate) fn header(&mut self, header: &Header<'_>) -> io::Result<()> {
        let records = records(header);
        if !records.is_empty() {
            let mut name = b"PaxHeaders.0/".to_vec();
            name.extend(header.name.iter().copied().filter(u8::is_ascii).take(80));
            let extended = Header {
                name: &name,
                size: records.len() as u64,
                mtime: header.mtime.max(0),
                ..Header::default()
            };
            self.output.write_all(&block(&extended, b'x'))?;
            self.output.write_all(&records)?;
            self.pad(records.len() as u64)?;
        }
        self.output.write_all(&block(header, type_flag(header.kind)))
    }

    /// Writes a file that is in memory.
    ///
    /// # Errors
    /// Those of the output.
    pub(crate) fn file(&mut self, name: &str, content: &[u8], mtime: i64) -> io::Result<()> {
        let size = content.len() as u64;
        self.header(&Header { name: name.as_bytes(), size, mtime, ..Header::default() })?;
        self.output.write_all(content)?;
        self.pad(size)
    }

    /// Writes a directory of the archive's own making.
    ///
    /// # Errors
    /// Those of the output.
    pub(crate) fn directory(&mut self, name: &str, mtime: i64) -> io::Result<()> {
        let (kind, mode) = (Kind::Dir, 0o755);
        self.header(&Header { name: name.as_bytes(), kind, mode, mtime, ..Header::default() })
    }

    /// The output, for the content of an entry.
    pub(crate) fn output(&mut self) -> &mut W {
        &mut self.output
    }

    /// Fills up the last block of content of this size.
    ///
    /// # Errors
    /// Those of the output.
    pub(crate) fn pad(&mut self, size: u64) -> io::Result<()> {
        self.output.write_all(&[0; BLOCK][..padding(size)])
    }

    /// Writes the end marker.
    ///
    /// # Errors
    /// Those of the output.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        self.output.write_all(&[0; 2 * BLOCK])?;
        self.output.flush()
    }

    /// Gives the output back.
    pub(crate) fn into_output(self) -> W {
        self.output
    }
}

fn type_flag(kind: Kind) -> u8 {
    match kind {
        Kind::File => b'0',
        Kind::HardLink => b'1',
        Kind::Symlink => b'2',
        Kind::Char => b'3',
        Kind::Block => b'4',
        Kind::Dir => b'5',
        Kind::Fifo => b'6',
        Kind::Nothing => b'g',
    }
}

/// The extended header's records: only what the block cannot say.
fn records(header: &Header<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    if split_name(header.name).is_none() || !header.name.is_ascii() {
        record(&mut out, b"path", header.name);
    }
    if header.link.len() > 100 || !header.link.is_ascii() {
        record(&mut out, b"linkpath", header.link);
    }
    if header.size >= 1 << 33 {
        record(&mut out, b"size", header.size.to_string().as_bytes());
    }
    if header.uid >= 1 << 21 {
        record(&mut out, b"uid", header.uid.to_string().as_bytes());
    }
    if header.gid >= 1 << 21 {
        record(&mut out, b"gid", header.gid.to_string().as_bytes());
    }
    if !(0..1 << 33).contains(&header.mtime) {
        record(&mut out, b"mtime", header.mtime.to_string().as_bytes());
    }
    if let Some((name, size)) = header.sparse {
        record(&mut out, b"GNU.sparse.major", b"1");
        record(&mut out, b"GNU.sparse.minor", b"0");
        record(&mut out, b"GNU.sparse.name", name);
        record(&mut out, b"GNU.sparse.realsize", size.to_string().as_bytes());
    }
    for (key, value) in header.xattrs {
        record(&mut out, &[b"SCHILY.xattr.", &key[..]].concat(), value);
    }
    out
}

/// Appends `length key=value\n`, where the length counts itself.
fn record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    out.extend_from_slice(len.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// Splits a name into prefix and name of a POSIX header, if it fits.
fn split_name(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.len() <= 100 {
        return Some((b"", name));
    }
    // The slash itself is not stored, and neither side may be empty.
    let at = (name.len().saturating_sub(101)..name.len().saturating_sub(1).min(156))
        .find(|at| *at > 0 && name[*at] == b'/')?;
    Some((&name[..at], &name[at + 1..]))
}

fn block(header: &Header<'_>, flag: u8) -> [u8; BLOCK] {
    let mut block = [0u8; BLOCK];
    let (prefix, name) = match split_name(header.name) {
        Some(parts) => parts,
        None => (&b""[..], &header.name[..100]),
    };
    block[..name.len()].copy_from_slice(name);
    octal(&mut block[100..108], u64::from(header.mode & 0o7777));
    octal(&mut block[108..116], u64::from(header.uid).min(0o7_777_777));
    octal(&mut block[116..124], u64::from(header.gid).min(0o7_777_777));
    octal(&mut block[124..136], header.size.min((1 << 33) - 1));
    octal(&mut block[136..148], header.mtime.clamp(0, (1 << 33) - 1) as u64);
    block[148..156].fill(b' ');
    block[156] = flag;
    let link = &header.link[..header.link.len().min(100)];
    block[157..157 + link.len()].copy_from_slice(link);
    block[257..265].copy_from_slice(b"ustar\x0000");
    octal(&mut block[329..337], u64::from(header.device.0).min(0o7_777_777));
    octal(&mut block[337..345], u64::from(header.device.1).min(0o7_777_777));
    block[345..345 + prefix.len()].copy_from_slice(prefix);
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    octal(&mut block[148..155], sum);
    block[155] = b' ';
    block
}

/// Octal digits that fill the field up to its terminating NUL.
fn octal(field: &mut [u8], mut value: u64) {
    let last = field.len() - 1;
    field[last] = 0;
    for digit in field[..last].iter_mut().rev() {
        *digit = b'0' + (value & 7) as u8;
        value >>= 3;
    }
}
