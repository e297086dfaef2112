//! Durations as Go writes them: `1h30m`, `1.5s`, `100ms`.

/// Nanoseconds of a duration; `None` when it is none.
pub fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut left) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    if left == "0" {
        return Some(0);
    }
    let mut total: i128 = 0;
    if left.is_empty() {
        return None;
    }
    while !left.is_empty() {
        let digits = left.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(left.len());
        let (number, rest) = left.split_at(digits);
        let unit_end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let (unit, rest) = rest.split_at(unit_end);
        let scale: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        total = total.checked_add(scaled(number, scale)?)?;
        left = rest;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

/// `12.5` times `scale`, cut off.
fn scaled(number: &str, scale: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let digits = |text: &str| {
        if text.is_empty() { Some(0) } else { text.parse::<u64>().ok().map(i128::from) }
    };
    let mut total = digits(whole)?.checked_mul(scale)?;
    let fraction = &fraction[..fraction.len().min(15)];
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    total += digits(fraction)? * scale / 10i128.pow(fraction.len() as u32);
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        assert_eq!(parse_duration("1m30s"), Some(90_000_000_000));
        assert_eq!(parse_duration("1.5s"), Some(1_500_000_000));
        assert_eq!(parse_duration(".5ms"), Some(500_000));
        assert_eq!(parse_duration("-2us"), Some(-2_000));
        assert_eq!(parse_duration("0"), Some(0));
        for bad in ["", "5", "s", "1x", "1.2.3s", "-", ".s", "99999999h999999999999h"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }
}
