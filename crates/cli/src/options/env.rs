//! Environment variables and labels from options and files.

use std::fs;

/// One `--env`: `NAME=value`, or `NAME` to take the value from here.
pub(crate) fn variable(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some(("", _)) => Err(format!("invalid environment variable: {text}")),
        Some(_) => Ok(text.to_owned()),
        None if text.is_empty() => Err("invalid environment variable: ".to_owned()),
        None => Ok(match std::env::var(text) {
            Ok(value) => format!("{text}={value}"),
            Err(_) => text.to_owned(),
        }),
    }
}

/// The files' lines, then the options'. A bare name in a file is looked up here when `lookup`
/// is set, and left out when there is none.
pub(crate) fn gather(
    files: &[String],
    options: &[String],
    lookup: bool,
) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    for path in files {
        let text = fs::read(path).map_err(|error| {
            let reason = match error.kind() {
                std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
                _ => error.to_string(),
            };
            format!("open {path}: {reason}")
        })?;
        lines(path, &text, lookup, &mut all)?;
    }
    all.extend_from_slice(options);
    Ok(all)
}

fn lines(path: &str, text: &[u8], lookup: bool, all: &mut Vec<String>) -> Result<(), String> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let text = std::str::from_utf8(text)
        .map_err(|_| format!("env file {path} contains invalid utf8 bytes"))?;
    for line in text.lines() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (line, None),
        };
        let name = name.trim_start();
        if name.contains([' ', '\t']) {
            return Err(format!(
                "invalid env file ({path}): variable '{name}' contains whitespaces"
            ));
        }
        if name.is_empty() {
            return Err(format!("invalid env file ({path}): no variable name on line '{line}'"));
        }
        match value {
            Some(value) => all.push(format!("{name}={value}")),
            None if !lookup => all.push(name.to_owned()),
            None => {
                if let Ok(value) = std::env::var(name) {
                    all.push(format!("{name}={value}"));
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_line_by_line() {
        let mut all = Vec::new();
        let text = b"\xef\xbb\xbf# note\n\nA=1\n  B = x y \nISOPOD_SURELY_NOT_SET\n";
        assert_eq!(
            lines("f", text, true, &mut all),
            Err("invalid env file (f): variable 'B ' contains whitespaces".into())
        );
        let mut all = Vec::new();
        assert_eq!(lines("f", b"A=1\nB=x y \nISOPOD_NOT_SET\n", true, &mut all), Ok(()));
        assert_eq!(all, ["A=1", "B=x y "]);
        assert!(lines("f", b"=1", true, &mut all).is_err());
        assert_eq!(variable("=a"), Err("invalid environment variable: =a".into()));
        assert_eq!(variable("ISOPOD_NOT_SET"), Ok("ISOPOD_NOT_SET".into()));
    }
}
