//! Durations as Go writes them: `1h30m`, `1.5s`, `100ms`.

/// Why a text is no duration, in Go's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDuration {
    /// Nothing that could be read, or more than 292 years.
    #[error("time: invalid duration {0:?}")]
    Format(String),
    /// A number with nothing behind it.
    #[error("time: missing unit in duration {0:?}")]
    MissingUnit(String),
    /// A unit that there is not.
    #[error("time: unknown unit {unit:?} in duration {text:?}")]
    UnknownUnit {
        /// What stands for it.
        unit: String,
        /// The whole text.
        text: String,
    },
}

/// Nanoseconds of a duration, with or without a sign. `0` needs no unit.
///
/// # Errors
/// [`InvalidDuration`] with Go's message.
pub fn parse(text: &str) -> Result<i64, InvalidDuration> {
    let invalid = || InvalidDuration::Format(text.to_owned());
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
            .ok_or_else(|| InvalidDuration::MissingUnit(text.to_owned()))?;
        let (number, after) = rest.split_at(split);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return Err(invalid());
        }
        let scale: i64 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => {
                return Err(InvalidDuration::UnknownUnit {
                    unit: unit.to_owned(),
                    text: text.to_owned(),
                });
            }
        };
        let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
        let value = whole.checked_mul(scale).ok_or_else(invalid)?;
        // More digits than these are worth less than a nanosecond.
        let digits = fraction.bytes().take(15).map(|digit| i128::from(digit - b'0'));
        let (part, power) =
            digits.fold((0, 1), |(part, power), digit| (part * 10 + digit, power * 10));
        let part = i64::try_from(part * i128::from(scale) / power).map_err(|_| invalid())?;
        let value = value.checked_add(part).ok_or_else(invalid)?;
        total = total.checked_add(value).ok_or_else(invalid)?;
        rest = after;
    }
    Ok(if negative { -total } else { total })
}

/// A duration as Go prints it: `0s`, `1.5s`, `1h0m0s`, `100ms`.
pub fn format(nanoseconds: i64) -> String {
    let (sign, total) = (if nanoseconds < 0 { "-" } else { "" }, nanoseconds.unsigned_abs());
    let fraction = |value: u64, unit: u64, digits: usize| {
        let rest = format!("{:0digits$}", value % unit);
        let rest = rest.trim_end_matches('0');
        let point = if rest.is_empty() { "" } else { "." };
        format!("{}{point}{rest}", value / unit)
    };
    match total {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{total}ns"),
        1_000..1_000_000 => format!("{sign}{}\u{b5}s", fraction(total, 1_000, 3)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", fraction(total, 1_000_000, 6)),
        _ => {
            let minutes = total / 60_000_000_000;
            let seconds = fraction(total % 60_000_000_000, 1_000_000_000, 9);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}s"),
                (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
                (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        assert_eq!(parse("1m30s"), Ok(90_000_000_000));
        assert_eq!(parse("1.5s"), Ok(1_500_000_000));
        assert_eq!(parse(".5ms"), Ok(500_000));
        assert_eq!(parse("-2us"), Ok(-2_000));
        assert_eq!(parse("0"), Ok(0));
        assert_eq!(parse("1.123456789012h"), Ok(4_044_444_440_443));
        for bad in ["", "5", "s", "1x", "1.2.3s", "-", ".s", "99999999h999999999999h", "1h30"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let message = parse("1x").map_err(|error| error.to_string());
        assert_eq!(message, Err("time: unknown unit \"x\" in duration \"1x\"".to_owned()));
        let message = parse("15").map_err(|error| error.to_string());
        assert_eq!(message, Err("time: missing unit in duration \"15\"".to_owned()));
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[-+0-9.a-zµ]{0,30}") {
            drop(parse(&text));
        }
    }

    #[test]
    fn durations_are_printed_as_go_does() {
        for (value, text) in [
            (0, "0s"),
            (7, "7ns"),
            (1_100, "1.1µs"),
            (100_000_000, "100ms"),
            (1_500_000_000, "1.5s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
            (-30_000_000_000, "-30s"),
        ] {
            assert_eq!(format(value), text);
            assert_eq!(parse(text), Ok(value));
        }
    }
}
