//! The files of one log: the current one and its rotated predecessors.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bytes that a compressed log may unpack to: a guard, as rotation makes them of `max-size`.
const UNPACKED: u64 = 4 << 30;

/// How often to look for the current file.
const ATTEMPTS: usize = 20;

/// A rotated file, opened.
pub(super) struct Rotated {
    /// Its inode, which stays the same however often it is renamed; not if it is compressed.
    pub(super) inode: u64,
    pub(super) reader: Box<dyn Read + Send>,
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
    /// that direction: none is missed, and what is met again is known by its inode. What was
    /// the current file may be an older one by now; who follows finds out.
    pub(super) fn open(path: &Path, max_file: u32, known: Option<u64>) -> io::Result<Self> {
        for attempt in 1.. {
            let current = missing_is_none(File::open(path))?;
            let inode = current.as_ref().map(|file| file.metadata().map(|data| data.ino()));
            let mut seen: HashSet<u64> = inode.transpose()?.into_iter().collect();
            let mut rotated: Vec<Rotated> = Vec::new();
            let mut gap = false;
            for number in 1..max_file {
                if known.is_some_and(|known| seen.contains(&known)) {
                    break;
                }
                match open_rotated(path, number)? {
                    Some(file) if seen.insert(file.inode) => rotated.push(file),
                    Some(_) => {}
                    // In the middle of a rotation one number is free.
                    None if gap => break,
                    None => gap = true,
                }
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
    if let Some(file) = missing_is_none(File::open(numbered(path, number, "")))? {
        let inode = file.metadata()?.ino();
        return Ok(Some(Rotated { inode, reader: Box::new(file) }));
    }
    let Some(file) = missing_is_none(File::open(numbered(path, number, ".gz")))? else {
        return Ok(None);
    };
    let inode = file.metadata()?.ino();
    let reader = Box::new(flate2::read::MultiGzDecoder::new(file).take(UNPACKED));
    Ok(Some(Rotated { inode, reader }))
}
