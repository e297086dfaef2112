//! The two formats in which a container's output is kept: Docker's JSON lines, and compact
//! records. Only bytes here: the monitor writes the files, the engine reads them.
//!
//! A *record* is a line of output, or a piece of at most [`MAX_LINE`] bytes of a longer one, or a
//! last line that lacks its newline. In a file records follow each other with nothing between, so
//! files can be read from any record's beginning, and concatenated.
//!
//! * [`Encoder`] writes records.
//! * [`Decoder`] takes bytes, however they are cut, and hands out entries.
//! * [`Tail`] finds where the last *n* records begin, reading from the end.

mod json;
mod local;
mod tail;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use types::Timestamp;

pub use tail::Tail;

/// The most bytes of output in one record; a longer line is kept in several. Docker's number.
pub const MAX_LINE: usize = 16 << 10;

/// The longest record that a reader takes for one, in bytes: a line of control characters in JSON
/// is six times as long, and attributes come on top.
pub const MAX_RECORD: usize = 1 << 20;

/// How a log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One JSON object a line, as Docker's `json-file`:
    /// `{"log":"text\n","stream":"stdout","attrs":{…},"time":"…"}`.
    Json,
    /// Length, flags, time, text, length: see [`Encoder`].
    Local,
}

/// Which of its streams a process wrote to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output; with a terminal, all output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A piece of output to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// When it was read.
    pub time: Timestamp,
    /// Where from.
    pub stream: Stream,
    /// The bytes, without a newline at the end.
    pub text: &'a [u8],
    /// The line goes on in the next record (or ended without a newline): none is added.
    pub partial: bool,
}

/// A piece of output that was read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When it was written.
    pub time: Timestamp,
    /// To which stream.
    pub stream: Stream,
    /// The bytes, with their newline if they had one.
    pub text: Vec<u8>,
    /// What `--log-opt labels=…`, `env=…` and `tag=…` put beside it.
    pub attributes: BTreeMap<String, String>,
}

impl Entry {
    /// Whether the line goes on in the stream's next entry.
    pub fn is_partial(&self) -> bool {
        self.text.last() != Some(&b'\n')
    }
}

/// A stretch of a log that holds no records: torn by a crash, or written by somebody else. The
/// next records are found again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{bytes} bytes of the log are damaged and left out")]
pub struct Damaged {
    /// How many bytes were passed over.
    pub bytes: usize,
}

/// Writes records of one log.
///
/// A [`Format::Local`] record is, all numbers little-endian: the length *n* of what follows up to
/// the second length (32 bits); flags (8 bits: 0xa0, and of it 1 standard error, 2 partial, 4 with
/// attributes); nanoseconds since the epoch (64 bits); with flag 4 a number of attributes (16 bits), each a
/// key and a value with 16 bits of length before them; the text; and *n* again, so that a file
/// can be read backwards.
#[derive(Clone, Debug)]
pub struct Encoder {
    format: Format,
    /// As they stand in every record.
    attributes: Vec<u8>,
}

impl Encoder {
    /// For records that all bear these attributes.
    pub fn new(format: Format, attributes: &BTreeMap<String, String>) -> Self {
        let attributes = match format {
            _ if attributes.is_empty() => Vec::new(),
            Format::Json => json::attributes(attributes),
            Format::Local => local::attributes(attributes),
        };
        Self { format, attributes }
    }

    /// Appends one record to `out`.
    pub fn encode(&self, record: &Record<'_>, out: &mut Vec<u8>) {
        match self.format {
            Format::Json => json::encode(record, &self.attributes, out),
            Format::Local => local::encode(record, &self.attributes, out),
        }
    }
}

/// Collects bytes of a log and hands out its entries.
#[derive(Clone, Debug)]
pub struct Decoder {
    format: Format,
    bytes: Vec<u8>,
    /// Where the next record begins.
    start: usize,
    /// Bytes passed over in search of the next record.
    lost: usize,
}

/// What stands at the beginning of some bytes of a log.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// A record, and its length.
    Entry(Entry, usize),
    /// No record: so many bytes are to be passed over.
    Nothing(usize),
    /// More bytes are needed to tell.
    Incomplete,
}

impl Decoder {
    /// From the beginning of a record.
    pub fn new(format: Format) -> Self {
        Self { format, bytes: Vec::new(), start: 0, lost: 0 }
    }

    /// Adds what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// How many bytes have been pushed that no entry or damage has accounted for.
    pub fn pending(&self) -> usize {
        self.bytes.len() - self.start + self.lost
    }

    /// Forgets what is pending, as after a log was cut.
    pub fn clear(&mut self) {
        self.bytes.clear();
        (self.start, self.lost) = (0, 0);
    }

    /// The next entry; `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`Damaged`] when bytes had to be passed over to get to the next record.
    pub fn entry(&mut self) -> Result<Option<Entry>, Damaged> {
        loop {
            let rest = self.bytes.get(self.start..).unwrap_or_default();
            let found = match self.format {
                Format::Json => json::decode(rest),
                Format::Local => local::decode(rest),
            };
            match found {
                Found::Incomplete => return Ok(None),
                Found::Nothing(bytes) => {
                    self.start += bytes;
                    self.lost += bytes;
                }
                Found::Entry(..) if self.lost > 0 => {
                    return Err(Damaged { bytes: std::mem::take(&mut self.lost) });
                }
                Found::Entry(entry, length) => {
                    self.start += length;
                    return Ok(Some(entry));
                }
            }
        }
    }
}
