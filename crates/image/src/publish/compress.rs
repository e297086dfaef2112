//! Compressing a layer so that the same tar gives the same bytes every time.
//!
//! Gzip is cut into blocks that are compressed on several threads, each on its own but in one
//! stream of one member, so that every reader takes it. Neither the number of threads nor the
//! sizes of the writes show in the result.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use flate2::{Compress, Compression as Level, Crc, FlushCompress, Status};

use crate::stream::Compression;

/// Bytes of a block. Each begins with an empty window, which costs little at this size.
const BLOCK: usize = 1 << 20;
const ZSTD_LEVEL: i32 = 3;
/// More threads than this wait for the disk.
const MAX_THREADS: usize = 8;

/// A writer that compresses.
pub(super) enum Compressor<W: Write> {
    Plain(W),
    Gzip(Gzip<W>),
    Zstd(zstd::stream::write::Encoder<'static, W>),
}

impl<W: Write> Compressor<W> {
    /// `level` is gzip's, from 1 (fast) to 9 (small).
    pub(super) fn new(output: W, compression: Compression, level: u32) -> io::Result<Self> {
        Ok(match compression {
            Compression::Plain => Self::Plain(output),
            Compression::Gzip => Self::Gzip(Gzip::new(output, level)?),
            Compression::Zstd => Self::Zstd(zstd::stream::write::Encoder::new(output, ZSTD_LEVEL)?),
        })
    }

    /// Writes what is left.
    pub(super) fn finish(self) -> io::Result<()> {
        match self {
            Self::Plain(mut output) => output.flush(),
            Self::Gzip(gzip) => gzip.finish(),
            Self::Zstd(encoder) => encoder.finish()?.flush(),
        }
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(output) => output.write(bytes),
            Self::Gzip(gzip) => gzip.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A block for a thread, and where its result goes.
type Job = (Vec<u8>, bool, SyncSender<io::Result<Vec<u8>>>);

/// Compresses blocks on threads and writes them in order.
pub(super) struct Gzip<W: Write> {
    output: W,
    block: Vec<u8>,
    jobs: Option<SyncSender<Job>>,
    results: VecDeque<Receiver<io::Result<Vec<u8>>>>,
    threads: Vec<JoinHandle<()>>,
    crc: Crc,
}

impl<W: Write> Gzip<W> {
    fn new(mut output: W, level: u32) -> io::Result<Self> {
        // No name, no time, "unknown" operating system: nothing that differs from run to run.
        output.write_all(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255])?;
        let count = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        let (jobs, queue) = sync_channel::<Job>(count);
        let queue = Arc::new(Mutex::new(queue));
        let threads = (0..count)
            .map(|_| {
                let queue = Arc::clone(&queue);
                let thread = std::thread::Builder::new().name("compress".into());
                thread.spawn(move || work(&queue, level))
            })
            .collect::<io::Result<_>>()?;
        let (block, results, crc) = (Vec::with_capacity(BLOCK), VecDeque::new(), Crc::new());
        Ok(Self { output, block, jobs: Some(jobs), results, threads, crc })
    }

    fn send(&mut self, last: bool) -> io::Result<()> {
        let next = if last { Vec::new() } else { Vec::with_capacity(BLOCK) };
        let block = std::mem::replace(&mut self.block, next);
        let (result, receiver) = sync_channel(1);
        self.results.push_back(receiver);
        if let Some(jobs) = &self.jobs {
            jobs.send((block, last, result)).map_err(|_| gone())?;
        }
        let under_way = 2 * self.threads.len().max(1);
        while self.results.len() > if last { 0 } else { under_way } {
            let Some(receiver) = self.results.pop_front() else { break };
            let bytes = receiver.recv().map_err(|_| gone())??;
            self.output.write_all(&bytes)?;
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        self.send(true)?;
        self.output.write_all(&self.crc.sum().to_le_bytes())?;
        // The length modulo 2^32, as the format has it.
        self.output.write_all(&self.crc.amount().to_le_bytes())?;
        self.output.flush()
    }
}

impl<W: Write> Write for Gzip<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..n]);
        self.crc.update(&bytes[..n]);
        if self.block.len() == BLOCK {
            self.send(false)?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write> Drop for Gzip<W> {
    fn drop(&mut self) {
        // Without senders the threads end.
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // A thread that panicked has been noticed by its missing result.
            let _ = thread.join();
        }
    }
}

fn work(queue: &Mutex<Receiver<Job>>, level: u32) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((block, last, result)) = job else { return };
        // Nobody listens when writing has failed.
        let _ = result.send(deflate(&block, last, level));
    }
}

/// One block as a piece of a deflate stream: ended at a byte's border, or ended for good.
fn deflate(block: &[u8], last: bool, level: u32) -> io::Result<Vec<u8>> {
    let mut compress = Compress::new(Level::new(level), false);
    let flush = if last { FlushCompress::Finish } else { FlushCompress::Sync };
    let mut out = Vec::with_capacity(block.len() / 2 + 1024);
    loop {
        let (taken, before) = (compress.total_in() as usize, compress.total_out());
        let status =
            compress.compress_vec(&block[taken..], &mut out, flush).map_err(io::Error::other)?;
        let all = compress.total_in() as usize == block.len();
        match status {
            Status::StreamEnd => return Ok(out),
            // A flush that has not filled the room it had is complete.
            Status::Ok | Status::BufError if !last && all && out.len() < out.capacity() => {
                return Ok(out);
            }
            Status::BufError if compress.total_out() == before && out.len() < out.capacity() => {
                return Err(io::Error::other("deflate does not go on"));
            }
            Status::Ok | Status::BufError => out.reserve(BLOCK / 4),
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("a compressing thread has ended")
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn compressed(bytes: &[u8], piece: usize, compression: Compression) -> Vec<u8> {
        let mut out = Vec::new();
        let mut compressor = Compressor::new(&mut out, compression, 6).expect("begin");
        for piece in bytes.chunks(piece) {
            compressor.write_all(piece).expect("write");
        }
        compressor.finish().expect("finish");
        out
    }

    /// Half text, half noise, of which neither is all alike.
    fn sample(len: usize) -> Vec<u8> {
        let mut state = 1u32;
        (0..len)
            .map(|at| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                if at / 4096 % 2 == 0 {
                    b"the quick brown fox "[at % 20]
                } else {
                    (state >> 24) as u8
                }
            })
            .collect()
    }

    #[test]
    fn any_reader_gets_the_bytes_back() {
        for len in [0, 1, 511, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 77] {
            let bytes = sample(len);
            let gzip = compressed(&bytes, 100_000, Compression::Gzip);
            let mut back = Vec::new();
            // Not the reader for several members: there is one.
            let mut reader = flate2::read::GzDecoder::new(&gzip[..]);
            reader.read_to_end(&mut back).expect("valid gzip");
            assert_eq!(back, bytes, "{len}");
            assert!(reader.into_inner().is_empty(), "nothing follows the member");
            let zstd = compressed(&bytes, 100_000, Compression::Zstd);
            assert_eq!(zstd::decode_all(&zstd[..]).expect("valid zstd"), bytes);
            assert_eq!(compressed(&bytes, 100_000, Compression::Plain), bytes);
        }
    }

    #[test]
    fn the_result_does_not_depend_on_how_it_was_written() {
        let bytes = sample(2 * BLOCK + 12_345);
        let once = compressed(&bytes, bytes.len(), Compression::Gzip);
        assert_eq!(compressed(&bytes, 7_777, Compression::Gzip), once);
        assert!(once.len() < bytes.len() * 2 / 3);
    }

    #[test]
    fn a_writer_that_fails_ends_the_threads() {
        struct Full(usize);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut compressor = Compressor::new(Full(1000), Compression::Gzip, 6).expect("begin");
        let written = compressor.write_all(&sample(20 * BLOCK));
        let done = written.and_then(|()| compressor.finish());
        assert_eq!(done.expect_err("full").kind(), io::ErrorKind::StorageFull);
    }
}
