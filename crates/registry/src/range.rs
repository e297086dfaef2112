//! Ranges of bytes in headers. Pure.

/// What a `Range` header asks for of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Everything: there is no header, or one that may be ignored.
    Whole,
    /// From the first byte to the last, both included.
    Part {
        /// First byte.
        first: u64,
        /// Last byte.
        last: u64,
    },
    /// Nothing of the blob.
    Outside,
}

/// Reads a `Range` header. What is malformed, in another unit, or asks for several parts is
/// ignored, as the protocol allows.
pub(crate) fn wanted(header: Option<&str>, size: u64) -> Wanted {
    let Some(spec) = header.and_then(|text| text.trim().strip_prefix("bytes=")) else {
        return Wanted::Whole;
    };
    let Some((first, last)) = spec.split_once('-') else { return Wanted::Whole };
    let (first, last) = (first.trim(), last.trim());
    if first.is_empty() {
        return match number(last) {
            None => Wanted::Whole,
            Some(0) => Wanted::Outside,
            Some(_) if size == 0 => Wanted::Outside,
            Some(count) => Wanted::Part { first: size.saturating_sub(count), last: size - 1 },
        };
    }
    let Some(first) = number(first) else { return Wanted::Whole };
    let last = match (last.is_empty(), number(last)) {
        (true, _) => u64::MAX,
        (false, Some(last)) if last >= first => last,
        _ => return Wanted::Whole,
    };
    if first >= size {
        return Wanted::Outside;
    }
    Wanted::Part { first, last: last.min(size - 1) }
}

/// Reads the `Content-Range` of a piece of an upload, `<first>-<last>`; some clients write
/// `bytes <first>-<last>/<size>`.
pub(crate) fn piece(header: &str) -> Option<(u64, u64)> {
    let text = header.trim();
    let text = text.strip_prefix("bytes").map_or(text, |rest| rest.trim_start_matches([' ', '=']));
    let text = text.split('/').next().unwrap_or_default();
    let (first, last) = text.split_once('-')?;
    let (first, last) = (number(first.trim())?, number(last.trim())?);
    (first <= last && last < u64::MAX).then_some((first, last))
}

/// Digits and nothing else: `parse` would take a sign as well.
fn number(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_blobs() {
        let part = |first, last| Wanted::Part { first, last };
        for (header, expected) in [
            ("bytes=0-0", part(0, 0)),
            ("bytes=2-5", part(2, 5)),
            ("bytes=2-", part(2, 9)),
            ("bytes=5-100", part(5, 9)),
            ("bytes=-3", part(7, 9)),
            ("bytes=-100", part(0, 9)),
            ("bytes=10-", Wanted::Outside),
            ("bytes=-0", Wanted::Outside),
            ("bytes=5-2", Wanted::Whole),
            ("bytes=0-1,3-4", Wanted::Whole),
            ("bytes=+1-2", Wanted::Whole),
            ("bytes=99999999999999999999-", Wanted::Whole),
            ("items=0-1", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
        ] {
            assert_eq!(wanted(Some(header), 10), expected, "{header}");
        }
        assert_eq!(wanted(None, 10), Wanted::Whole);
        assert_eq!(wanted(Some("bytes=0-"), 0), Wanted::Outside);
        assert_eq!(wanted(Some("bytes=-1"), 0), Wanted::Outside);
    }

    #[test]
    fn pieces_of_uploads() {
        assert_eq!(piece("0-9"), Some((0, 9)));
        assert_eq!(piece("bytes 10-19/*"), Some((10, 19)));
        assert_eq!(piece("bytes=10-19"), Some((10, 19)));
        for bad in ["", "9", "9-0", "-9", "9-", "a-b", "+1-2", "0-18446744073709551615"] {
            assert_eq!(piece(bad), None, "{bad}");
        }
    }
}
