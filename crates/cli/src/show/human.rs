//! Sizes, spans and moments as Docker words them.

use jiff::tz::TimeZone;

pub(crate) use crate::template::general;

const DECIMAL: &[&str] = &["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
const BINARY: &[&str] = &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"];

fn scaled(size: f64, base: f64, units: &[&str], digits: usize) -> String {
    let mut size = size;
    let mut unit = 0;
    while size >= base && unit + 1 < units.len() {
        size /= base;
        unit += 1;
    }
    format!("{}{}", general(size, digits), units[unit])
}

/// `4.26MB`: powers of 1000, so many significant digits.
#[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(crate) fn size(bytes: i64, digits: usize) -> String {
    scaled(bytes as f64, 1000.0, DECIMAL, digits)
}

/// The same for a size that is no whole number.
pub(crate) fn size_float(bytes: f64, digits: usize) -> String {
    scaled(bytes, 1000.0, DECIMAL, digits)
}

/// `4.06MiB`: powers of 1024, four significant digits.
pub(crate) fn binary(bytes: f64) -> String {
    scaled(bytes, 1024.0, BINARY, 4)
}

/// `5 minutes`, of a span in seconds.
pub(crate) fn duration(seconds: i64) -> String {
    let minutes = seconds / 60;
    // Docker rounds hours, so that 1 h 35 min are two.
    let hours = (seconds + 1800) / 3600;
    match seconds {
        i64::MIN..=0 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..=59 => format!("{seconds} seconds"),
        _ if minutes == 1 => "About a minute".to_owned(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

/// `5 minutes ago`, of seconds since the epoch.
pub(crate) fn ago(seconds: i64) -> String {
    format!("{} ago", duration(types::Timestamp::now().seconds() - seconds))
}

/// `2025-01-02 15:04:05 +0000 UTC`, as Go shows a moment, in this machine's time zone.
pub(crate) fn moment(seconds: i64) -> String {
    let Ok(time) = jiff::Timestamp::from_second(seconds) else { return String::new() };
    time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string()
}

/// RFC 3339 in this machine's time zone; without nanoseconds when there are none.
pub(crate) fn rfc3339_local(nanoseconds: i64) -> String {
    let Ok(time) = jiff::Timestamp::from_nanosecond(i128::from(nanoseconds)) else {
        return String::new();
    };
    let zoned = time.to_zoned(TimeZone::system());
    let offset = match zoned.offset().seconds() {
        0 => "Z".to_owned(),
        _ => zoned.strftime("%:z").to_string(),
    };
    format!("{}{offset}", zoned.strftime("%Y-%m-%dT%H:%M:%S.%9f"))
}

/// Cuts a text to so many characters, the last of which is then `…`.
pub(crate) fn ellipsis(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(limit.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// The first twelve digits of an id, without `sha256:`.
pub(crate) fn short_id(id: &str) -> &str {
    let bare = id.split_once(':').map_or(id, |(_, digits)| digits);
    bare.get(..12).unwrap_or(bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_spans_are_dockers() {
        assert_eq!(size(0, 3), "0B");
        assert_eq!(size(4_261_234, 3), "4.26MB");
        assert_eq!(size(1_000, 3), "1kB");
        assert_eq!(size(999, 3), "999B");
        assert_eq!(binary(1024.0 * 1024.0 * 7.5), "7.5MiB");
        for (seconds, want) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (5400, "2 hours"),
            (86_400 * 3, "3 days"),
            (86_400 * 20, "2 weeks"),
            (86_400 * 90, "3 months"),
            (86_400 * 900, "2 years"),
        ] {
            assert_eq!(duration(seconds), want, "{seconds}");
        }
        assert_eq!(ellipsis("abcdef", 4), "abc…");
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
    }
}
