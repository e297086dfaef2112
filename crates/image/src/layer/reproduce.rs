//! Making a layer's exact tar again from its files and its split.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use sys::fs::{Mode, OFlags, ResolveFlags, Root};

use crate::split::{SplitVisitor, read_split};
use crate::tarball::Segment;

/// Writes the tar. The caller checks its digest.
///
/// # Errors
/// `NotFound` and the like when a file is missing, `UnexpectedEof` when it is too short; those of
/// the output.
pub(crate) fn reproduce(layer: &Root, output: &mut dyn Write) -> io::Result<()> {
    let kept = match layer.read_dir("kept") {
        Ok(found) => found
            .iter()
            .filter_map(|found| found.name.to_str().and_then(|name| name.parse().ok()))
            .collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => HashSet::new(),
        Err(error) => return Err(error),
    };
    let diff = layer.sub_root("diff")?;
    let buffer = vec![0; 128 << 10];
    let split = layer.open_file("split")?;
    read_split(split, &mut Reproducer { layer, diff, kept, output, buffer })
}

struct Reproducer<'a> {
    layer: &'a Root,
    diff: Root,
    kept: HashSet<u64>,
    output: &'a mut dyn Write,
    buffer: Vec<u8>,
}

impl SplitVisitor for Reproducer<'_> {
    fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.output.write_all(bytes)
    }

    fn file(&mut self, index: u64, path: &[u8], segments: &[Segment]) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let symlinks = ResolveFlags::NO_SYMLINKS;
        let fd = if self.kept.contains(&index) {
            self.layer.open_with(format!("kept/{index}"), flags, Mode::empty(), symlinks)?
        } else {
            let path = Path::new(OsStr::from_bytes(path));
            self.diff.open_with(path, flags, Mode::empty(), symlinks)?
        };
        let mut file = File::from(fd);
        let mut at = 0;
        for segment in segments {
            if segment.offset != at {
                file.seek(SeekFrom::Start(segment.offset))?;
            }
            let mut left = segment.len;
            while left > 0 {
                let want = left.min(self.buffer.len() as u64) as usize;
                let n = file.read(&mut self.buffer[..want])?;
                if n == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                self.output.write_all(&self.buffer[..n])?;
                left -= n as u64;
            }
            at = segment.offset + segment.len;
        }
        Ok(())
    }
}
