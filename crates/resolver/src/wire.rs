//! The little of DNS's wire format (RFC 1035, RFC 6891) that is needed to answer for containers:
//! queries with one question are read, replies with addresses and names are written. What other
//! servers answer is handed through as it comes.

use std::net::IpAddr;

/// The longest query that is read. Real ones have some 50 bytes, with all extensions some 300.
pub const MAX_QUERY: usize = 2048;

/// The longest reply to a datagram for who does not say otherwise.
pub const PLAIN: usize = 512;

/// What we say that we take in a datagram.
const OUR_SIZE: u16 = 4096;

const HEADER: usize = 12;
const OPT: u16 = 41;
/// Seconds that a reply about a container may be kept: none, since names change at any time, and
/// asking again is cheap.
const TTL: u32 = 0;

/// Outcomes of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(pub u16);

impl Code {
    /// An answer, perhaps an empty one.
    pub const FINE: Code = Code(0);
    /// The query makes no sense.
    pub const FORMAT: Code = Code(1);
    /// There is nobody who would know.
    pub const FAILED: Code = Code(2);
    /// There is no such name.
    pub const NO_SUCH_NAME: Code = Code(3);
    /// Something else than a question.
    pub const NOT_IMPLEMENTED: Code = Code(4);
    /// The server does not want to.
    pub const REFUSED: Code = Code(5);
    /// An extension of the future.
    const BAD_VERSION: Code = Code(16);
}

/// What kind of record is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind(pub u16);

impl Kind {
    /// Addresses of IPv4.
    pub const A: Kind = Kind(1);
    /// The name of an address.
    pub const PTR: Kind = Kind(12);
    /// Addresses of IPv6.
    pub const AAAA: Kind = Kind(28);
    /// All there is.
    pub const ANY: Kind = Kind(255);
}

/// A query's extensions (EDNS).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extensions {
    size: u16,
    version: u8,
}

/// A query with one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query<'a> {
    /// By which the asker knows the reply.
    id: [u8; 2],
    flags: [u8; 2],
    /// The question as it came.
    question: &'a [u8],
    /// The name in lower case, without the dot at its end; `None` when it has bytes that no name
    /// of a container has.
    pub name: Option<String>,
    /// What is asked for.
    pub kind: Kind,
    /// It is about the internet, as all but curiosities are.
    pub internet: bool,
    extensions: Option<Extensions>,
}

/// Why bytes are no query that can be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// Not even an error can be sent back, or must be.
    Nonsense,
    /// This is to be sent back.
    Refused(Code),
}

impl<'a> Query<'a> {
    /// Reads a query.
    ///
    /// # Errors
    /// What is to be done with bytes that are none.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Unreadable> {
        let (header, rest) = bytes.split_first_chunk::<HEADER>().ok_or(Unreadable::Nonsense)?;
        let [id1, id2, flags1, flags2, qd1, qd2, an1, an2, ns1, ns2, ar1, ar2] = *header;
        if flags1 & 0x80 != 0 {
            // An answer. Whoever answers answers goes on for ever.
            return Err(Unreadable::Nonsense);
        }
        if flags1 & 0x78 != 0 {
            return Err(Unreadable::Refused(Code::NOT_IMPLEMENTED));
        }
        let wrong = Unreadable::Refused(Code::FORMAT);
        if [qd1, qd2] != [0, 1] || bytes.len() > MAX_QUERY {
            return Err(wrong);
        }
        let (name, length) = name(rest).ok_or(wrong)?;
        let end = length + 4;
        let question = rest.get(..end).ok_or(wrong)?;
        let [.., kind1, kind2, class1, class2] = *question else { return Err(wrong) };
        let class = u16::from_be_bytes([class1, class2]);
        let plain = [an1, an2, ns1, ns2] == [0; 4];
        let additional = if plain { u16::from_be_bytes([ar1, ar2]) } else { 0 };
        Ok(Query {
            id: [id1, id2],
            flags: [flags1, flags2],
            question,
            name,
            kind: Kind(u16::from_be_bytes([kind1, kind2])),
            internet: class == 1 || class == 255,
            extensions: extensions(rest.get(end..).unwrap_or_default(), additional),
        })
    }

    /// How long a reply to it may be in a datagram.
    pub fn room(&self) -> usize {
        self.extensions.map_or(PLAIN, |extensions| usize::from(extensions.size).max(PLAIN))
    }

    /// Whether it asks by rules that are not known here.
    pub fn is_of_the_future(&self) -> bool {
        self.extensions.is_some_and(|extensions| extensions.version > 0)
    }

    /// The reply that says so.
    pub fn bad_version(&self) -> Vec<u8> {
        self.reply(Code::BAD_VERSION, &[], usize::MAX)
    }

    /// A reply with as many records as fit into `room`.
    pub fn reply(&self, code: Code, records: &[Record<'_>], room: usize) -> Vec<u8> {
        let tail = if self.extensions.is_some() { 11 } else { 0 };
        let mut bytes =
            Vec::with_capacity(HEADER + self.question.len() + tail + records.len() * 28);
        // The request's wish for recursion and its opcode, which is 0; recursion is available.
        bytes.extend([self.id[0], self.id[1], 0x80 | self.flags[0] & 0x01]);
        bytes.push(0x80 | self.flags[1] & 0x10 | (code.0 & 0x0f) as u8);
        bytes.extend([0, 1, 0, 0, 0, 0, 0, u8::from(tail > 0)]);
        bytes.extend_from_slice(self.question);
        let mut count = 0_u16;
        for record in records {
            let before = bytes.len();
            record.write(&mut bytes);
            if bytes.len() + tail > room || count == u16::MAX {
                bytes.truncate(before);
                bytes[2] |= TRUNCATED;
                break;
            }
            count += 1;
        }
        bytes[6..8].copy_from_slice(&count.to_be_bytes());
        if tail > 0 {
            let [size1, size2] = OUR_SIZE.to_be_bytes();
            let [_, opt] = OPT.to_be_bytes();
            bytes.extend([0, 0, opt, size1, size2, (code.0 >> 4) as u8, 0, 0, 0, 0, 0]);
        }
        bytes
    }

    /// A reply that says no more than that it does not fit.
    pub fn too_long(&self) -> Vec<u8> {
        let mut bytes = self.reply(Code::FINE, &[], usize::MAX);
        bytes[2] |= TRUNCATED;
        bytes
    }

    /// Whether bytes that came from a server are the answer to this query, sent under another id.
    pub fn is_answered_by(&self, bytes: &[u8], id: u16) -> bool {
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else { return false };
        let question = rest.get(..self.question.len());
        header[..2] == id.to_be_bytes()
            && header[2] & 0x80 != 0
            && header[4..6] == [0, 1]
            && question.is_some_and(|question| question.eq_ignore_ascii_case(self.question))
    }

    /// Gives the answer of a server the id that the asker expects, and the question as asked.
    pub fn make_own(&self, bytes: &mut [u8]) {
        bytes[..2].copy_from_slice(&self.id);
        bytes[HEADER..HEADER + self.question.len()].copy_from_slice(self.question);
    }
}

/// In a header's third byte: there is more.
const TRUNCATED: u8 = 0x02;

/// The outcome that a server's answer tells.
pub fn code_of(answer: &[u8]) -> Code {
    Code(answer.get(3).map_or(0, |flags| u16::from(flags & 0x0f)))
}

/// A reply to something that is no readable query: its id and what is wrong.
pub fn refusal(bytes: &[u8], code: Code) -> Vec<u8> {
    let id = bytes.get(..2).unwrap_or(&[0, 0]);
    let opcode = bytes.get(2).map_or(0, |flags| flags & 0x79);
    let mut reply = vec![id[0], id[1], 0x80 | opcode, 0x80 | (code.0 & 0x0f) as u8];
    reply.resize(HEADER, 0);
    reply
}

/// Something to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// An address of the name.
    Address(IpAddr),
    /// The name of the address, of labels that are not longer than 63 bytes.
    Pointer(&'a str),
}

impl Record<'_> {
    fn write(&self, bytes: &mut Vec<u8>) {
        let (kind, data) = match self {
            Record::Address(IpAddr::V4(address)) => (Kind::A, address.octets().to_vec()),
            Record::Address(IpAddr::V6(address)) => (Kind::AAAA, address.octets().to_vec()),
            Record::Pointer(name) => (Kind::PTR, labels(name)),
        };
        // Its name is that of the question, right behind the header.
        bytes.extend([0xc0, HEADER as u8]);
        bytes.extend(kind.0.to_be_bytes());
        bytes.extend([0, 1]);
        bytes.extend(TTL.to_be_bytes());
        bytes.extend((data.len() as u16).to_be_bytes());
        bytes.extend(data);
    }
}

/// Whether a name can be written.
pub fn is_writable(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(|label| (1..=63).contains(&label.len()))
}

fn labels(name: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len() + 2);
    for label in name.split('.') {
        let label = &label.as_bytes()[..label.len().min(63)];
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label);
    }
    bytes.push(0);
    bytes
}

/// A question's name, and how many bytes it takes. Pointers are for answers: there is nothing
/// before the question that one could lead to.
fn name(bytes: &[u8]) -> Option<(Option<String>, usize)> {
    let mut text = Some(String::new());
    let mut at = 0;
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1;
        if length == 0 {
            return Some((text, at));
        }
        // 255 bytes are the limit for all of it, the last zero included.
        if length > 63 || at + length > 254 {
            return None;
        }
        let label = bytes.get(at..at + length)?;
        at += length;
        let plain = label.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'.');
        text = text.filter(|_| plain).map(|mut text| {
            if !text.is_empty() {
                text.push('.');
            }
            text.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
            text
        });
    }
}

/// The extensions among the additional records of a query.
fn extensions(mut bytes: &[u8], records: u16) -> Option<Extensions> {
    // OPT, and perhaps a signature.
    for _ in 0..records.min(3) {
        let (_, length) = name(bytes)?;
        let (fixed, data) = bytes.get(length..)?.split_first_chunk::<10>()?;
        let [kind1, kind2, class1, class2, _, version, _, _, length1, length2] = *fixed;
        if u16::from_be_bytes([kind1, kind2]) == OPT && length == 1 {
            return Some(Extensions { size: u16::from_be_bytes([class1, class2]), version });
        }
        bytes = data.get(usize::from(u16::from_be_bytes([length1, length2]))..)?;
    }
    None
}

#[cfg(test)]
pub(crate) mod tests;
