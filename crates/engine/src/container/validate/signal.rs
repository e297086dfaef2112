//! Signals, by name or number.

use types::Error;

/// A signal's number, from a number or a name with or without `SIG`.
///
/// # Errors
/// [`types::ErrorKind::Invalid`] in Docker's words.
pub(crate) fn signal(text: &str) -> Result<i32, Error> {
    const NAMES: [(&str, i32); 35] = [
        ("HUP", 1),
        ("INT", 2),
        ("QUIT", 3),
        ("ILL", 4),
        ("TRAP", 5),
        ("ABRT", 6),
        ("IOT", 6),
        ("BUS", 7),
        ("FPE", 8),
        ("KILL", 9),
        ("USR1", 10),
        ("SEGV", 11),
        ("USR2", 12),
        ("PIPE", 13),
        ("ALRM", 14),
        ("TERM", 15),
        ("STKFLT", 16),
        ("CHLD", 17),
        ("CLD", 17),
        ("CONT", 18),
        ("STOP", 19),
        ("TSTP", 20),
        ("TTIN", 21),
        ("TTOU", 22),
        ("URG", 23),
        ("XCPU", 24),
        ("XFSZ", 25),
        ("VTALRM", 26),
        ("PROF", 27),
        ("WINCH", 28),
        ("IO", 29),
        ("POLL", 29),
        ("PWR", 30),
        ("SYS", 31),
        ("UNUSED", 31),
    ];
    let invalid = || Error::invalid(format!("invalid signal: {text}"));
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=64).contains(&number) { Ok(number) } else { Err(invalid()) };
    }
    let upper = text.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = NAMES.iter().find(|(name, _)| *name == bare) {
        return Ok(*number);
    }
    let offset = |prefix: &str| bare.strip_prefix(prefix)?.parse::<i32>().ok();
    let real_time = match bare {
        "RTMIN" => Some(34),
        "RTMAX" => Some(64),
        _ => offset("RTMIN+").map(|n| 34 + n).or_else(|| offset("RTMAX-").map(|n| 64 - n)),
    };
    real_time.filter(|number| (34..=64).contains(number)).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        assert_eq!(signal("SIGTERM"), Ok(15));
        assert_eq!(signal("kill"), Ok(9));
        assert_eq!(signal("RTMIN+3"), Ok(37));
        assert_eq!(signal("64"), Ok(64));
        for bad in ["0", "65", "SIGNOPE", "", "-9", "RTMIN+99"] {
            assert!(signal(bad).is_err(), "{bad}");
        }
    }
}
