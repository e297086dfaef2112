//! Dockerfile instructions that change an image's configuration, one line each: what `--change` of
//! `import` and `commit` takes, and what a build reuses.
//!
//! [`Instruction::parse`] only reads the line; [`Instruction::apply`] changes a configuration.

mod health;
mod words;

use std::collections::BTreeMap;

use types::container::{ContainerConfig, Empty};
use types::health::HealthConfig;

use crate::error::{Error, Result};

pub use words::{expand, split_words};

/// A command: as words, or as a line for the shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `["a", "b"]`
    Words(Vec<String>),
    /// `a b`
    Shell(String),
}

impl Command {
    /// Reads a JSON array of strings; anything else is a line for the shell.
    pub fn parse(text: &str) -> Self {
        match serde_json::from_str::<Vec<String>>(text) {
            Ok(words) if text.starts_with('[') => Self::Words(words),
            _ => Self::Shell(text.to_owned()),
        }
    }

    /// The words to execute; a line is given to the configured shell.
    pub fn words(&self, shell: &[String]) -> Vec<String> {
        match self {
            Self::Words(words) => words.clone(),
            Self::Shell(line) if line.is_empty() => Vec::new(),
            Self::Shell(line) => {
                let mut words = shell.to_vec();
                if words.is_empty() {
                    words = vec!["/bin/sh".to_owned(), "-c".to_owned()];
                }
                words.push(line.clone());
                words
            }
        }
    }
}

/// One instruction, read but not carried out; variables are not replaced yet.
#[derive(Clone, Debug, PartialEq)]
pub enum Instruction {
    /// `CMD`
    Cmd(Command),
    /// `ENTRYPOINT`
    Entrypoint(Command),
    /// `ENV`, names and values as written
    Env(Vec<(String, String)>),
    /// `EXPOSE`, ports as written
    Expose(Vec<String>),
    /// `HEALTHCHECK`
    HealthCheck(HealthConfig),
    /// `LABEL`, names and values as written
    Label(Vec<(String, String)>),
    /// `ONBUILD`, the trigger's line
    OnBuild(String),
    /// `STOPSIGNAL`
    StopSignal(String),
    /// `USER`
    User(String),
    /// `VOLUME`
    Volume(Vec<String>),
    /// `WORKDIR`
    WorkDir(String),
}

impl Instruction {
    /// Reads one line; `None` for an empty line or a comment.
    ///
    /// # Errors
    /// [`Error::BadInstruction`] with Docker's message.
    pub fn parse(line: &str) -> Result<Option<Self>> {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return Ok(None);
        }
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let (upper, rest) = (name.to_ascii_uppercase(), rest.trim());
        if rest.is_empty() && upper != "CMD" && upper != "ENTRYPOINT" {
            return match upper.as_str() {
                "ENV" | "LABEL" => Err(bad(format!("{upper} must have two arguments"))),
                "EXPOSE" | "ONBUILD" | "VOLUME" | "HEALTHCHECK" => {
                    Err(bad(format!("{upper} requires at least one argument")))
                }
                "STOPSIGNAL" | "USER" | "WORKDIR" => {
                    Err(bad(format!("{upper} requires exactly one argument")))
                }
                _ => Err(unknown(name)),
            };
        }
        Ok(Some(match upper.as_str() {
            "CMD" => Self::Cmd(Command::parse(rest)),
            "ENTRYPOINT" => Self::Entrypoint(Command::parse(rest)),
            "ENV" => Self::Env(words::pairs("ENV", rest)?),
            "LABEL" => Self::Label(words::pairs("LABEL", rest)?),
            "EXPOSE" => Self::Expose(split_words(rest)),
            "HEALTHCHECK" => Self::HealthCheck(health::parse(rest)?),
            "ONBUILD" => Self::OnBuild(on_build(rest)?),
            "STOPSIGNAL" => Self::StopSignal(rest.to_owned()),
            "USER" => Self::User(rest.to_owned()),
            "VOLUME" => Self::Volume(match Command::parse(rest) {
                Command::Words(words) => words,
                Command::Shell(line) => split_words(&line),
            }),
            "WORKDIR" => Self::WorkDir(rest.to_owned()),
            _ => return Err(unknown(name)),
        }))
    }

    /// Changes a configuration. Variables are replaced by those of its `Env`.
    ///
    /// # Errors
    /// [`Error::BadInstruction`] when a value makes no sense.
    pub fn apply(&self, config: &mut ContainerConfig) -> Result<()> {
        let env = config.env.clone();
        self.apply_with(config, &|text| expand(text, &env))
    }

    /// As [`Instruction::apply`], with variables that are replaced already.
    ///
    /// # Errors
    /// The same.
    pub fn apply_verbatim(&self, config: &mut ContainerConfig) -> Result<()> {
        self.apply_with(config, &|text| Ok(text.to_owned()))
    }

    fn apply_with(
        &self,
        config: &mut ContainerConfig,
        value: &dyn Fn(&str) -> Result<String>,
    ) -> Result<()> {
        match self {
            Self::Cmd(command) => {
                config.cmd = Some(command.words(&config.shell).into());
                config.args_escaped = false;
            }
            Self::Entrypoint(command) => {
                let words = command.words(&config.shell);
                config.entrypoint = (!words.is_empty()).then(|| words.into());
            }
            Self::Env(pairs) => {
                // All values of one line see the environment as it was before it.
                for (name, text) in pairs {
                    set_env(&mut config.env, &value(name)?, &value(text)?);
                }
            }
            Self::Label(pairs) => {
                for (name, text) in pairs {
                    config.labels.insert(value(name)?, value(text)?);
                }
            }
            Self::Expose(ports) => {
                for port in ports {
                    for port in ports_of(&value(port)?)? {
                        config.exposed_ports.insert(port, Empty {});
                    }
                }
            }
            Self::HealthCheck(health) => config.healthcheck = Some(health.clone()),
            Self::OnBuild(line) => config.on_build.push(line.clone()),
            Self::StopSignal(signal) => config.stop_signal = signal_name(value(signal)?)?,
            Self::User(user) => config.user = value(user)?,
            Self::Volume(paths) => {
                for path in paths {
                    let path = value(path)?;
                    if path.trim().is_empty() {
                        return Err(bad("VOLUME specified can not be an empty string".into()));
                    }
                    config.volumes.insert(path, Empty {});
                }
            }
            Self::WorkDir(path) => {
                config.working_dir = work_dir(&config.working_dir, &value(path)?)
            }
        }
        Ok(())
    }
}

/// Applies `--change` lines in turn. As in a build, an `ENTRYPOINT` takes the inherited command
/// away unless a `CMD` was among the lines before.
///
/// # Errors
/// [`Error::BadInstruction`].
pub fn apply_all(config: &mut ContainerConfig, lines: &[String]) -> Result<()> {
    let mut has_cmd = false;
    for line in lines.iter().flat_map(|line| line.lines()) {
        let Some(instruction) = Instruction::parse(line)? else { continue };
        instruction.apply(config)?;
        match instruction {
            Instruction::Cmd(_) => has_cmd = true,
            Instruction::Entrypoint(_) if !has_cmd => config.cmd = None,
            _ => {}
        }
    }
    Ok(())
}

fn bad(message: String) -> Error {
    Error::BadInstruction(message)
}

fn unknown(name: &str) -> Error {
    bad(format!("{name} is not a valid change command"))
}

fn on_build(line: &str) -> Result<String> {
    let trigger = line.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    match trigger.as_str() {
        "ONBUILD" => Err(bad("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed".into())),
        "MAINTAINER" | "FROM" => Err(bad(format!("{trigger} isn't allowed as an ONBUILD trigger"))),
        _ => Ok(line.to_owned()),
    }
}

/// Sets a variable, where it stood or at the end.
fn set_env(env: &mut Vec<String>, name: &str, value: &str) {
    let text = format!("{name}={value}");
    let is_it = |found: &&mut String| found.split('=').next() == Some(name);
    match env.iter_mut().find(is_it) {
        Some(found) => *found = text,
        None => env.push(text),
    }
}

/// `80`, `80/udp`, `8000-8010/tcp` as single ports with their protocol.
fn ports_of(text: &str) -> Result<Vec<String>> {
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(bad(format!("invalid proto: {protocol}")));
    }
    let invalid = || bad(format!("invalid containerPort: {range}"));
    let number = |text: &str| text.parse::<u16>().map_err(|_| invalid());
    let (first, last) = match range.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(range)?, number(range)?),
    };
    if first > last {
        return Err(invalid());
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

fn signal_name(text: String) -> Result<String> {
    const NAMES: [&str; 31] = [
        "ABRT", "ALRM", "BUS", "CHLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "KILL", "PIPE",
        "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP",
        "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU",
    ];
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let known = NAMES.contains(&name)
        || matches!(name, "XFSZ" | "IOT" | "CLD")
        || name.starts_with("RTMIN")
        || name.starts_with("RTMAX")
        || text.parse::<u8>().is_ok_and(|number| (1..=64).contains(&number));
    if known { Ok(text) } else { Err(bad(format!("invalid signal: {text}"))) }
}

/// A relative directory is meant from the one that is set.
pub fn work_dir(current: &str, path: &str) -> String {
    let joined = if path.starts_with('/') { path.to_owned() } else { format!("/{current}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Fills what a container's configuration leaves open with its image's: Docker's rules for
/// `create` and `commit`.
pub fn merge(config: &mut ContainerConfig, image: &ContainerConfig) {
    if config.user.is_empty() {
        config.user.clone_from(&image.user);
    }
    for (port, empty) in &image.exposed_ports {
        config.exposed_ports.entry(port.clone()).or_insert(*empty);
    }
    let names: BTreeMap<&str, ()> =
        config.env.iter().map(|found| (found.split('=').next().unwrap_or_default(), ())).collect();
    let inherited: Vec<String> = image
        .env
        .iter()
        .filter(|found| !names.contains_key(found.split('=').next().unwrap_or_default()))
        .cloned()
        .collect();
    config.env.extend(inherited);
    for (key, value) in &image.labels {
        config.labels.entry(key.clone()).or_insert_with(|| value.clone());
    }
    if config.entrypoint.as_ref().is_none_or(|words| words.is_empty()) {
        if config.cmd.as_ref().is_none_or(|words| words.is_empty()) {
            config.cmd.clone_from(&image.cmd);
            config.args_escaped = image.args_escaped;
        }
        if config.entrypoint.is_none() {
            config.entrypoint.clone_from(&image.entrypoint);
        }
    }
    health::merge(&mut config.healthcheck, image.healthcheck.as_ref());
    if config.working_dir.is_empty() {
        config.working_dir.clone_from(&image.working_dir);
    }
    for (path, empty) in &image.volumes {
        config.volumes.entry(path.clone()).or_insert(*empty);
    }
    if config.stop_signal.is_empty() {
        config.stop_signal.clone_from(&image.stop_signal);
    }
    if config.stop_timeout.is_none() {
        config.stop_timeout = image.stop_timeout;
    }
    if config.shell.is_empty() {
        config.shell.clone_from(&image.shell);
    }
}

#[cfg(test)]
mod tests;
