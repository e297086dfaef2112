//! Finding the last records of a log without reading all of it.

use std::collections::VecDeque;
use std::ops::Range;

use super::{Decoder, Format, local};

/// How much is read at once.
const BLOCK: u64 = 64 << 10;

/// Finds where the last records of a log begin. It does no reading itself: as long as
/// [`Tail::want`] names a range, read it and [`Tail::feed`] it; then ask [`Tail::start`].
///
/// ```
/// # use proto::log::{Format, Tail};
/// let file = b"{\"log\":\"a\"}\n{\"log\":\"b\"}\n{\"log\":\"c";
/// let mut tail = Tail::new(Format::Json, file.len() as u64, 1);
/// while let Some(range) = tail.want() {
///     tail.feed(&file[range.start as usize..range.end as usize]);
/// }
/// assert_eq!((tail.start(), tail.end(), tail.found()), (12, 24, 1));
/// ```
#[derive(Clone, Debug)]
pub struct Tail {
    format: Format,
    wanted: usize,
    found: usize,
    /// Where the earliest record found so far begins; everything from here on has been seen.
    start: u64,
    /// Where the last whole record ends, once that is known.
    end: Option<u64>,
    length: u64,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    /// Going back; what lies before this offset has not been looked at.
    Back(u64),
    /// The end is damaged, so compact records can only be counted from the beginning: the next
    /// offset to read, a decoder for what has been read, and where the last records began.
    Forth {
        next: u64,
        decoder: Decoder,
        starts: VecDeque<u64>,
    },
    Done,
}

impl Tail {
    /// Looks for the last `wanted` records of a log of `length` bytes. With none wanted it only
    /// finds the end of the last whole record.
    pub fn new(format: Format, length: u64, wanted: usize) -> Self {
        let state = if length == 0 { State::Done } else { State::Back(length) };
        let end = (length == 0).then_some(0);
        Self { format, wanted, found: 0, start: length, end, length, state }
    }

    /// What to read next; `None` when there is nothing more to know.
    pub fn want(&self) -> Option<Range<u64>> {
        match &self.state {
            State::Back(before) => Some(before.saturating_sub(BLOCK)..*before),
            State::Forth { next, .. } => Some(*next..self.length.min(*next + BLOCK)),
            State::Done => None,
        }
    }

    /// Takes the bytes of the range that [`Tail::want`] named; fewer mean that the file was cut
    /// meanwhile, and end the search.
    pub fn feed(&mut self, bytes: &[u8]) {
        let Some(range) = self.want() else { return };
        if bytes.len() as u64 != range.end - range.start {
            self.state = State::Done;
            return;
        }
        match (self.format, &mut self.state) {
            (Format::Json, _) => self.lines_back(range, bytes),
            (Format::Local, State::Back(_)) => self.records_back(range, bytes),
            (Format::Local, State::Forth { next, decoder, starts }) => {
                *next = range.end;
                decoder.push(bytes);
                loop {
                    // Before the entry is taken, since its own length is not told.
                    let before = range.end - decoder.pending() as u64;
                    match decoder.entry() {
                        Ok(Some(_)) => {
                            self.end = Some(range.end - decoder.pending() as u64);
                            starts.push_back(before);
                            if starts.len() > self.wanted {
                                starts.pop_front();
                            }
                        }
                        Ok(None) => break,
                        Err(_) => {}
                    }
                }
                if range.end == self.length {
                    self.found = starts.len();
                    self.start = starts.front().copied().or(self.end).unwrap_or(0);
                    self.end.get_or_insert(0);
                    self.state = State::Done;
                }
            }
            (Format::Local, State::Done) => {}
        }
    }

    /// Where to begin to read.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Where the last whole record ends: what lies behind is still being written, or was torn.
    pub fn end(&self) -> u64 {
        self.end.unwrap_or(self.length)
    }

    /// How many records there are from [`Tail::start`] on; fewer than wanted when the log has no
    /// more of them (look into the one that was rotated away before it).
    pub fn found(&self) -> usize {
        self.found
    }

    /// A newline ends a record and, but for the last, begins another.
    fn lines_back(&mut self, range: Range<u64>, bytes: &[u8]) {
        for (at, _) in bytes.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let behind = range.start + at as u64 + 1;
            if self.end.is_none() {
                self.end = Some(behind);
            } else {
                self.found += 1;
            }
            self.start = behind;
            if self.found == self.wanted {
                self.state = State::Done;
                return;
            }
        }
        if range.start > 0 {
            self.state = State::Back(range.start);
            return;
        }
        if self.end.is_some() {
            self.found += 1;
        }
        self.end.get_or_insert(0);
        self.start = 0;
        self.state = State::Done;
    }

    /// The length at a record's end leads to its beginning.
    fn records_back(&mut self, range: Range<u64>, bytes: &[u8]) {
        let mut at = bytes.len();
        while at > 0 {
            let here = range.start + at as u64;
            // Only in the middle of a block may the rest of the record lie before it.
            let beyond = at < bytes.len() && range.start > 0;
            let Some(length) = at.checked_sub(4).map(|from| local::length(&bytes[from..])) else {
                if beyond {
                    self.state = State::Back(here);
                    return;
                }
                return self.go_forth();
            };
            let Some(length) = length.map(|length| length + local::FRAME) else {
                return self.go_forth();
            };
            match at.checked_sub(length) {
                Some(begin) if bytes[begin..begin + 4] == bytes[at - 4..at] => at = begin,
                Some(_) => return self.go_forth(),
                None if beyond => {
                    self.state = State::Back(here);
                    return;
                }
                // A record longer than a block: the way leads on from before it.
                None => match here.checked_sub(length as u64) {
                    Some(begin) => {
                        if self.count(here, begin) {
                            self.state = State::Back(begin);
                        }
                        return;
                    }
                    None => return self.go_forth(),
                },
            }
            if !self.count(here, range.start + at as u64) {
                return;
            }
        }
        self.state = State::Back(range.start);
    }

    /// Notes a record from `begin` to `end`; whether to look for more.
    fn count(&mut self, end: u64, begin: u64) -> bool {
        self.end.get_or_insert(end);
        if self.found < self.wanted {
            self.found += 1;
            self.start = begin;
        }
        let more = self.found < self.wanted && begin > 0;
        if !more {
            self.state = State::Done;
        }
        more
    }

    fn go_forth(&mut self) {
        (self.found, self.start, self.end) = (0, self.length, None);
        let decoder = Decoder::new(self.format);
        self.state = State::Forth { next: 0, decoder, starts: VecDeque::new() };
    }
}
