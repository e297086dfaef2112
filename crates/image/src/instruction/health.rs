//! `HEALTHCHECK`.

use types::health::HealthConfig;

use super::{Command, bad};
use crate::error::Result;

/// Reads what follows `HEALTHCHECK`.
pub(super) fn parse(mut rest: &str) -> Result<HealthConfig> {
    let mut health = HealthConfig::default();
    let mut has_flags = false;
    while let Some(flag) = rest.strip_prefix("--") {
        let (flag, after) = flag.split_once(char::is_whitespace).unwrap_or((flag, ""));
        rest = after.trim_start();
        has_flags = true;
        let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
        let time = || {
            let value = types::duration::parse(value)
                .map_err(|error| bad(format!("invalid duration for --{name}: {error}")))?;
            if value != 0 && value < 1_000_000 {
                return Err(bad(format!("Interval {name:?} cannot be less than 1ms")));
            }
            Ok(value)
        };
        match name {
            "interval" => health.interval = time()?,
            "timeout" => health.timeout = time()?,
            "start-period" => health.start_period = time()?,
            "start-interval" => health.start_interval = time()?,
            "retries" => {
                health.retries =
                    value.parse().ok().filter(|retries| *retries >= 0).ok_or_else(|| {
                        bad(format!("--retries must be at least 0 (not {value})"))
                    })?;
            }
            _ => return Err(bad(format!("unknown flag: --{name}"))),
        }
    }
    let (kind, command) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    match kind.to_ascii_uppercase().as_str() {
        "NONE" if has_flags || !command.trim().is_empty() => {
            Err(bad("HEALTHCHECK NONE takes no arguments".into()))
        }
        "NONE" => {
            health.test = vec!["NONE".to_owned()];
            Ok(health)
        }
        "CMD" if command.trim().is_empty() => {
            Err(bad("Missing command after HEALTHCHECK CMD".into()))
        }
        "CMD" => {
            health.test = match Command::parse(command.trim()) {
                Command::Words(words) => [vec!["CMD".to_owned()], words].concat(),
                Command::Shell(line) => vec!["CMD-SHELL".to_owned(), line],
            };
            Ok(health)
        }
        _ => Err(bad(format!("Unknown type {kind:?} in HEALTHCHECK (try CMD)"))),
    }
}

/// Fills the fields of a health check that are left open from the image's.
pub(super) fn merge(health: &mut Option<HealthConfig>, image: Option<&HealthConfig>) {
    let Some(image) = image else { return };
    let Some(health) = health else {
        *health = Some(image.clone());
        return;
    };
    if health.test.is_empty() {
        health.test.clone_from(&image.test);
    }
    for (mine, theirs) in [
        (&mut health.interval, image.interval),
        (&mut health.timeout, image.timeout),
        (&mut health.start_period, image.start_period),
        (&mut health.start_interval, image.start_interval),
        (&mut health.retries, image.retries),
    ] {
        if *mine == 0 {
            *mine = theirs;
        }
    }
}
