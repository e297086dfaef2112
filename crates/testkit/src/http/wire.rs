//! Heads and bodies as they are on the wire.

use super::Open;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixStream;

pub(super) fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
}

pub(super) fn head(method: &str, path: &str, headers: &[(&str, &str)]) -> String {
    let mut message = format!("{method} {path} HTTP/1.1\r\nHost: docker\r\n");
    for (name, value) in headers {
        message.push_str(&format!("{name}: {value}\r\n"));
    }
    message
}

pub(super) fn answer(stream: UnixStream, no_body: bool) -> std::io::Result<Open> {
    let mut reader = BufReader::new(stream);
    let (status, headers) = read_head(&mut reader)?;
    Ok(body_of(status, headers, reader, no_body))
}

/// Reads a status line and headers; 100 Continue is skipped.
pub(crate) fn read_head(
    reader: &mut impl BufRead,
) -> std::io::Result<(u16, Vec<(String, String)>)> {
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(std::io::Error::other("closed without an answer"));
        }
        let status: u16 = line
            .split(' ')
            .nth(1)
            .and_then(|code| code.trim().parse().ok())
            .ok_or_else(|| std::io::Error::other(format!("no status line: {line:?}")))?;
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Err(std::io::Error::other("closed within the headers"));
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        if status != 100 {
            return Ok((status, headers));
        }
    }
}

pub(super) fn body_of(
    status: u16,
    headers: Vec<(String, String)>,
    reader: BufReader<UnixStream>,
    no_body: bool,
) -> Open {
    let chunked =
        find(&headers, "transfer-encoding").is_some_and(|value| value.contains("chunked"));
    let length = find(&headers, "content-length").and_then(|value| value.parse().ok());
    let rest = if no_body || status == 204 || status == 304 {
        Rest::Exactly(0)
    } else if chunked {
        Rest::Chunk(0)
    } else if let Some(length) = length {
        Rest::Exactly(length)
    } else {
        Rest::UntilClosed
    };
    Open { status, headers, body: BufReader::new(Body { reader, rest }) }
}

/// How much of a body is still to come.
enum Rest {
    /// So many bytes are left of the body.
    Exactly(u64),
    /// So many bytes are left of the current chunk.
    Chunk(u64),
    UntilClosed,
    Over,
}

/// A body, without what the wire adds to it.
pub(super) struct Body {
    reader: BufReader<UnixStream>,
    rest: Rest,
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.rest {
            Rest::Over | Rest::Exactly(0) => Ok(0),
            Rest::UntilClosed => self.reader.read(buffer),
            Rest::Exactly(left) => {
                let count = (&mut self.reader).take(left).read(buffer)?;
                if count == 0 && !buffer.is_empty() {
                    return Err(std::io::Error::other("the body ends early"));
                }
                self.rest = Rest::Exactly(left - count as u64);
                Ok(count)
            }
            Rest::Chunk(0) => {
                let mut line = String::new();
                self.reader.read_line(&mut line)?;
                let size = u64::from_str_radix(line.trim().split(';').next().unwrap_or(""), 16)
                    .map_err(|_| std::io::Error::other(format!("bad chunk size {line:?}")))?;
                if size == 0 {
                    self.rest = Rest::Over;
                    return Ok(0);
                }
                self.rest = Rest::Chunk(size);
                self.read(buffer)
            }
            Rest::Chunk(left) => {
                let count = (&mut self.reader).take(left).read(buffer)?;
                if count == 0 && !buffer.is_empty() {
                    return Err(std::io::Error::other("a chunk ends early"));
                }
                self.rest = Rest::Chunk(left - count as u64);
                if left == count as u64 {
                    let mut end = [0; 2];
                    self.reader.read_exact(&mut end)?;
                }
                Ok(count)
            }
        }
    }
}
