//! What a layer's tar has besides its files' content, so that the exact tar can be made again.
//!
//! A split is a zstd stream of records after a magic line:
//!
//! ```text
//! 0 <length> <bytes>                                   bytes of the tar as they are
//! 1 <length> <path> <count> (<offset> <length>){count}  content of the layer's file at `path`
//! ```
//!
//! Numbers are LEB128. The records of kind 1 are numbered from 0 on; where a later entry of the
//! same tar replaced the file, its content is in `kept/<number>` instead. `path` has no symlink
//! in any but its last component, so it means the same file as long as the layer is whole.

use std::io::{self, BufRead, BufReader, Read, Write};

use crate::tarball::Segment;

const MAGIC: &[u8] = b"isopod split 1\n";
/// Headers are mostly zeros and repeat each other; higher levels gain little.
const LEVEL: i32 = 1;
/// Longer than any path that the unpacker takes.
const MAX_PATH: u64 = 8192;

/// Writes a split.
pub(crate) struct SplitWriter<W: Write> {
    output: zstd::stream::write::Encoder<'static, W>,
    scratch: Vec<u8>,
}

impl<W: Write> SplitWriter<W> {
    pub(crate) fn new(output: W) -> io::Result<Self> {
        let mut output = zstd::stream::write::Encoder::new(output, LEVEL)?;
        output.write_all(MAGIC)?;
        Ok(Self { output, scratch: Vec::new() })
    }

    /// Bytes that go into the tar as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.scratch.clear();
        self.scratch.push(0);
        number(&mut self.scratch, bytes.len() as u64);
        self.output.write_all(&self.scratch)?;
        self.output.write_all(bytes)
    }

    /// Content of a file.
    pub(crate) fn file(&mut self, path: &[u8], segments: &[Segment]) -> io::Result<()> {
        self.scratch.clear();
        self.scratch.push(1);
        number(&mut self.scratch, path.len() as u64);
        self.scratch.extend_from_slice(path);
        number(&mut self.scratch, segments.len() as u64);
        for segment in segments {
            number(&mut self.scratch, segment.offset);
            number(&mut self.scratch, segment.len);
        }
        self.output.write_all(&self.scratch)
    }

    /// Ends the stream and gives the output back.
    pub(crate) fn finish(self) -> io::Result<W> {
        self.output.finish()
    }
}

fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes the records in turn.
pub(crate) trait SplitVisitor {
    /// Bytes of the tar, in pieces.
    fn raw(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Content of the file number `index`.
    fn file(&mut self, index: u64, path: &[u8], segments: &[Segment]) -> io::Result<()>;
}

/// Reads a split, calling the visitor for each record.
///
/// # Errors
/// `InvalidData` when it is damaged; the visitor's.
pub(crate) fn read_split(input: impl Read, visitor: &mut dyn SplitVisitor) -> io::Result<()> {
    let mut input = BufReader::new(zstd::stream::read::Decoder::new(input)?);
    let mut magic = [0; MAGIC.len()];
    input.read_exact(&mut magic)?;
    if magic != MAGIC {
        return Err(damaged());
    }
    let (mut index, mut path, mut segments) = (0, Vec::new(), Vec::new());
    while !input.fill_buf()?.is_empty() {
        match byte(&mut input)? {
            0 => {
                let mut left = read_number(&mut input)?;
                while left > 0 {
                    let have = input.fill_buf()?;
                    if have.is_empty() {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    let n = usize::try_from(left).map_or(have.len(), |left| have.len().min(left));
                    visitor.raw(&have[..n])?;
                    input.consume(n);
                    left -= n as u64;
                }
            }
            1 => {
                let len = read_number(&mut input)?;
                if len > MAX_PATH {
                    return Err(damaged());
                }
                path.resize(len as usize, 0);
                input.read_exact(&mut path)?;
                segments.clear();
                for _ in 0..read_number(&mut input)? {
                    let offset = read_number(&mut input)?;
                    segments.push(Segment { offset, len: read_number(&mut input)? });
                }
                visitor.file(index, &path, &segments)?;
                index += 1;
            }
            _ => return Err(damaged()),
        }
    }
    Ok(())
}

fn byte(input: &mut impl Read) -> io::Result<u8> {
    let mut byte = [0];
    input.read_exact(&mut byte)?;
    Ok(byte[0])
}

fn read_number(input: &mut impl Read) -> io::Result<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = byte(input)?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(damaged())
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the record of the layer's tar is damaged")
}
