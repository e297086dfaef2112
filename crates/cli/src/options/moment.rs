//! Moments, also as so long ago.

use types::Timestamp;

/// A moment: RFC 3339 in full or in part, seconds since the epoch, or so long ago. As the API
/// takes it: `seconds.nanoseconds`.
pub(crate) fn read(text: &str, now: Timestamp) -> Result<String, String> {
    if let Ok(ago) = types::duration::parse(text) {
        return Ok(written(now.0.saturating_sub(ago)));
    }
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Ok(text.to_owned());
    }
    let bad = || format!("failed to parse value as time or duration: {text:?}");
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return i64::try_from(time.as_nanosecond()).map(written).map_err(|_| bad());
    }
    // A date or a time without an offset means this machine's time zone.
    let bare = text.strip_suffix('Z').unwrap_or(text);
    let full = match bare.len() {
        10 => format!("{bare}T00:00:00"),
        13 => format!("{bare}:00:00"),
        16 => format!("{bare}:00"),
        _ => bare.to_owned(),
    };
    let civil: jiff::civil::DateTime = full.parse().map_err(|_| bad())?;
    let zone = if bare.len() < text.len() {
        jiff::tz::TimeZone::UTC
    } else {
        jiff::tz::TimeZone::system()
    };
    let time = civil.to_zoned(zone).map_err(|_| bad())?.timestamp();
    i64::try_from(time.as_nanosecond()).map(written).map_err(|_| bad())
}

fn written(nanoseconds: i64) -> String {
    let (seconds, rest) =
        (nanoseconds.div_euclid(1_000_000_000), nanoseconds.rem_euclid(1_000_000_000));
    format!("{seconds}.{rest:09}")
}
