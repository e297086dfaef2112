//! Which entries are wanted, and how they look.

use std::collections::BTreeMap;

use proto::log::{Entry, Stream};
use types::Timestamp;

use super::{LogLine, LogOptions};

/// What becomes of an entry.
pub(super) enum Choice {
    Send(LogLine),
    Skip,
    /// Everything that follows is later than what is wanted.
    Stop,
}

pub(super) fn choose(entry: Entry, options: &LogOptions) -> Choice {
    if !options.until.is_never() && entry.time > options.until {
        return Choice::Stop;
    }
    let stream = match entry.stream {
        Stream::Stdout => options.stdout,
        Stream::Stderr => options.stderr,
    };
    if !stream || entry.time < options.since {
        return Choice::Skip;
    }
    let mut bytes = Vec::with_capacity(entry.text.len() + 40);
    if options.timestamps {
        bytes.extend(fixed(entry.time).bytes());
        bytes.push(b' ');
    }
    if options.details {
        bytes.extend(details(&entry.attributes).bytes());
        bytes.push(b' ');
    }
    bytes.extend(entry.text);
    Choice::Send(LogLine { stream: entry.stream, bytes: bytes.into() })
}

/// RFC 3339 with nine fractional digits, so that columns line up.
fn fixed(time: Timestamp) -> String {
    let whole = Timestamp(time.seconds() * 1_000_000_000).to_string();
    let nanoseconds = time.0.rem_euclid(1_000_000_000);
    format!("{}.{nanoseconds:09}Z", whole.trim_end_matches('Z'))
}

/// `key=value` pairs with commas between, escaped as in a URL's query.
fn details(attributes: &BTreeMap<String, String>) -> String {
    let escape = |text: &str| {
        let mut escaped = String::new();
        for byte in text.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                    escaped.push(char::from(byte));
                }
                b' ' => escaped.push('+'),
                _ => escaped.push_str(&format!("%{byte:02X}")),
            }
        }
        escaped
    };
    let pairs = attributes.iter().map(|(key, value)| format!("{}={}", escape(key), escape(value)));
    pairs.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_line_up() {
        assert_eq!(fixed(Timestamp(1_000_000_005)), "1970-01-01T00:00:01.000000005Z");
    }
}
