//! The files of one log: the current one and its rotated predecessors.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proto::log::{Decoder, Format};
use types::Timestamp;

use super::past::next;

/// Bytes that a compressed log may unpack to: a guard, as rotation makes them of `max-size`.
const UNPACKED: u64 = 4 << 30;

/// How often to look for the current file.
const ATTEMPTS: usize = 20;

/// So many free numbers, one after the other, are the end. In the middle of a rotation one is free,
/// and who looks slowly meets that of the next rotation at the next number.
const END: u32 = 4;

/// A rotated file, opened.
pub(super) struct Rotated {
    /// Its inode, which stays the same however often it is renamed; not if it is compressed.
    pub(super) inode: u64,
    file: File,
    compressed: bool,
}

impl Rotated {
    /// What is in it, unpacked, from its beginning.
    pub(super) fn reader(&self) -> io::Result<Box<dyn Read + Send + '_>> {
        (&self.file).rewind()?;
        Ok(match self.compressed {
            true => Box::new(flate2::read::MultiGzDecoder::new(&self.file).take(UNPACKED)),
            false => Box::new(&self.file),
        })
    }

    /// Whether it is the compressed form of a file that is open already: compression keeps no
    /// inode. Files differ within their first record, by its time.
    fn is_packed(&self, plain: &File) -> io::Result<bool> {
        (&mut &*plain).rewind()?;
        same(BufReader::new(self.reader()?), BufReader::new(plain))
    }
}

/// All files as they were at one moment.
pub(super) struct Files {
    /// The newest first.
    pub(super) rotated: Vec<Rotated>,
    pub(super) current: Option<File>,
}

impl Files {
    /// Opens the current file and those before it, down to the one whose inode is `known`.
    ///
    /// The monitor may rotate at any moment. Files only move to higher numbers, and are opened in
    /// that direction: none is missed, and what is met again is known by its inode, or by what is
    /// in it if it has been compressed meanwhile. Who looks slowly meets newer files among the
    /// older ones, which stand in order by the time of their first record. What was the current file
    /// may be an older one by now; who follows finds out.
    pub(super) fn open(
        path: &Path,
        max_file: u32,
        format: Format,
        known: Option<u64>,
    ) -> io::Result<Self> {
        for attempt in 1.. {
            let current = missing_is_none(File::open(path))?;
            let inode = current.as_ref().map(|file| file.metadata().map(|data| data.ino()));
            let inode = inode.transpose()?;
            let mut seen: HashSet<u64> = inode.into_iter().collect();
            let mut rotated: Vec<Rotated> = Vec::new();
            let mut free = 0;
            for number in 1..max_file {
                if known.is_some_and(|known| seen.contains(&known)) {
                    break;
                }
                let found = open_rotated(path, number)?;
                free = if found.is_some() { 0 } else { free + 1 };
                match found {
                    Some(file) if seen.contains(&file.inode) => {}
                    Some(file) if file.compressed && met(&file, current.as_ref(), &rotated)? => {}
                    Some(file) => {
                        let _ = seen.insert(file.inode);
                        rotated.push(file);
                    }
                    None if free == END => break,
                    None => {}
                }
            }
            if let Some(current) = &current
                && moved(path, inode)
            {
                rotated = in_order(rotated, begin(current, format)?, format)?;
            }
            // For a moment in its rotation a log has no current file.
            if current.is_some() || rotated.is_empty() || attempt == ATTEMPTS {
                return Ok(Self { rotated, current });
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        unreachable!("attempts do not end")
    }
}

/// The newest first, without those that began after the one that was opened as the current one.
fn in_order(
    rotated: Vec<Rotated>,
    current: Option<Timestamp>,
    format: Format,
) -> io::Result<Vec<Rotated>> {
    let mut dated = Vec::new();
    for file in rotated {
        let began = begin(file.reader()?, format)?;
        if current.is_none() || began < current {
            dated.push((began, file));
        }
    }
    dated.sort_by_key(|(began, _)| Reverse(*began));
    Ok(dated.into_iter().map(|(_, file)| file).collect())
}

/// The time of the first whole record.
fn begin(mut reader: impl Read, format: Format) -> io::Result<Option<Timestamp>> {
    let mut decoder = Decoder::new(format);
    let mut chunk = vec![0; 4 << 10];
    loop {
        let count = reader.read(&mut chunk)?;
        decoder.push(&chunk[..count]);
        let entry = next(&mut decoder);
        if entry.is_some() || count == 0 {
            return Ok(entry.map(|entry| entry.time));
        }
    }
}

/// Whether another file is the current one by now.
fn moved(path: &Path, inode: Option<u64>) -> bool {
    std::fs::metadata(path).map(|data| data.ino()).ok() != inode
}

/// Whether a compressed file was opened before it was compressed.
fn met(file: &Rotated, current: Option<&File>, rotated: &[Rotated]) -> io::Result<bool> {
    let plain = rotated.iter().filter(|other| !other.compressed).map(|other| &other.file);
    for other in current.into_iter().chain(plain) {
        if file.is_packed(other)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether two readers say the same; reads no further than to the first difference.
fn same(one: impl BufRead, other: impl BufRead) -> io::Result<bool> {
    let mut bytes = one.bytes();
    for byte in other.bytes() {
        if bytes.next().transpose()? != Some(byte?) {
            return Ok(false);
        }
    }
    Ok(bytes.next().is_none())
}

fn missing_is_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) fn numbered(path: &Path, number: u32, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}{suffix}"));
    PathBuf::from(name)
}

/// The `number`th file back, compressed or not.
fn open_rotated(path: &Path, number: u32) -> io::Result<Option<Rotated>> {
    for (suffix, compressed) in [("", false), (".gz", true)] {
        if let Some(file) = missing_is_none(File::open(numbered(path, number, suffix)))? {
            return Ok(Some(Rotated { inode: file.metadata()?.ino(), file, compressed }));
        }
    }
    Ok(None)
}
