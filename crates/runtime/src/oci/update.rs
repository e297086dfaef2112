//! `update`.

use std::io::Read;

use oci_spec::runtime::LinuxResources;
use serde_json::{Value, json};

use super::args::Args;
use super::state::{Container, Status};
use super::{Error, FileContext, Global, Result};
use crate::cgroup::OnMissing;

/// `update`.
pub(super) fn update(args: &mut Args, global: &mut Global) -> Result<i32> {
    let mut resources = json!({});
    while let Some(option) = args.option()? {
        let (section, key) = match option.as_str() {
            "--resources" | "-r" => {
                resources = read(&args.value()?)?;
                continue;
            }
            "--memory" => ("memory", "limit"),
            "--memory-reservation" => ("memory", "reservation"),
            "--memory-swap" => ("memory", "swap"),
            "--kernel-memory" => ("memory", "kernel"),
            "--kernel-memory-tcp" => ("memory", "kernelTCP"),
            "--cpu-period" => ("cpu", "period"),
            "--cpu-quota" => ("cpu", "quota"),
            "--cpu-burst" => ("cpu", "burst"),
            "--cpu-share" => ("cpu", "shares"),
            "--cpu-rt-period" => ("cpu", "realtimePeriod"),
            "--cpu-rt-runtime" => ("cpu", "realtimeRuntime"),
            "--cpu-idle" => ("cpu", "idle"),
            "--cpuset-cpus" => ("cpu", "cpus"),
            "--cpuset-mems" => ("cpu", "mems"),
            "--pids-limit" => ("pids", "limit"),
            "--blkio-weight" => ("blockIO", "weight"),
            other => return Err(args.unknown(other)),
        };
        resources[section][key] = match key {
            "cpus" | "mems" => json!(args.value()?),
            "limit" | "reservation" | "swap" if section == "memory" => {
                json!(bytes(&args.value()?)?)
            }
            _ => json!(args.number::<i64>()?),
        };
    }
    let id = args.id()?;
    args.end()?;
    let resources: LinuxResources = serde_json::from_value(resources)
        .map_err(|source| Error::Json { what: "resources".into(), source })?;
    let container = Container::load(global, &id)?;
    if container.status() == Status::Stopped {
        return Err(Error::State("container not running".into()));
    }
    for warning in container.cgroup()?.apply(&resources, OnMissing::Fail)? {
        global.log.warning(&warning.to_string());
    }
    Ok(0)
}

fn read(path: &str) -> Result<Value> {
    let mut text = String::new();
    match path {
        "-" => std::io::stdin().read_to_string(&mut text),
        path => std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text)),
    }
    .file(|| format!("cannot read {path}"))?;
    serde_json::from_str(&text).map_err(|source| Error::Json { what: path.to_owned(), source })
}

/// `64m`, `1g`, `-1` (no limit), plain bytes.
fn bytes(text: &str) -> Result<i64> {
    let bad = || Error::Usage(format!("invalid size {text:?}"));
    let lower = text.trim().to_lowercase();
    let number = lower.trim_end_matches('b');
    let (number, shift) = match number.as_bytes().last() {
        Some(b'k') => (&number[..number.len() - 1], 10),
        Some(b'm') => (&number[..number.len() - 1], 20),
        Some(b'g') => (&number[..number.len() - 1], 30),
        Some(b't') => (&number[..number.len() - 1], 40),
        _ => (number, 0),
    };
    let value: i64 = number.parse().map_err(|_| bad())?;
    value.checked_mul(1 << shift).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes() {
        assert_eq!(super::bytes("64m").unwrap(), 64 << 20);
        assert_eq!(super::bytes("1GB").unwrap(), 1 << 30);
        assert_eq!(super::bytes("-1").unwrap(), -1);
        assert!(super::bytes("x").is_err() && super::bytes("9999999t").is_err());
    }
}
