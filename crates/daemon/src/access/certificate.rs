//! Who a certificate says its owner is. The TLS library has verified it; here it is only read.
//!
//! X.509 is DER: a tag, a length, and that many bytes, nested. What is looked for stands at fixed
//! places, so nothing but those places is understood:
//!
//! ```text
//!  Certificate ─ TBSCertificate ─ [0] version, serial, algorithm, issuer, validity
//!                               ├ subject ─ sets of (type, text): common names, units
//!                               ├ public key, [1], [2]
//!                               └ [3] extensions ─ (id, critical?, octets): alternative names
//! ```

use std::net::{Ipv4Addr, Ipv6Addr};

use rustls_pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use types::digest::Digest;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_ID: u8 = 0x06;
const OCTETS: u8 = 0x04;
const UTF8: u8 = 0x0c;
const PRINTABLE: u8 = 0x13;
const IA5: u8 = 0x16;
const BMP: u8 = 0x1e;

/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// 2.5.4.11
const UNIT: &[u8] = &[0x55, 0x04, 0x0b];
/// 2.5.29.17
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];

/// Who a client is, by its certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// SHA-256 of the certificate in small hexadecimal digits.
    pub fingerprint: String,
    /// The subject's common names; one, as a rule.
    pub common_names: Vec<String>,
    /// The subject's organisational units.
    pub units: Vec<String>,
    /// DNS names, addresses, email addresses and URIs.
    pub names: Vec<String>,
}

impl Identity {
    /// Reads a certificate. What cannot be read is left out: it then fits no rule that names it.
    pub fn read(certificate: &CertificateDer<'_>) -> Self {
        let sum = Digest::from_sha256(Sha256::digest(certificate.as_ref()).into());
        let mut identity = Self { fingerprint: sum.hex().to_owned(), ..Self::default() };
        identity.fill(certificate.as_ref());
        identity
    }

    fn fill(&mut self, der: &[u8]) -> Option<()> {
        let (certificate, _) = expect(der, SEQUENCE)?;
        let (body, _) = expect(certificate, SEQUENCE)?;
        let mut rest = body;
        if rest.first() == Some(&0xa0) {
            rest = element(rest)?.2;
        }
        // Serial number, algorithm, issuer, validity.
        for _ in 0..4 {
            rest = element(rest)?.2;
        }
        let (subject, after) = expect(rest, SEQUENCE)?;
        self.subject(subject);
        // The public key.
        rest = element(after)?.2;
        while !rest.is_empty() {
            let (tag, content, after) = element(rest)?;
            if tag == 0xa3 {
                self.extensions(expect(content, SEQUENCE)?.0);
            }
            rest = after;
        }
        Some(())
    }

    fn subject(&mut self, subject: &[u8]) {
        for (tag, set) in Elements(subject) {
            if tag != SET {
                continue;
            }
            for (_, pair) in Elements(set) {
                let Some((id, rest)) = expect(pair, OBJECT_ID) else { continue };
                let Some((tag, value, _)) = element(rest) else { continue };
                let Some(text) = text(tag, value) else { continue };
                match id {
                    COMMON_NAME => self.common_names.push(text),
                    UNIT => self.units.push(text),
                    _ => {}
                }
            }
        }
    }

    fn extensions(&mut self, extensions: &[u8]) {
        for (_, extension) in Elements(extensions) {
            let Some((ALTERNATIVE_NAMES, rest)) = expect(extension, OBJECT_ID) else { continue };
            // Whether it is critical may stand between.
            let Some((_, octets)) = Elements(rest).find(|(tag, _)| *tag == OCTETS) else {
                continue;
            };
            let Some((names, _)) = expect(octets, SEQUENCE) else { continue };
            for (tag, value) in Elements(names) {
                self.names.extend(match tag {
                    // Email address, DNS name, URI: IA5 text.
                    0x81 | 0x82 | 0x86 => text(IA5, value),
                    0x87 => address(value),
                    _ => None,
                });
            }
        }
    }
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(v4).to_string());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|v6| Ipv6Addr::from(v6).to_string())
}

fn text(tag: u8, bytes: &[u8]) -> Option<String> {
    match tag {
        UTF8 => String::from_utf8(bytes.to_vec()).ok(),
        PRINTABLE | IA5 if bytes.is_ascii() => String::from_utf8(bytes.to_vec()).ok(),
        BMP if bytes.len().is_multiple_of(2) => {
            let units = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            char::decode_utf16(units).collect::<Result<_, _>>().ok()
        }
        _ => None,
    }
}

/// The elements of a sequence or set, until something is no element.
struct Elements<'a>(&'a [u8]);

impl<'a> Iterator for Elements<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (tag, content, rest) = element(self.0)?;
        self.0 = rest;
        Some((tag, content))
    }
}

/// The content of an element of this tag, and what follows it.
fn expect(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = element(bytes)?;
    (found == tag).then_some((content, rest))
}

/// Tag and content of the first element, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let count = usize::from(first & 0x7f);
        // DER knows no indefinite length, and no certificate has 16 MB.
        if count == 0 || count > 3 {
            return None;
        }
        let (digits, rest) = rest.split_at_checked(count)?;
        (digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}
