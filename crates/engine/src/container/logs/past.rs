//! What is in a log already. On a thread of its own: it waits for whoever reads.

use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use proto::log::{Decoder, Entry, Format, Tail};
use types::Timestamp;

use super::choose::{Choice, choose};
use super::files::Files;
use super::follow::Open;
use super::{CHUNK, Lines, LogOptions};

/// Sends what is there, and if the log has been removed what is in the file that was opened `early`; comes
/// back with the current file, unless the reader has had enough.
pub(super) fn past(
    path: &Path,
    max_file: u32,
    format: Format,
    early: Option<std::fs::File>,
    options: &LogOptions,
    sender: &Lines,
) -> io::Result<Option<Open>> {
    let Files { rotated, current } = Files::open(path, max_file, format, None)?;
    let current = current.or(early.filter(|_| rotated.is_empty()));
    let metadata = current.as_ref().map(std::fs::File::metadata).transpose()?;
    let (length, inode) = metadata.map_or((0, None), |data| (data.len(), Some(data.ino())));
    let mut outlet = Outlet { options, sender, last: Timestamp::NEVER };
    let mut start = 0;
    if let Some(tail) = options.tail {
        let mut missing = usize::try_from(tail).unwrap_or(usize::MAX);
        if let Some(file) = &current {
            let mut tail = Tail::new(format, length, missing);
            while let Some(range) = tail.want() {
                let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
                file.read_exact_at(&mut bytes, range.start)?;
                tail.feed(&bytes);
            }
            start = tail.start();
            missing -= tail.found().min(missing);
        }
        // Only as many rotated files as it takes, held in memory: they are bounded by their
        // maximum size.
        let mut older: Vec<Vec<u8>> = Vec::new();
        for file in rotated {
            if missing == 0 {
                break;
            }
            let mut bytes = Vec::new();
            file.reader()?.read_to_end(&mut bytes)?;
            let mut tail = Tail::new(format, bytes.len() as u64, missing);
            while let Some(range) = tail.want() {
                tail.feed(&bytes[range.start as usize..range.end as usize]);
            }
            missing -= tail.found().min(missing);
            bytes.drain(..tail.start() as usize);
            older.push(bytes);
        }
        for bytes in older.iter().rev() {
            if !outlet.send_all(&mut bytes.as_slice(), format)? {
                return Ok(None);
            }
        }
    } else {
        for file in rotated.into_iter().rev() {
            if !outlet.send_all(&mut *file.reader()?, format)? {
                return Ok(None);
            }
        }
    }
    let mut open = Open {
        file: current,
        inode,
        offset: start,
        decoder: Decoder::new(format),
        format,
        last: Timestamp::NEVER,
    };
    if let Some(file) = &open.file {
        let mut chunk = vec![0; CHUNK];
        loop {
            let count = file.read_at(&mut chunk, open.offset)?;
            if count == 0 {
                break;
            }
            open.offset += count as u64;
            open.decoder.push(&chunk[..count]);
            if !outlet.send(&mut open.decoder) {
                return Ok(None);
            }
        }
    }
    open.last = outlet.last;
    Ok(Some(open))
}

/// Where entries go.
struct Outlet<'a> {
    options: &'a LogOptions,
    sender: &'a Lines,
    /// The time of the last one.
    last: Timestamp,
}

impl Outlet<'_> {
    fn send_all(&mut self, reader: &mut dyn Read, format: Format) -> io::Result<bool> {
        let mut decoder = Decoder::new(format);
        let mut chunk = vec![0; CHUNK];
        loop {
            let count = reader.read(&mut chunk)?;
            if count == 0 {
                return Ok(true);
            }
            decoder.push(&chunk[..count]);
            if !self.send(&mut decoder) {
                return Ok(false);
            }
        }
    }

    /// Sends the entries that are whole; says whether more are wanted.
    fn send(&mut self, decoder: &mut Decoder) -> bool {
        while let Some(entry) = next(decoder) {
            self.last = entry.time;
            match choose(entry, self.options) {
                Choice::Send(line) => {
                    if self.sender.blocking_send(Ok(line)).is_err() {
                        return false;
                    }
                }
                Choice::Skip => {}
                Choice::Stop => return false,
            }
        }
        true
    }
}

/// The next whole entry; damage is passed over.
pub(super) fn next(decoder: &mut Decoder) -> Option<Entry> {
    loop {
        match decoder.entry() {
            Ok(entry) => return entry,
            Err(damaged) => tracing::warn!("{damaged}"),
        }
    }
}
