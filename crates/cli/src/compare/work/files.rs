//! Dealing with files: one large one, and many small ones.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::{Advice, fadvise};

use super::Filed;

/// What is written and read at once.
const BLOCK: usize = 1 << 20;
/// Size of a small file.
const SMALL: usize = 1 << 10;

/// The directory, removed with all that is in it.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Measures a file of so many bytes and so many small ones, in a directory made for it.
///
/// # Errors
/// As those of files.
pub(super) fn handle(folder: &Path, bytes: u64, count: u32) -> io::Result<Filed> {
    fs::create_dir(folder)?;
    let folder = Folder(folder.to_owned());
    let path = folder.0.join("large");
    let write = write(&path, bytes)?;
    let read = read(&path, bytes)?;
    fs::remove_file(&path)?;
    Ok(Filed { write, read, small: small(&folder.0, count)? })
}

/// One block after another, and then the wait for the disk.
fn write(path: &Path, bytes: u64) -> io::Result<f64> {
    let block = noise();
    let began = Instant::now();
    let mut file = File::create_new(path)?;
    let mut left = bytes;
    while left > 0 {
        let size = left.min(BLOCK as u64) as usize;
        file.write_all(&block[..size])?;
        left -= size as u64;
    }
    file.sync_all()?;
    Ok(began.elapsed().as_secs_f64())
}

/// After this kernel has been told to forget what it has of the file.
fn read(path: &Path, bytes: u64) -> io::Result<f64> {
    let mut file = File::open(path)?;
    // A file system without a page cache has nothing to forget.
    let _ = fadvise(&file, 0, None, Advice::DontNeed);
    let mut block = vec![0; BLOCK];
    let mut seen = 0;
    let began = Instant::now();
    loop {
        match file.read(&mut block)? {
            0 => break,
            count => seen += count as u64,
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    if seen != bytes {
        return Err(io::Error::other(format!("{seen} bytes of {bytes} came back")));
    }
    Ok(seconds)
}

/// Makes all of them, then looks at all, then removes all.
fn small(folder: &Path, count: u32) -> io::Result<f64> {
    let content = [7_u8; SMALL];
    let path = |number: u32| folder.join(number.to_string());
    let began = Instant::now();
    for number in 0..count {
        File::create_new(path(number))?.write_all(&content)?;
    }
    for number in 0..count {
        fs::metadata(path(number))?;
    }
    for number in 0..count {
        fs::remove_file(path(number))?;
    }
    Ok(began.elapsed().as_secs_f64())
}

/// Bytes that no file system can make smaller.
fn noise() -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..BLOCK / 8).flat_map(|_| next()).collect()
}
