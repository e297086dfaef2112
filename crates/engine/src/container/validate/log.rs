//! Log drivers and their options.

use super::{Checked, refuse};

pub(super) fn log(log: &types::container::LogConfig) -> Checked {
    let known: &[&str] = match log.kind.as_str() {
        "none" => return Ok(()),
        "" | "json-file" | "local" => &[
            "max-size",
            "max-file",
            "compress",
            "labels",
            "labels-regex",
            "env",
            "env-regex",
            "tag",
            "mode",
            "max-buffer-size",
        ],
        other => {
            return refuse(format!("logger: no log driver named '{other}' is registered"));
        }
    };
    for (key, value) in &log.config {
        if !known.contains(&key.as_str()) {
            refuse(format!(
                "unknown log opt '{key}' for {} log driver",
                if log.kind.is_empty() { "json-file" } else { &log.kind }
            ))?;
        }
        let fine = match key.as_str() {
            "max-size" | "max-buffer-size" => size(value).is_some_and(|bytes| bytes > 0),
            "max-file" => value.parse::<u32>().is_ok_and(|count| count > 0),
            "compress" => value.parse::<bool>().is_ok(),
            "mode" => matches!(value.as_str(), "blocking" | "non-blocking"),
            _ => true,
        };
        if !fine {
            refuse(format!("invalid value '{value}' for log opt '{key}': {}", expected(key)))?;
        }
    }
    let waits = log.config.get("mode").is_none_or(|mode| mode != "non-blocking");
    if waits && log.config.contains_key("max-buffer-size") {
        refuse("logger: max-buffer-size option is only supported with 'mode=non-blocking'")?;
    }
    if log.config.contains_key("max-file") && !log.config.contains_key("max-size") {
        let default = log.kind.is_empty() || log.kind == "json-file";
        let many = log.config.get("max-file").is_some_and(|count| count != "1");
        if default && many {
            // The default rotates here, unlike dockerd's, so a number of files alone is fine.
            return Ok(());
        }
    }
    Ok(())
}

/// What an option takes.
fn expected(key: &str) -> &'static str {
    match key {
        "max-file" => "it takes a number from 1 on",
        "compress" => "it takes true or false",
        "mode" => "it takes blocking or non-blocking",
        _ => "it takes a size, as in 512k, 10m or 1g",
    }
}

/// Bytes of `10m`, `1g`, `512k`, `7`, `7b`.
pub fn size(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let text = text.strip_suffix('b').unwrap_or(&text);
    let text = text.strip_suffix('i').unwrap_or(text);
    let (digits, shift) = match text.as_bytes().last()? {
        b'k' => (&text[..text.len() - 1], 10),
        b'm' => (&text[..text.len() - 1], 20),
        b'g' => (&text[..text.len() - 1], 30),
        b't' => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    let number: f64 = digits.trim().parse().ok()?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
    (number >= 0.0 && number.is_finite()).then(|| {
        (number * f64::from(1u32 << (shift / 2)) * f64::from(1u32 << (shift - shift / 2))) as u64
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("10m"), Some(10 << 20));
        assert_eq!(size("1.5k"), Some(1536));
        assert_eq!(size("2GB"), Some(2 << 30));
        assert_eq!(size("x"), None);
        assert_eq!(size("-1"), None);
    }
}
