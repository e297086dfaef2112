//! `ps` and `list`.

use std::process::Command;

use serde_json::json;

use super::args::Args;
use super::state::Container;
use super::{Error, FileContext, Global, Result};

/// `ps`.
pub(super) fn ps(args: &mut Args, global: &mut Global) -> Result<i32> {
    let mut json = false;
    while let Some(option) = args.option()? {
        match option.as_str() {
            "--format" | "-f" => json = format(&args.value()?)?,
            other => return Err(args.unknown(other)),
        }
    }
    let id = args.id()?;
    let pids = Container::load(global, &id)?.cgroup()?.pids()?;
    if json {
        println!("{}", json!(pids));
        return Ok(0);
    }
    let mut options = args.words();
    if options.is_empty() {
        options.push("-ef".into());
    }
    let output = Command::new("ps").args(&options).output().file(|| "cannot run ps".into())?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(Error::Usage(format!("ps: {}", why.trim())));
    }
    for line in select(&text, &pids)? {
        println!("{line}");
    }
    Ok(0)
}

/// The heading and the lines whose PID column has one of these.
fn select<'t>(text: &'t str, pids: &[i32]) -> Result<Vec<&'t str>> {
    let mut lines = text.lines();
    let heading = lines.next().unwrap_or_default();
    let column = heading.split_whitespace().position(|title| title == "PID");
    let column =
        column.ok_or_else(|| Error::Usage("couldn't find PID field in ps output".into()))?;
    let mut out = vec![heading];
    out.extend(lines.filter(|line| {
        let pid = line.split_whitespace().nth(column).and_then(|text| text.parse().ok());
        pid.is_some_and(|pid: i32| pids.contains(&pid))
    }));
    Ok(out)
}

fn format(text: &str) -> Result<bool> {
    match text {
        "json" => Ok(true),
        "table" => Ok(false),
        _ => Err(Error::Usage(format!("invalid format {text:?}: table or json"))),
    }
}

/// `list`.
pub(super) fn list(args: &mut Args, global: &mut Global) -> Result<i32> {
    let (mut json, mut quiet) = (false, false);
    while let Some(option) = args.option()? {
        match option.as_str() {
            "--format" | "-f" => json = format(&args.value()?)?,
            "--quiet" | "-q" => quiet = args.flag()?,
            other => return Err(args.unknown(other)),
        }
    }
    args.end()?;
    let mut containers = Vec::new();
    for entry in std::fs::read_dir(&global.root).into_iter().flatten().flatten() {
        // One that is being made or deleted at this moment is not there.
        if let Ok(container) = Container::load(global, &entry.file_name().to_string_lossy()) {
            containers.push(container.state());
        }
    }
    containers.sort_by_key(|state| state["id"].to_string());
    if json {
        println!("{}", serde_json::Value::from(containers));
        return Ok(0);
    }
    let text =
        |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    if !quiet {
        println!("{:<24} {:<10} {:<10} {:<40} CREATED", "ID", "PID", "STATUS", "BUNDLE");
    }
    for state in &containers {
        let column = |key: &str| text(&state[key]);
        match quiet {
            true => println!("{}", column("id")),
            false => println!(
                "{:<24} {:<10} {:<10} {:<40} {}",
                column("id"),
                column("pid"),
                column("status"),
                column("bundle"),
                column("created")
            ),
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn ps_lines() {
        let text = "UID  PID CMD\nroot 1 init\nroot 22 x\nroot 3 y 22";
        let lines = super::select(text, &[22]).unwrap();
        assert_eq!(lines, ["UID  PID CMD", "root 22 x"]);
        assert!(super::select("no such column", &[1]).is_err());
    }
}
