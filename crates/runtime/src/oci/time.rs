//! Points in time as RFC 3339 has them.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now, in UTC, with nanoseconds.
pub(crate) fn now() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format(now.as_secs(), now.subsec_nanos())
}

/// Seconds since 1970 as a date: days are counted in eras of 400 years that begin in March, so
/// that the leap day is the last of a year.
fn format(secs: u64, nanos: u32) -> String {
    let days = secs / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let shifted = (5 * day + 2) / 153;
    let (month, day) =
        (if shifted < 10 { shifted + 3 } else { shifted - 9 }, day - (153 * shifted + 2) / 5 + 1);
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (secs / 3_600 % 24, secs / 60 % 60, secs % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

#[cfg(test)]
mod tests {
    #[test]
    fn dates() {
        assert_eq!(super::format(0, 0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(super::format(951_782_400, 5), "2000-02-29T00:00:00.000000005Z");
        assert_eq!(super::format(1_735_689_599, 0), "2024-12-31T23:59:59.000000000Z");
    }
}
