//! Compact records; their shape is told at [`super::Encoder`].

use std::collections::BTreeMap;

use types::Timestamp;

use super::{Entry, Found, MAX_RECORD, Record, Stream};

const STDERR: u8 = 1;
const PARTIAL: u8 = 2;
const ATTRIBUTES: u8 = 4;

/// The upper half of every flag byte: a length in front of another byte is none, and so a reader
/// that looks for the next record behind some damage is not kept waiting by most false ones.
const MARK: u8 = 0xa0;

/// Flags and time: the shortest payload.
const MIN_PAYLOAD: usize = 9;

/// Both lengths.
pub(super) const FRAME: usize = 8;

/// The attributes as they stand in every record. What does not fit into 16 bits of length, or
/// would make a record longer than readers accept, is left out.
pub(super) fn attributes(attributes: &BTreeMap<String, String>) -> Vec<u8> {
    let mut out = vec![0; 2];
    let mut count = 0u16;
    for (key, value) in attributes {
        let (Ok(key_len), Ok(value_len), Some(next)) =
            (u16::try_from(key.len()), u16::try_from(value.len()), count.checked_add(1))
        else {
            continue;
        };
        if out.len() + key.len() + value.len() > MAX_RECORD / 2 {
            continue;
        }
        count = next;
        out.extend_from_slice(&key_len.to_le_bytes());
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(&value_len.to_le_bytes());
        out.extend_from_slice(value.as_bytes());
    }
    out[..2].copy_from_slice(&count.to_le_bytes());
    out
}

/// Appends one record.
pub(super) fn encode(record: &Record<'_>, attributes: &[u8], out: &mut Vec<u8>) {
    let mut flags = MARK;
    if record.stream == Stream::Stderr {
        flags |= STDERR;
    }
    if record.partial {
        flags |= PARTIAL;
    }
    if !attributes.is_empty() {
        flags |= ATTRIBUTES;
    }
    let length = MIN_PAYLOAD + attributes.len() + record.text.len();
    // A text is a piece of at most MAX_LINE bytes and attributes are bounded above.
    let length = u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    out.extend_from_slice(&length);
    out.push(flags);
    out.extend_from_slice(&record.time.0.to_le_bytes());
    out.extend_from_slice(attributes);
    out.extend_from_slice(record.text);
    out.extend_from_slice(&length);
}

/// The length that four bytes announce, if it can be that of a payload.
pub(super) fn length(bytes: &[u8]) -> Option<usize> {
    let length = u32::from_le_bytes(*bytes.first_chunk()?) as usize;
    (MIN_PAYLOAD..=MAX_RECORD).contains(&length).then_some(length)
}

/// Reads one record.
pub(super) fn decode(bytes: &[u8]) -> Found {
    if bytes.len() < FRAME {
        return Found::Incomplete;
    }
    let Some(length) = length(bytes) else { return Found::Nothing(1) };
    if bytes[4] & !(STDERR | PARTIAL | ATTRIBUTES) != MARK {
        return Found::Nothing(1);
    }
    let Some(record) = bytes.get(..length + FRAME) else { return Found::Incomplete };
    let (payload, tail) = record[4..].split_at(length);
    match entry(payload) {
        Some(entry) if tail == &record[..4] => Found::Entry(entry, length + FRAME),
        _ => Found::Nothing(1),
    }
}

fn entry(payload: &[u8]) -> Option<Entry> {
    let (flags, rest) = payload.split_first()?;
    let (time, mut rest) = rest.split_first_chunk()?;
    let mut attributes = BTreeMap::new();
    if flags & ATTRIBUTES != 0 {
        let (count, after) = rest.split_first_chunk()?;
        rest = after;
        for _ in 0..u16::from_le_bytes(*count) {
            let key = text(&mut rest)?;
            attributes.insert(key, text(&mut rest)?);
        }
    }
    let mut text = rest.to_vec();
    if flags & PARTIAL == 0 {
        text.push(b'\n');
    }
    Some(Entry {
        time: Timestamp(i64::from_le_bytes(*time)),
        stream: if flags & STDERR != 0 { Stream::Stderr } else { Stream::Stdout },
        text,
        attributes,
    })
}

fn text(rest: &mut &[u8]) -> Option<String> {
    let (length, after) = rest.split_first_chunk()?;
    let (text, after) = after.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    *rest = after;
    String::from_utf8(text.to_vec()).ok()
}
