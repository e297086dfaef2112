//! Go's durations (`1m30s`) and moments given as one.

use types::Timestamp;

/// Nanoseconds of `1h15m30.918s`.
pub(crate) fn nanoseconds(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0_i64;
    while !rest.is_empty() {
        let split = rest
            .find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .ok_or_else(|| format!("time: missing unit in duration {text:?}"))?;
        let (number, after) = rest.split_at(split);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let scale: i64 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(format!("time: unknown unit {unit:?} in duration {text:?}")),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return Err(invalid());
        }
        let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
        let mut value = whole.checked_mul(scale).ok_or_else(invalid)?;
        let mut step = scale;
        for digit in fraction.bytes() {
            step /= 10;
            value = value.checked_add(i64::from(digit - b'0') * step).ok_or_else(invalid)?;
        }
        total = total.checked_add(value).ok_or_else(invalid)?;
        rest = after;
    }
    Ok(if negative { -total } else { total })
}

/// A moment: RFC 3339 in full or in part, seconds since the epoch, or so long ago. As the API
/// takes it: `seconds.nanoseconds`.
pub(crate) fn moment(text: &str, now: Timestamp) -> Result<String, String> {
    if let Ok(ago) = nanoseconds(text) {
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
