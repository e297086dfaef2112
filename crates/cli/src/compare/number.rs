//! Figures as people read them: three digits and a unit.

use super::report::Unit;

/// A figure with its unit.
pub(super) fn shown(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Seconds if value < 0.001 => with(value * 1e6, "µs"),
        Unit::Seconds if value < 1.0 => with(value * 1e3, "ms"),
        Unit::Seconds => with(value, "s"),
        Unit::Bytes => scaled(value, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB"]),
        Unit::BytesPerSecond => scaled(value, 1000.0, &["B/s", "kB/s", "MB/s", "GB/s", "TB/s"]),
        Unit::FilesPerSecond => format!("{value:.0}/s"),
        Unit::Containers => format!("{value:.0}"),
    }
}

/// How a figure is to the native one: `1.2x` of what should be little, `97 %` of what should be
/// much.
pub(super) fn share(share: f64, unit: Unit) -> String {
    if unit.more_is_better() {
        return format!("{} %", digits(share * 100.0));
    }
    format!("{}x", digits(share))
}

fn scaled(mut value: f64, base: f64, units: &[&str]) -> String {
    let mut at = 0;
    // What would be rounded to a whole of the next unit belongs there.
    while value >= base - 0.5 && at + 1 < units.len() {
        value /= base;
        at += 1;
    }
    with(value, units[at])
}

fn with(value: f64, unit: &str) -> String {
    format!("{} {unit}", digits(value))
}

fn digits(value: f64) -> String {
    if value == 0.0 || value >= 99.95 {
        format!("{value:.0}")
    } else if value >= 9.995 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits() {
        for (value, unit, text) in [
            (0.000_012_34, Unit::Seconds, "12.3 µs"),
            (0.0118, Unit::Seconds, "11.8 ms"),
            (2.5, Unit::Seconds, "2.50 s"),
            (147_456.0, Unit::Bytes, "144 KiB"),
            (1_048_500.0, Unit::Bytes, "1.00 MiB"),
            (3.217e9, Unit::BytesPerSecond, "3.22 GB/s"),
            (54_321.4, Unit::FilesPerSecond, "54321/s"),
            (171.0, Unit::Containers, "171"),
        ] {
            assert_eq!(shown(value, unit), text);
        }
    }

    #[test]
    fn shares_are_factors_or_parts_of_a_hundred() {
        assert_eq!(share(9.3456, Unit::Seconds), "9.35x");
        assert_eq!(share(0.97, Unit::BytesPerSecond), "97.0 %");
        assert_eq!(share(0.004, Unit::Containers), "0.40 %");
    }
}
