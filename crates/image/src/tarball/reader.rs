//! Reading a tar, with every byte that is not file content kept.

use std::io::BufRead;

use sys::entry::FileTime;

use super::block::{Block, number};
use super::entry::{Entry, Kind};
use super::pax::{self, Pax};
use super::sparse::{self, Segment};
use super::{BLOCK, padding};
use crate::error::{Error, Result};

/// The largest extended header or long name that is taken in; Go's limit as well.
const MAX_SPECIAL: u64 = 1 << 20;

/// A tar being read. Bytes that are no file content gather in [`TarReader::raw`], in order.
pub(crate) struct TarReader<R> {
    input: R,
    /// What has been read and is no payload, since it was last taken.
    raw: Vec<u8>,
    /// Payload of the current entry that has not been read.
    left: u64,
    /// Padding after it.
    pad: usize,
    ended: bool,
}

impl<R: BufRead> TarReader<R> {
    pub(crate) fn new(input: R) -> Self {
        Self { input, raw: Vec::new(), left: 0, pad: 0, ended: false }
    }

    /// The bytes that are no payload and have not been taken yet; empty it when you have used them.
    pub(crate) fn raw(&mut self) -> &mut Vec<u8> {
        &mut self.raw
    }

    /// Goes to the next entry. Payload of the last one that was not read becomes raw bytes.
    ///
    /// # Errors
    /// [`Error::BadTar`], [`Error::Input`].
    pub(crate) fn next(&mut self) -> Result<Option<Entry>> {
        self.payload_to_raw()?;
        self.padding()?;
        let mut pax = Pax::default();
        let (mut long_name, mut long_link) = (None, None);
        loop {
            let Some(bytes) = self.header()? else {
                return Ok(None);
            };
            let block = Block::new(&bytes).ok_or_else(|| bad("a header with a wrong checksum"))?;
            let size = unsigned(block.size(), "size")?;
            match block.kind() {
                b'x' => pax = pax::parse(&self.special(size)?)?,
                b'L' => long_name = Some(until_nul(self.special(size)?)),
                b'K' => long_link = Some(until_nul(self.special(size)?)),
                _ => {
                    let mut entry = self.entry(&block, &pax, size)?;
                    if let Some(name) = long_name {
                        entry.name = name;
                    }
                    if let Some(link) = long_link {
                        entry.link = link;
                    }
                    return Ok(Some(entry));
                }
            }
        }
    }

    /// Takes the padding after the last entry. An archive may end within it: Go's reader says so, and
    /// `docker build -f -` writes such a context.
    fn padding(&mut self) -> Result<()> {
        while self.pad > 0 {
            let have = self.input.fill_buf().map_err(Error::Input)?;
            if have.is_empty() {
                self.ended = true;
                self.pad = 0;
                return Ok(());
            }
            let n = have.len().min(self.pad);
            self.raw.extend_from_slice(&have[..n]);
            self.input.consume(n);
            self.pad -= n;
        }
        Ok(())
    }

    /// Reads a header block; `None` at the end of the archive.
    fn header(&mut self) -> Result<Option<[u8; BLOCK]>> {
        if self.ended {
            return Ok(None);
        }
        let Some(block) = self.block()? else {
            self.ended = true;
            return Ok(None);
        };
        if block.iter().any(|byte| *byte != 0) {
            return Ok(Some(block));
        }
        self.ended = true;
        match self.block()? {
            Some(second) if second.iter().any(|byte| *byte != 0) => {
                Err(bad("a block of zeros amid the headers"))
            }
            _ => Ok(None),
        }
    }

    /// One whole block, or `None` at the end of the input.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let start = self.raw.len();
        let mut want = BLOCK;
        while want > 0 {
            let have = self.input.fill_buf().map_err(Error::Input)?;
            if have.is_empty() {
                if want == BLOCK {
                    return Ok(None);
                }
                return Err(truncated());
            }
            let n = have.len().min(want);
            self.raw.extend_from_slice(&have[..n]);
            self.input.consume(n);
            want -= n;
        }
        let mut block = [0; BLOCK];
        block.copy_from_slice(&self.raw[start..]);
        Ok(Some(block))
    }

    /// The content of an entry that describes the next one.
    fn special(&mut self, size: u64) -> Result<Vec<u8>> {
        if size > MAX_SPECIAL {
            return Err(Error::TooLarge { what: "an extended tar header", limit: MAX_SPECIAL });
        }
        let start = self.raw.len();
        let len = size as usize;
        self.take_raw(len)?;
        let data = self.raw[start..start + len].to_vec();
        self.take_raw(padding(size))?;
        Ok(data)
    }

    /// Moves `len` bytes of the input to the raw bytes.
    fn take_raw(&mut self, mut len: usize) -> Result<()> {
        while len > 0 {
            let have = self.input.fill_buf().map_err(Error::Input)?;
            if have.is_empty() {
                return Err(truncated());
            }
            let n = have.len().min(len);
            self.raw.extend_from_slice(&have[..n]);
            self.input.consume(n);
            len -= n;
        }
        Ok(())
    }

    fn entry(&mut self, block: &Block<'_>, pax: &Pax, size: u64) -> Result<Entry> {
        let name = pax.path.clone().unwrap_or_else(|| block.name());
        let kind = match block.kind() {
            0 if name.ends_with(b"/") => Kind::Dir,
            0 | b'0' | b'7' | b'S' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'3' => Kind::Char,
            b'4' => Kind::Block,
            b'5' => Kind::Dir,
            b'6' => Kind::Fifo,
            b'g' | b'V' => Kind::Nothing,
            other => {
                let other = char::from(other);
                return Err(bad(&format!("an entry of the unknown type {other:?}")));
            }
        };
        // As for Go: only these have content, whatever the size field of the others says.
        let has_payload = matches!(kind, Kind::File | Kind::Nothing);
        let payload = if has_payload { pax.size.unwrap_or(size) } else { 0 };
        let (major, minor) = block.device().ok_or_else(|| bad("a malformed device number"))?;
        let mut entry = Entry {
            name,
            link: pax.link.clone().unwrap_or_else(|| block.link()),
            kind,
            mode: (block.mode().ok_or_else(|| bad("a malformed mode"))? & 0o7777) as u32,
            uid: pax.uid.map_or_else(|| id(block.uid(), "owner"), Ok)?,
            gid: pax.gid.map_or_else(|| id(block.gid(), "group"), Ok)?,
            size: payload,
            payload,
            segments: None,
            mtime: match pax.mtime {
                Some(time) => time,
                None => FileTime {
                    seconds: block.mtime().ok_or_else(|| bad("a malformed time"))?,
                    nanoseconds: 0,
                },
            },
            device: (major.try_into().unwrap_or(0), minor.try_into().unwrap_or(0)),
            xattrs: pax.xattrs.clone(),
        };
        self.left = payload;
        self.pad = padding(payload);
        self.sparse(block, pax, &mut entry)?;
        Ok(entry)
    }

    /// Finds the map of a sparse file, which may take a part of the payload.
    fn sparse(&mut self, block: &Block<'_>, pax: &Pax, entry: &mut Entry) -> Result<()> {
        if entry.kind != Kind::File {
            return Ok(());
        }
        let segments = if block.kind() == b'S' {
            let mut segments = Vec::new();
            let (slots, mut more) = block.gnu_sparse();
            sparse::gnu_slots(slots, &mut segments)?;
            while more {
                let extension = self.block()?.ok_or_else(truncated)?;
                sparse::gnu_slots(&extension[..504], &mut segments)?;
                more = extension[504] != 0;
            }
            entry.size = unsigned(block.gnu_real_size(), "size")?;
            segments
        } else if pax.sparse.present {
            if let Some(name) = &pax.sparse.name {
                entry.name.clone_from(name);
            }
            entry.size = pax.sparse.size.unwrap_or(entry.size);
            if pax.sparse.major == Some(1) {
                self.map_in_payload()?
            } else {
                sparse::pairs(&pax.sparse.map)?
            }
        } else {
            return Ok(());
        };
        entry.payload = self.left;
        sparse::check(&segments, entry.size, entry.payload)?;
        entry.segments = Some(segments);
        Ok(())
    }

    /// Version 1.0 of the PAX convention: decimal lines before the content, padded to a block.
    fn map_in_payload(&mut self) -> Result<Vec<Segment>> {
        let malformed = || bad("a malformed map of a sparse file");
        let mut numbers = Vec::new();
        let mut text: Vec<u8> = Vec::new();
        loop {
            if self.left < BLOCK as u64 {
                return Err(malformed());
            }
            let block = self.block()?.ok_or_else(truncated)?;
            self.left -= BLOCK as u64;
            for byte in block {
                match byte {
                    b'0'..=b'9' if text.len() < 20 => text.push(byte),
                    b'\n' => {
                        let line = std::str::from_utf8(&text).ok().and_then(|t| t.parse().ok());
                        numbers.push(line.ok_or_else(malformed)?);
                        text.clear();
                    }
                    0 if text.is_empty() => {}
                    _ => return Err(malformed()),
                }
                let count = numbers.first().copied().unwrap_or(u64::MAX);
                if count != u64::MAX && count > sparse::MAX_SEGMENTS as u64 {
                    return Err(malformed());
                }
                if !numbers.is_empty() && numbers.len() as u64 == 1 + 2 * count {
                    return sparse::pairs(&numbers[1..]);
                }
            }
        }
    }

    /// Up to `max` bytes of payload; empty when there is no more. Say how many you used.
    ///
    /// # Errors
    /// [`Error::BadTar`] when the input ends within the payload, [`Error::Input`].
    pub(crate) fn payload(&mut self, max: u64) -> Result<&[u8]> {
        let want = self.left.min(max);
        if want == 0 {
            return Ok(&[]);
        }
        let have = self.input.fill_buf().map_err(Error::Input)?;
        if have.is_empty() {
            return Err(truncated());
        }
        let n = usize::try_from(want).map_or(have.len(), |want| have.len().min(want));
        Ok(&have[..n])
    }

    /// Goes on by `len` bytes of what [`TarReader::payload`] showed.
    pub(crate) fn used(&mut self, len: usize) {
        self.input.consume(len);
        self.left -= len as u64;
    }

    /// Passes over the rest of the payload.
    ///
    /// # Errors
    /// As [`TarReader::payload`].
    pub(crate) fn skip_payload(&mut self) -> Result<()> {
        loop {
            let n = self.payload(u64::MAX)?.len();
            if n == 0 {
                return Ok(());
            }
            self.used(n);
        }
    }

    /// Makes up to 1 MiB of the rest of the payload raw bytes; says whether some is left. For
    /// payload that no file holds.
    ///
    /// # Errors
    /// As [`TarReader::payload`].
    pub(crate) fn some_payload_to_raw(&mut self) -> Result<bool> {
        let n = self.left.min(1 << 20) as usize;
        self.take_raw(n)?;
        self.left -= n as u64;
        Ok(self.left > 0)
    }

    fn payload_to_raw(&mut self) -> Result<()> {
        while self.some_payload_to_raw()? {}
        Ok(())
    }

    /// After the end marker: some of what follows, as raw bytes. `false` at the end of the input.
    ///
    /// # Errors
    /// [`Error::Input`].
    pub(crate) fn trailer(&mut self) -> Result<bool> {
        let have = self.input.fill_buf().map_err(Error::Input)?;
        let n = have.len();
        self.raw.extend_from_slice(have);
        self.input.consume(n);
        Ok(n > 0)
    }
}

fn bad(what: &str) -> Error {
    Error::BadTar(what.to_owned())
}

fn truncated() -> Error {
    Error::BadTar("unexpected EOF".into())
}

fn unsigned(number: Option<i64>, what: &str) -> Result<u64> {
    number.and_then(|n| u64::try_from(n).ok()).ok_or_else(|| bad(&format!("a malformed {what}")))
}

/// Ids are 32 bits, and the highest means "leave it" to `chown(2)`.
fn id(number: Option<i64>, what: &str) -> Result<u32> {
    let id = unsigned(number, what)?;
    u32::try_from(id)
        .ok()
        .filter(|id| *id != u32::MAX)
        .ok_or_else(|| bad(&format!("a malformed {what}")))
}

fn until_nul(mut text: Vec<u8>) -> Vec<u8> {
    if let Some(end) = text.iter().position(|byte| *byte == 0) {
        text.truncate(end);
    }
    text
}

/// Whether 512 bytes look like the start of a tar.
pub(crate) fn looks_like_tar(bytes: &[u8]) -> bool {
    let Some(block) = bytes.first_chunk::<BLOCK>() else {
        return false;
    };
    block.iter().all(|byte| *byte == 0)
        || (Block::new(block).is_some() && number(&block[124..136]).is_some())
}
