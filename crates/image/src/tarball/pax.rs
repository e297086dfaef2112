//! Extended headers: `length key=value\n` records.

use sys::entry::FileTime;

use crate::error::{Error, Result};

/// The records that mean something to us; what they leave open the header block says.
#[derive(Clone, Debug, Default)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mtime: Option<FileTime>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: SparseRecords,
}

/// `GNU.sparse.*`, in all three versions of that convention.
#[derive(Clone, Debug, Default)]
pub(super) struct SparseRecords {
    pub(super) major: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    /// Versions 0.0 and 0.1: offset and length by turns.
    pub(super) map: Vec<u64>,
    pub(super) present: bool,
}

/// Reads all records of one extended header.
pub(super) fn parse(mut data: &[u8]) -> Result<Pax> {
    let mut pax = Pax::default();
    while !data.is_empty() {
        // Some writers pad with NULs.
        if data.iter().all(|byte| *byte == 0) {
            break;
        }
        let (key, value, rest) = record(data).ok_or_else(bad)?;
        data = rest;
        take(&mut pax, key, value)?;
    }
    Ok(pax)
}

fn bad() -> Error {
    Error::BadTar("a malformed extended header".into())
}

/// Splits the first record off.
fn record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = data.iter().take(20).position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(&data[..space]).ok()?.parse().ok()?;
    if length <= space + 1 || length > data.len() || data[length - 1] != b'\n' {
        return None;
    }
    let body = &data[space + 1..length - 1];
    let equals = body.iter().position(|byte| *byte == b'=')?;
    (equals > 0).then_some((&body[..equals], &body[equals + 1..], &data[length..]))
}

fn take(pax: &mut Pax, key: &[u8], value: &[u8]) -> Result<()> {
    match key {
        b"path" => pax.path = some_text(value),
        b"linkpath" => pax.link = some_text(value),
        b"size" => pax.size = Some(decimal(value)?),
        b"uid" => pax.uid = Some(id(value)?),
        b"gid" => pax.gid = Some(id(value)?),
        b"mtime" => pax.mtime = Some(time(value).ok_or_else(bad)?),
        b"GNU.sparse.major" => pax.sparse.major = Some(decimal(value)?),
        b"GNU.sparse.name" => pax.sparse.name = some_text(value),
        b"GNU.sparse.size" | b"GNU.sparse.realsize" => pax.sparse.size = Some(decimal(value)?),
        b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => pax.sparse.map.push(decimal(value)?),
        b"GNU.sparse.map" => {
            for number in value.split(|byte| *byte == b',').filter(|part| !part.is_empty()) {
                pax.sparse.map.push(decimal(number)?);
            }
        }
        _ => {
            if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                pax.xattrs.push((name.to_vec(), value.to_vec()));
            }
        }
    }
    if key.starts_with(b"GNU.sparse.") {
        pax.sparse.present = true;
    }
    Ok(())
}

/// An empty value deletes the record, so that the header block counts again.
fn some_text(value: &[u8]) -> Option<Vec<u8>> {
    (!value.is_empty()).then(|| value.to_vec())
}

fn decimal(value: &[u8]) -> Result<u64> {
    let text = std::str::from_utf8(value).map_err(|_| bad())?;
    let number: u64 = text.trim().parse().map_err(|_| bad())?;
    // Go's sizes are signed.
    if number > i64::MAX as u64 { Err(bad()) } else { Ok(number) }
}

fn id(value: &[u8]) -> Result<u32> {
    u32::try_from(decimal(value)?).map_err(|_| bad())
}

/// `[-]seconds[.fraction]`; digits beyond nanoseconds are cut off.
fn time(value: &[u8]) -> Option<FileTime> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mut seconds: i64 = whole.parse().ok()?;
    let mut nanoseconds = 0u32;
    for at in 0..9 {
        let digit = fraction.as_bytes().get(at).map_or(0, |byte| u32::from(byte - b'0'));
        nanoseconds = nanoseconds * 10 + digit;
    }
    if whole.starts_with('-') && nanoseconds > 0 {
        seconds = seconds.checked_sub(1)?;
        nanoseconds = 1_000_000_000 - nanoseconds;
    }
    Some(FileTime { seconds, nanoseconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_and_malformed_ones_refused() {
        let pax =
            parse(b"12 path=a=b\n\n30 mtime=1350244992.023960108\n23 SCHILY.xattr.user.k=\0\n")
                .err();
        assert!(pax.is_some(), "a newline too many");
        let pax = parse(b"12 path=a=b\n30 mtime=1350244992.023960108\n").expect("valid");
        assert_eq!(pax.path.as_deref(), Some(&b"a=b"[..]));
        let time = pax.mtime.expect("mtime");
        assert_eq!((time.seconds, time.nanoseconds), (1_350_244_992, 23_960_108));
        for malformed in
            ["5 a=b\n", "99 path=x\n", "x path=x\n", "7 =x\n", "8 size=\n", "13 size=-123\n", "\n"]
        {
            assert!(parse(malformed.as_bytes()).is_err(), "{malformed:?}");
        }
    }

    #[test]
    fn times_before_the_epoch_count_downwards() {
        let before = time(b"-1.25").expect("valid");
        assert_eq!((before.seconds, before.nanoseconds), (-2, 750_000_000));
        assert!(time(b"1.-5").is_none());
        assert!(time(b"").is_none());
    }
}
