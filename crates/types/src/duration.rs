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
}
