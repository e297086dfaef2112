//! `HEALTHCHECK`.

use types::health::HealthConfig;

use super::Command;
use super::words::{Flag, FlagTexts, Problem, json_or_shell, problem};

/// What `HEALTHCHECK` says, as it goes into the image.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheck(pub HealthConfig);

/// The shortest time that is accepted, nanoseconds.
const SHORTEST: i64 = 1_000_000;

/// Reads what follows `HEALTHCHECK`.
pub(super) fn parse(rest: &str) -> Result<HealthCheck, Problem> {
    let (texts, at) = FlagTexts::take(rest);
    let flags = texts.flags();
    let tail = &rest[at..];
    let (kind, command) = tail.split_once(char::is_whitespace).unwrap_or((tail, ""));
    if kind.is_empty() {
        return Err(problem(at, "HEALTHCHECK requires at least one argument"));
    }
    let mut config = HealthConfig::default();
    match kind.to_ascii_uppercase().as_str() {
        "NONE" => {
            if !command.trim().is_empty() {
                return Err(problem(at, "HEALTHCHECK NONE takes no arguments"));
            }
            config.test = vec!["NONE".to_owned()];
            return Ok(HealthCheck(config));
        }
        "CMD" => {}
        _ => return Err(problem(at, format!("Unknown type {kind:?} in HEALTHCHECK (try CMD)"))),
    }
    for flag in &flags.0 {
        flags.only_once(flag)?;
        match flag.name {
            "interval" => config.interval = time(flag)?,
            "timeout" => config.timeout = time(flag)?,
            "start-period" => config.start_period = time(flag)?,
            "start-interval" => config.start_interval = time(flag)?,
            "retries" => config.retries = retries(flag)?,
            _ => {
                return Err(flag.unknown(&[
                    "interval",
                    "retries",
                    "start-interval",
                    "start-period",
                    "timeout",
                ]));
            }
        }
    }
    let command = command.trim_start();
    config.test = match json_or_shell(command, rest.len() - command.len())? {
        Command::Words(words) if words.is_empty() => {
            return Err(problem(at, "Missing command after HEALTHCHECK CMD"));
        }
        Command::Shell(line) if line.trim().is_empty() => {
            return Err(problem(at, "Missing command after HEALTHCHECK CMD"));
        }
        Command::Words(words) => [vec!["CMD".to_owned()], words].concat(),
        Command::Shell(line) => vec!["CMD-SHELL".to_owned(), line],
    };
    Ok(HealthCheck(config))
}

fn time(flag: &Flag<'_>) -> Result<i64, Problem> {
    let text = flag.value()?;
    if text.is_empty() {
        return Ok(0);
    }
    let value =
        types::duration::parse(text).map_err(|error| problem(flag.at, error.to_string()))?;
    match value {
        0 => Ok(0),
        SHORTEST.. => Ok(value),
        _ => Err(problem(flag.at, format!("Interval {:?} cannot be less than 1ms", flag.name))),
    }
}

fn retries(flag: &Flag<'_>) -> Result<i64, Problem> {
    let text = flag.value()?;
    if text.is_empty() {
        return Ok(0);
    }
    let number: i64 = text
        .parse()
        .map_err(|_| problem(flag.at, format!("--retries must be a number (not {text:?})")))?;
    if number < 0 {
        return Err(problem(flag.at, format!("--retries cannot be negative ({number})")));
    }
    Ok(number)
}
