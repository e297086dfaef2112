//! Sizes (`512m`) and fractions of processors (`1.5`).

/// Bytes: a number, perhaps with a fraction, and `k`, `m`, `g`, `t` or `p` as powers of 1024.
pub(crate) fn bytes(text: &str) -> Result<i64, String> {
    let invalid = || format!("invalid size: '{text}'");
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number = number.trim_end();
    if !number.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(invalid());
    }
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let letter = match unit.as_str() {
        "" | "b" => None,
        other => {
            let mut letters = other.chars();
            let first = letters.next().ok_or_else(invalid)?;
            if !matches!(letters.as_str(), "" | "b" | "ib" | "i") {
                return Err(invalid());
            }
            Some(first)
        }
    };
    let power = match letter {
        None => 0,
        Some('k') => 1,
        Some('m') => 2,
        Some('g') => 3,
        Some('t') => 4,
        Some('p') => 5,
        Some(_) => return Err(invalid()),
    };
    if let Ok(whole) = number.parse::<i64>() {
        return whole.checked_mul(1024_i64.pow(power)).ok_or_else(invalid);
    }
    let fraction: f64 = number.parse().map_err(|_| invalid())?;
    let size = fraction * 1024_f64.powi(i32::try_from(power).unwrap_or(0));
    #[allow(clippy::cast_possible_truncation, reason = "checked against the range")]
    if size.is_finite() && size < 9.2e18 { Ok(size as i64) } else { Err(invalid()) }
}

/// As [`bytes`], and `-1` for no limit.
pub(crate) fn bytes_or_unlimited(text: &str) -> Result<i64, String> {
    if text == "-1" { Ok(-1) } else { bytes(text) }
}

/// Processors, as billionths.
pub(crate) fn cpus(text: &str) -> Result<i64, String> {
    let invalid = || format!("failed to parse {text} as a rational number");
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let (sign, bare) = match whole.strip_prefix('-') {
        Some(bare) => (-1, bare),
        None => (1, whole.strip_prefix('+').unwrap_or(whole)),
    };
    if !digits(bare) || !digits(fraction) || (bare.is_empty() && fraction.is_empty()) {
        return Err(invalid());
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > 9 {
        return Err("value is too precise".to_owned());
    }
    let parse = |part: &str| if part.is_empty() { Ok(0) } else { part.parse::<i64>() };
    let billions = parse(bare).map_err(|_| invalid())?.checked_mul(1_000_000_000);
    let rest = parse(&format!("{fraction:0<9}")).map_err(|_| invalid())?;
    billions.and_then(|n| n.checked_add(rest)).map(|n| sign * n).ok_or_else(invalid)
}
