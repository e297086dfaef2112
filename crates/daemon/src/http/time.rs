//! Points in time in query parameters.

use types::{Error, Timestamp};

const SECOND: i128 = 1_000_000_000;

/// Reads `since` and `until`: Unix seconds with an optional fraction, an RFC 3339 time (also
/// without zone or time of day, then in UTC), or a duration such as `1h30m` before `now`.
/// Nothing and `0` mean never.
///
/// # Errors
/// [`types::ErrorKind::Invalid`] for anything else.
pub(crate) fn parse(name: &str, text: &str, now: Timestamp) -> Result<Timestamp, Error> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(Timestamp::NEVER);
    }
    let found = seconds(text).or_else(|| calendar(text)).or_else(|| {
        types::duration::parse(text).ok().map(|ago| Timestamp(now.0.saturating_sub(ago)))
    });
    found.ok_or_else(|| {
        Error::invalid(format!("invalid value for \"{name}\": {text:?} is not a point in time"))
    })
}

/// `1136073600`, `1136073600.000000001`, `-5.5`.
fn seconds(text: &str) -> Option<Timestamp> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let numeric = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !numeric(whole) || !numeric(fraction) {
        return None;
    }
    let whole: i128 = whole.parse().ok()?;
    let nanos: i128 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    let total = sign * whole.checked_mul(SECOND)?.checked_add(nanos)?;
    i64::try_from(total).ok().map(Timestamp)
}

/// RFC 3339 and its shorter relatives.
fn calendar(text: &str) -> Option<Timestamp> {
    if !text.is_ascii() || text.len() < 10 || text.as_bytes()[4] != b'-' {
        return None;
    }
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, time),
        None => (text, "00:00:00Z"),
    };
    let zoned = time.ends_with('Z') || time.contains(['+', '-']);
    let clock = time.trim_end_matches('Z').split(['+', '-']).next().unwrap_or("");
    let seconds = if clock.matches(':').count() == 1 { ":00" } else { "" };
    let zone = if zoned { &time[clock.len()..] } else { "Z" };
    format!("{date}T{clock}{seconds}{zone}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_form_of_time_is_read() {
        let now = Timestamp(10_000 * 1_000_000_000);
        let read = |text| parse("since", text, now);
        assert_eq!(read(""), Ok(Timestamp::NEVER));
        assert_eq!(read("0"), Ok(Timestamp::NEVER));
        assert_eq!(read("1.000000001"), Ok(Timestamp(1_000_000_001)));
        assert_eq!(read("1.5"), Ok(Timestamp(1_500_000_000)));
        assert_eq!(read("-1.5"), Ok(Timestamp(-1_500_000_000)));
        assert_eq!(read("1970-01-01T00:00:01Z"), Ok(Timestamp(1_000_000_000)));
        assert_eq!(read("1970-01-01T01:00:01.5+01:00"), Ok(Timestamp(1_500_000_000)));
        assert_eq!(read("1970-01-01T00:01"), Ok(Timestamp(60_000_000_000)));
        assert_eq!(read("1970-01-02"), Ok(Timestamp(86_400_000_000_000)));
        assert_eq!(read("1h30m"), Ok(Timestamp(4_600 * 1_000_000_000)));
        assert_eq!(read("500ms"), Ok(Timestamp(9_999_500_000_000)));
        for text in ["yesterday", "1x", "1.2.3", "-", "1970-13-01", "99999999999999", "1h30"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in ".{0,30}") {
            drop(parse("since", &text, Timestamp(5)));
        }

        #[test]
        fn nothing_like_a_date_panics(text in "[0-9T:+.Z-]{9,30}") {
            drop(parse("since", &text, Timestamp(5)));
        }
    }
}
