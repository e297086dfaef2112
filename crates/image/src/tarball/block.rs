//! One header block, field by field.

use super::BLOCK;

/// Which dialect a header speaks; it decides what its last fields mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Before POSIX: name, link, and numbers only.
    V7,
    /// POSIX, with a name prefix; extended headers build on it.
    Ustar,
    /// GNU, with times or a sparse map where the prefix would be.
    Gnu,
    /// Schily's star: a shorter prefix, then times.
    Star,
}

/// A header block whose checksum is right.
#[derive(Clone, Copy)]
pub(super) struct Block<'a>(&'a [u8; BLOCK]);

impl<'a> Block<'a> {
    /// Checks the checksum, computed over unsigned or (ancient) signed bytes.
    pub(super) fn new(bytes: &'a [u8; BLOCK]) -> Option<Self> {
        let stored = number(&bytes[148..156])?;
        let (mut unsigned, mut signed) = (0i64, 0i64);
        for (at, byte) in bytes.iter().enumerate() {
            let byte = if (148..156).contains(&at) { b' ' } else { *byte };
            unsigned += i64::from(byte);
            signed += i64::from(byte as i8);
        }
        (stored == unsigned || stored == signed).then_some(Self(bytes))
    }

    pub(super) fn dialect(&self) -> Dialect {
        match &self.0[257..265] {
            b"ustar  \0" => Dialect::Gnu,
            magic if magic.starts_with(b"ustar\0") => {
                if &self.0[508..512] == b"tar\0" {
                    Dialect::Star
                } else {
                    Dialect::Ustar
                }
            }
            _ => Dialect::V7,
        }
    }

    pub(super) fn kind(&self) -> u8 {
        self.0[156]
    }

    /// The name, with the prefix where the dialect has one.
    pub(super) fn name(&self) -> Vec<u8> {
        let name = text(&self.0[..100]);
        let prefix = match self.dialect() {
            Dialect::Ustar => text(&self.0[345..500]),
            Dialect::Star => text(&self.0[345..476]),
            Dialect::V7 | Dialect::Gnu => &[],
        };
        if prefix.is_empty() {
            return name.to_vec();
        }
        [prefix, b"/", name].concat()
    }

    pub(super) fn link(&self) -> Vec<u8> {
        text(&self.0[157..257]).to_vec()
    }

    pub(super) fn mode(&self) -> Option<i64> {
        number(&self.0[100..108])
    }

    pub(super) fn uid(&self) -> Option<i64> {
        number(&self.0[108..116])
    }

    pub(super) fn gid(&self) -> Option<i64> {
        number(&self.0[116..124])
    }

    pub(super) fn size(&self) -> Option<i64> {
        number(&self.0[124..136])
    }

    pub(super) fn mtime(&self) -> Option<i64> {
        number(&self.0[136..148])
    }

    /// Major and minor number; V7 has none.
    pub(super) fn device(&self) -> Option<(i64, i64)> {
        if self.dialect() == Dialect::V7 {
            return Some((0, 0));
        }
        Some((number(&self.0[329..337])?, number(&self.0[337..345])?))
    }

    /// The sparse map of a GNU `S` header: its slots and whether more blocks of slots follow.
    pub(super) fn gnu_sparse(&self) -> (&'a [u8], bool) {
        (&self.0[386..482], self.0[482] != 0)
    }

    /// The size of the file that a GNU `S` entry stands for.
    pub(super) fn gnu_real_size(&self) -> Option<i64> {
        number(&self.0[483..495])
    }
}

/// Bytes up to the first NUL.
fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    &field[..end]
}

/// A number in octal digits or, if the first bit is set, in big-endian two's complement.
/// An empty field is 0, as for Go.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        let negative = first & 0x40 != 0;
        let mut value: i128 = if negative { -1 } else { 0 };
        for (at, byte) in field.iter().enumerate() {
            let byte = if at == 0 && !negative { byte & 0x7f } else { *byte };
            value = (value << 8) | i128::from(byte);
        }
        return i64::try_from(value).ok();
    }
    let is_blank = |byte: &u8| *byte == b' ' || *byte == 0;
    let start = field.iter().position(|byte| !is_blank(byte)).unwrap_or(field.len());
    let end = field.iter().rposition(|byte| !is_blank(byte)).map_or(start, |at| at + 1);
    let mut value: i64 = 0;
    for byte in &field[start..end] {
        match byte {
            b'0'..=b'7' => value = value.checked_mul(8)?.checked_add(i64::from(byte - b'0'))?,
            // Some writers leave rubbish after the terminator.
            0 | b' ' => break,
            _ => return None,
        }
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_binary() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(number(b"9999999\0"), None);
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0x98, 0x96, 0x80]), Some(10_000_000));
        assert_eq!(number(&[0xff; 12]), Some(-1));
        assert_eq!(number(&[0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(number(b"77777777777\0"), Some(0o77_777_777_777));
    }
}
