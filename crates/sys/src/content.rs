//! What is in files: copied with its holes, and with its blocks shared where the file system can.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// Bytes that are read at once where the kernel does not copy by itself.
const CHUNK: usize = 128 << 10;

/// Copies all of a regular file into an empty one. Says whether the two share their blocks now.
///
/// `FICLONE` shares everything in one step (btrfs, xfs, bcachefs). Elsewhere only what is no hole is
/// copied, inside the kernel if it can (`copy_file_range(2)`).
///
/// # Errors
/// Those of reading and writing. A file that becomes shorter meanwhile is no error.
pub fn copy(from: impl AsFd, to: impl AsFd) -> io::Result<bool> {
    match rustix::fs::ioctl_ficlone(&to, &from) {
        Ok(()) => return Ok(true),
        // No such thing here, two file systems, or a file that cannot be shared as it is.
        Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::INVAL | Errno::NOTTY | Errno::NOSYS) => {}
        Err(error) => return Err(error.into()),
    }
    let size = size(&from)?;
    rustix::fs::ftruncate(&to, size)?;
    let mut at = 0;
    while let Some((start, end)) = extent(&from, at, size)? {
        if !copy_extent(&from, &to, start, end)? {
            break;
        }
        at = end;
    }
    Ok(false)
}

/// What is no hole in a file: first byte and end of each run, at most `limit` of them; `None` if
/// there are more.
///
/// # Errors
/// Those of `lseek(2)`.
pub fn extents(file: impl AsFd, limit: usize) -> io::Result<Option<Vec<(u64, u64)>>> {
    let size = size(&file)?;
    let (mut all, mut at) = (Vec::new(), 0);
    while let Some((start, end)) = extent(&file, at, size)? {
        if all.len() == limit {
            return Ok(None);
        }
        all.push((start, end));
        at = end;
    }
    Ok(Some(all))
}

fn size(file: impl AsFd) -> io::Result<u64> {
    Ok(u64::try_from(rustix::fs::fstat(file)?.st_size).unwrap_or(0))
}

/// The first run of content at or after an offset.
fn extent(file: impl AsFd, at: u64, size: u64) -> io::Result<Option<(u64, u64)>> {
    if at >= size {
        return Ok(None);
    }
    let start = match rustix::fs::seek(&file, SeekFrom::Data(at)) {
        Ok(start) => start,
        // ENXIO: nothing but a hole up to the end.
        Err(Errno::NXIO) => return Ok(None),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => at,
        Err(error) => return Err(error.into()),
    };
    let end = rustix::fs::seek(&file, SeekFrom::Hole(start)).unwrap_or(size).min(size);
    Ok((start < end).then_some((start, end)))
}

/// Copies what lies between two offsets; false when the file has ended before.
fn copy_extent(from: impl AsFd, to: impl AsFd, start: u64, end: u64) -> io::Result<bool> {
    let (mut read, mut written) = (start, start);
    while read < end {
        let length = usize::try_from(end - read).unwrap_or(usize::MAX);
        match rustix::fs::copy_file_range(&from, Some(&mut read), &to, Some(&mut written), length) {
            Ok(0) => return Ok(false),
            Ok(_) => {}
            // Two file systems, or one that does not do it: by hand.
            Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {
                return copy_by_hand(&from, &to, read, end);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

fn copy_by_hand(from: impl AsFd, to: impl AsFd, start: u64, end: u64) -> io::Result<bool> {
    let mut buffer = vec![0; CHUNK];
    let mut at = start;
    while at < end {
        let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(CHUNK);
        let count = rustix::io::pread(&from, &mut buffer[..wanted], at)?;
        if count == 0 {
            return Ok(false);
        }
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            let done = rustix::io::pwrite(&to, rest, at)?;
            rest = rest.get(done..).unwrap_or_default();
            at += done as u64;
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::{Seek as _, SeekFrom, Write as _};
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn content_and_holes_are_copied() {
        let dir = std::env::temp_dir().join(format!("isopod-content-{}", std::process::id()));
        fs::create_dir(&dir).expect("directory");
        let (from, to) = (dir.join("from"), dir.join("to"));
        let mut file = File::create(&from).expect("made");
        file.write_all(&[1; 5000]).expect("written");
        file.seek(SeekFrom::Start(64 << 20)).expect("a hole");
        file.write_all(&[2; 100_000]).expect("written");
        file.set_len(128 << 20).expect("a hole at the end");
        drop(file);
        let source = File::open(&from).expect("open");
        super::copy(
            &source,
            File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .open(&to)
                .expect("made"),
        )
        .expect("copied");
        let found = super::extents(&source, 10).expect("extents").expect("few");
        let (one, two) = (fs::read(&from).expect("read"), fs::read(&to).expect("read"));
        let blocks = fs::metadata(&to).expect("there").blocks();
        super::copy_by_hand(&source, File::create(&to).expect("made"), 0, 5000).expect("copied");
        let by_hand = fs::read(&to).expect("read");
        fs::remove_dir_all(&dir).expect("removed");
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[1].0, 64 << 20);
        assert!(one == two, "the copy differs");
        assert!(blocks * 512 < 1 << 20, "{blocks} blocks: the holes were filled");
        assert_eq!(by_hand, [1; 5000]);
    }
}
