//! JSON lines, byte for byte as Docker's `json-file` driver writes them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write as _;

use serde::Deserialize;

use super::{Entry, Found, MAX_RECORD, Record, Stream};

/// `,"attrs":{…}` as it stands in every record.
pub(super) fn attributes(attributes: &BTreeMap<String, String>) -> Vec<u8> {
    let mut out = b",\"attrs\":{".to_vec();
    for (number, (key, value)) in attributes.iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        string(key.as_bytes(), &mut out);
        out.push(b':');
        string(value.as_bytes(), &mut out);
    }
    out.push(b'}');
    out
}

/// Appends one line.
pub(super) fn encode(record: &Record<'_>, attributes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"log\":\"");
    escape(record.text, out);
    out.extend_from_slice(if record.partial {
        b"\",\"stream\":\""
    } else {
        b"\\n\",\"stream\":\""
    });
    out.extend_from_slice(match record.stream {
        Stream::Stdout => b"stdout\"",
        Stream::Stderr => b"stderr\"",
    });
    out.extend_from_slice(attributes);
    // Writing to a vector does not fail.
    let _ = write!(out, ",\"time\":\"{}\"}}", record.time);
    out.push(b'\n');
}

fn string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    escape(text, out);
    out.push(b'"');
}

/// Escapes as Docker's encoder does: `"` and `\` with a backslash, newline and carriage return by
/// their letters, other control characters and `<`, `>`, `&` by number; the two line separators
/// that JavaScript trips over by number; and each byte that is not UTF-8 as U+FFFD.
fn escape(text: &[u8], out: &mut Vec<u8>) {
    for chunk in text.utf8_chunks() {
        escape_valid(chunk.valid().as_bytes(), out);
        // Go counts each byte of a broken sequence for itself.
        for _ in chunk.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
}

fn escape_valid(text: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut clean = 0;
    for (at, byte) in text.iter().copied().enumerate() {
        if !SPECIAL[usize::from(byte)] {
            continue;
        }
        let mut length = 1;
        let short;
        let long;
        let replacement: &[u8] = match byte {
            b'"' | b'\\' => {
                short = [b'\\', byte];
                &short
            }
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            0xe2 => match text.get(at + 1..at + 3) {
                Some([0x80, 0xa8]) => {
                    length = 3;
                    b"\\u2028"
                }
                Some([0x80, 0xa9]) => {
                    length = 3;
                    b"\\u2029"
                }
                _ => continue,
            },
            _ => {
                let digit = |nibble: u8| HEX[usize::from(nibble & 15)];
                long = [b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte)];
                &long
            }
        };
        out.extend_from_slice(&text[clean..at]);
        out.extend_from_slice(replacement);
        clean = at + length;
    }
    out.extend_from_slice(&text[clean..]);
}

/// The bytes that may need escaping; 0xe2 begins U+2028 and U+2029.
const SPECIAL: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table[b'<' as usize] = true;
    table[b'>' as usize] = true;
    table[b'&' as usize] = true;
    table[0xe2] = true;
    table
};

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(default, borrow)]
    log: Cow<'a, str>,
    #[serde(default, borrow)]
    stream: Cow<'a, str>,
    #[serde(default)]
    attrs: Option<BTreeMap<String, String>>,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

/// Reads one line.
pub(super) fn decode(bytes: &[u8]) -> Found {
    let window = bytes.get(..MAX_RECORD).unwrap_or(bytes);
    let Some(end) = window.iter().position(|byte| *byte == b'\n') else {
        return if bytes.len() < MAX_RECORD {
            Found::Incomplete
        } else {
            Found::Nothing(MAX_RECORD)
        };
    };
    match entry(&bytes[..end]) {
        Some(entry) => Found::Entry(entry, end + 1),
        None => Found::Nothing(end + 1),
    }
}

fn entry(line: &[u8]) -> Option<Entry> {
    let line: Line<'_> = serde_json::from_slice(line).ok()?;
    Some(Entry {
        time: line.time.parse().ok()?,
        stream: if line.stream == "stderr" { Stream::Stderr } else { Stream::Stdout },
        text: line.log.into_owned().into_bytes(),
        attributes: line.attrs.unwrap_or_default(),
    })
}
