//! Comma-separated values with quotes, `key=value` maps, list validation.

use std::collections::{BTreeMap, BTreeSet};

/// One line of comma-separated values; a field in double quotes may hold commas and doubled
/// quotes.
pub(crate) fn csv(text: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        let mut field = String::new();
        if chars.next_if_eq(&'"').is_some() {
            loop {
                match chars.next() {
                    None => {
                        return Err(format!(
                            "parse error on line 1, column {}: extraneous or missing \" in quoted-field",
                            text.len() + 1
                        ));
                    }
                    Some('"') if chars.next_if_eq(&'"').is_some() => field.push('"'),
                    Some('"') => break,
                    Some(c) => field.push(c),
                }
            }
            if chars.peek().is_some_and(|c| *c != ',') {
                return Err("extraneous or missing \" in quoted-field".to_owned());
            }
        } else {
            while let Some(c) = chars.next_if(|c| *c != ',') {
                if c == '"' {
                    return Err("bare \" in non-quoted-field".to_owned());
                }
                field.push(c);
            }
        }
        fields.push(field);
        if chars.next().is_none() {
            return Ok(fields);
        }
    }
}

/// `key=value` pairs; a bare key has an empty value, a later one replaces an earlier one.
pub(crate) fn map(pairs: &[String]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key.to_owned(), value.to_owned())
        })
        .collect()
}

/// A label: anything but an empty or blank-led key.
pub(crate) fn label(text: &str) -> Result<String, String> {
    let key = text.split('=').next().unwrap_or_default();
    if key.is_empty() || key.trim() != key {
        return Err(format!(
            "invalid label '{text}': {}",
            if key.is_empty() { "empty name" } else { "leading or trailing whitespace" }
        ));
    }
    Ok(text.to_owned())
}

/// A name server's address.
pub(crate) fn ip(text: &str) -> Result<String, String> {
    text.trim()
        .parse::<std::net::IpAddr>()
        .map(|ip| ip.to_string())
        .map_err(|_| format!("IP address is not correctly formatted: {text}"))
}

/// A search domain; `.` stands for none at all.
pub(crate) fn dns_search(text: &str) -> Result<String, String> {
    let text = text.trim();
    let fits = text == "."
        || (!text.is_empty()
            && text.len() < 255
            && text.trim_end_matches('.').split('.').all(|part| {
                !part.is_empty()
                    && !part.starts_with('-')
                    && !part.ends_with('-')
                    && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            })
            && text.bytes().any(|b| b.is_ascii_alphabetic()));
    if fits {
        Ok(if text == "." { text } else { text.trim_end_matches('.') }.to_owned())
    } else {
        Err(format!("{text} is not a valid domain"))
    }
}

/// `host:address` or `host=address` for /etc/hosts, in the form the API takes.
pub(crate) fn extra_host(text: &str) -> Result<String, String> {
    let split = text.split_once('=').or_else(|| text.split_once(':'));
    let (name, address) = match split {
        Some((name, address)) if !name.is_empty() => (name, address),
        _ => return Err(format!("bad format for add-host: {text:?}")),
    };
    if address == "host-gateway" {
        return Ok(format!("{name}:{address}"));
    }
    let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    if bare.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("invalid IP address in add-host: {address:?}"));
    }
    Ok(format!("{name}:{bare}"))
}

/// A kernel parameter that a container may have of its own.
pub(crate) fn sysctl(text: &str) -> Result<String, String> {
    const ALLOWED: &[&str] = &[
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    let key = match text.split_once('=') {
        Some((key, _)) => key,
        None => return Err(format!("sysctl '{text}' is not allowed")),
    };
    if ALLOWED.contains(&key) || key.starts_with("net.") || key.starts_with("fs.mqueue.") {
        Ok(text.to_owned())
    } else {
        Err(format!("sysctl '{text}' is not allowed"))
    }
}

/// A container link: `name` or `name:alias`.
pub(crate) fn link(text: &str) -> Result<String, String> {
    match text.matches(':').count() {
        _ if text.is_empty() => Err("empty string specified for links".to_owned()),
        0 | 1 => Ok(text.to_owned()),
        _ => Err(format!("bad format for links: {text}")),
    }
}

/// Capabilities in one spelling, sorted, each once.
pub(crate) fn capabilities(names: &[String]) -> Vec<String> {
    let names: BTreeSet<String> = names
        .iter()
        .map(|name| {
            let name = name.trim().to_uppercase();
            if name == "ALL" || name.starts_with("CAP_") { name } else { format!("CAP_{name}") }
        })
        .collect();
    names.into_iter().collect()
}

/// Where to attach.
pub(crate) fn attach(text: &str) -> Result<String, String> {
    let low = text.to_lowercase();
    match low.as_str() {
        "stdin" | "stdout" | "stderr" => Ok(low),
        _ => Err("valid streams are STDIN, STDOUT and STDERR".to_owned()),
    }
}

/// Why the system refused, as Go words it.
pub(crate) fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error ").next().unwrap_or_default().to_lowercase()
}
