//! As much of the D-Bus wire protocol as four method calls to systemd need: a blocking
//! connection, calls, and the body of the answer. Signals that come in between are passed over.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// An argument or property value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Str(String),
    Bool(bool),
    U64(u64),
    U32s(Vec<u32>),
    Bytes(Vec<u8>),
    /// `(weight, device)` style lists are not needed; `a(sv)` and the empty `a(sa(sv))` are.
    Properties(Vec<(&'static str, Value)>),
    NoUnits,
}

impl Value {
    fn signature(&self) -> &'static str {
        match self {
            Value::Str(_) => "s",
            Value::Bool(_) => "b",
            Value::U64(_) => "t",
            Value::U32s(_) => "au",
            Value::Bytes(_) => "ay",
            Value::Properties(_) => "a(sv)",
            Value::NoUnits => "a(sa(sv))",
        }
    }
}

/// Little-endian marshalling; alignment counts from the start of the buffer.
#[derive(Default)]
struct Buffer(Vec<u8>);

impl Buffer {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn u32(&mut self, value: u32) {
        self.align(4);
        self.0.extend(value.to_le_bytes());
    }

    fn string(&mut self, text: &str) {
        self.u32(text.len() as u32);
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    fn signature(&mut self, text: &str) {
        self.0.push(text.len() as u8);
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    /// An array: its length in bytes does not count the padding before the first element.
    fn array(&mut self, element_alignment: usize, fill: impl FnOnce(&mut Buffer)) {
        self.u32(0);
        let length_at = self.0.len() - 4;
        self.align(element_alignment);
        let start = self.0.len();
        fill(self);
        let length = (self.0.len() - start) as u32;
        self.0[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Str(text) => self.string(text),
            Value::Bool(flag) => self.u32(u32::from(*flag)),
            Value::U64(number) => {
                self.align(8);
                self.0.extend(number.to_le_bytes());
            }
            Value::U32s(numbers) => {
                self.array(4, |buffer| numbers.iter().for_each(|&number| buffer.u32(number)));
            }
            Value::Bytes(bytes) => self.array(1, |buffer| buffer.0.extend(bytes)),
            Value::Properties(properties) => self.array(8, |buffer| {
                for (name, value) in properties {
                    buffer.align(8);
                    buffer.string(name);
                    buffer.signature(value.signature());
                    buffer.value(value);
                }
            }),
            Value::NoUnits => self.array(8, |_| {}),
        }
    }
}

/// One method call, without its serial number.
pub(super) struct Call<'a> {
    pub(super) destination: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
    pub(super) arguments: &'a [Value],
}

impl Call<'_> {
    fn encode(&self, serial: u32) -> Vec<u8> {
        let mut body = Buffer::default();
        let mut signature = String::new();
        for argument in self.arguments {
            body.value(argument);
            signature.push_str(argument.signature());
        }
        // Little-endian, method call, no flags, protocol version 1.
        let mut message = Buffer(vec![b'l', 1, 0, 1]);
        message.u32(body.0.len() as u32);
        message.u32(serial);
        let fields = [
            (1, "o", self.path),
            (2, "s", self.interface),
            (3, "s", self.member),
            (6, "s", self.destination),
        ];
        message.array(8, |buffer| {
            for (code, kind, text) in fields {
                buffer.align(8);
                buffer.0.push(code);
                buffer.signature(kind);
                buffer.string(text);
            }
            if !signature.is_empty() {
                buffer.align(8);
                buffer.0.push(8);
                buffer.signature("g");
                buffer.signature(&signature);
            }
        });
        message.align(8);
        message.0.extend(body.0);
        message.0
    }
}

/// The body of an answer, to be taken apart by who knows its signature.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    Return(Vec<u8>),
    /// The error's name and, mostly, its text.
    Error {
        name: String,
        text: String,
    },
}

/// A string at the start of a body, or inside a variant at the start of a body.
pub(super) fn first_string(body: &[u8]) -> Option<String> {
    let mut cursor = Cursor { bytes: body, at: 0 };
    cursor.string()
}

pub(super) fn variant_string(body: &[u8]) -> Option<String> {
    let mut cursor = Cursor { bytes: body, at: 0 };
    (cursor.signature()? == "s").then(|| cursor.string())?
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn u32(&mut self) -> Option<u32> {
        self.align(4);
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn string(&mut self) -> Option<String> {
        let length = self.u32()? as usize;
        let text = String::from_utf8(self.take(length)?.to_vec()).ok()?;
        self.take(1)?;
        Some(text)
    }

    fn signature(&mut self) -> Option<&'a str> {
        let length = usize::from(*self.take(1)?.first()?);
        let text = std::str::from_utf8(self.take(length)?).ok()?;
        self.take(1)?;
        Some(text)
    }
}

/// The header fields that we look at: (serial answered, error name).
fn header_fields(fields: &[u8]) -> (Option<u32>, Option<String>) {
    // The fields start at offset 16 of the message, a multiple of 8: alignment is the same.
    let mut cursor = Cursor { bytes: fields, at: 0 };
    let (mut serial, mut error) = (None, None);
    while cursor.at < fields.len() {
        cursor.align(8);
        let Some(&[code]) = cursor.take(1) else { break };
        match cursor.signature() {
            Some("u") => {
                let value = cursor.u32();
                if code == 5 {
                    serial = value;
                }
            }
            Some("s" | "o") => {
                let value = cursor.string();
                if code == 4 {
                    error = value;
                }
            }
            Some("g") => drop(cursor.signature()),
            _ => break,
        }
    }
    (serial, error)
}

/// A connection that has said hello.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    serial: u32,
}

/// No message of systemd's is longer; the protocol allows 128 MiB.
const MAX_MESSAGE: usize = 1 << 20;

impl Connection {
    /// Connects and authenticates as this user. A `bus` wants a Hello first, systemd's private socket has nobody in
    /// between.
    pub(super) fn open(path: &Path, bus: bool) -> io::Result<Connection> {
        Connection::greet(UnixStream::connect(path)?, bus)
    }

    fn greet(mut stream: UnixStream, bus: bool) -> io::Result<Connection> {
        let patience = Some(Duration::from_secs(30));
        stream.set_read_timeout(patience)?;
        stream.set_write_timeout(patience)?;
        let uid = rustix::process::geteuid().as_raw().to_string();
        let hex: String = uid.bytes().map(|byte| format!("{byte:02x}")).collect();
        stream.write_all(format!("\0AUTH EXTERNAL {hex}\r\n").as_bytes())?;
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            line.push(byte[0]);
            if line.len() > 512 {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        if !line.starts_with(b"OK ") {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        stream.write_all(b"BEGIN\r\n")?;
        let mut connection = Connection { stream, serial: 0 };
        if bus {
            let name = "org.freedesktop.DBus";
            let path = "/org/freedesktop/DBus";
            connection.call(&Call {
                destination: name,
                path,
                interface: name,
                member: "Hello",
                arguments: &[],
            })?;
        }
        Ok(connection)
    }

    pub(super) fn call(&mut self, call: &Call<'_>) -> io::Result<Answer> {
        self.serial += 1;
        self.stream.write_all(&call.encode(self.serial))?;
        loop {
            if let Some(answer) = self.receive()? {
                return Ok(answer);
            }
        }
    }

    /// One message; `None` if it is not the answer to the last call.
    fn receive(&mut self) -> io::Result<Option<Answer>> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidData);
        let mut head = [0; 16];
        self.stream.read_exact(&mut head)?;
        if head[0] != b'l' {
            return Err(invalid());
        }
        let word = |at: usize| {
            u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize
        };
        let (body, fields) = (word(4), word(12));
        let padded = fields.checked_next_multiple_of(8).ok_or_else(invalid)?;
        if body > MAX_MESSAGE || padded > MAX_MESSAGE {
            return Err(invalid());
        }
        let mut rest = vec![0; padded + body];
        self.stream.read_exact(&mut rest)?;
        let (serial, error) = header_fields(&rest[..fields]);
        if serial != Some(self.serial) {
            return Ok(None);
        }
        let body = rest.split_off(padded);
        Ok(match (head[1], error) {
            (2, _) => Some(Answer::Return(body)),
            (3, name) => Some(Answer::Error {
                name: name.unwrap_or_default(),
                text: first_string(&body).unwrap_or_default(),
            }),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests;
