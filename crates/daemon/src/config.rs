//! Configuration: flags and a file with dockerd's key names become one set of settings.
//!
//! Both sources are read into JSON objects under the keys of the file; a key that both hold is an
//! error, as with dockerd, because nobody could tell which was meant.

mod directive;
mod error;
mod flags;
pub(crate) mod registry;
mod settings;
mod values;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use directive::{WITHOUT_EFFECT, is_known};

pub use error::ConfigError;
pub use flags::{CONFIG_FILE, command};
pub(crate) use settings::{LogLevel, Settings};

/// A configuration that makes sense.
#[derive(Debug)]
pub(crate) struct Config {
    /// The settings.
    pub(crate) settings: Settings,
    /// What was accepted but has no effect, one sentence each.
    pub(crate) warnings: Vec<String>,
    /// Only check the configuration.
    pub(crate) validate: bool,
    flags: Map<String, Value>,
    file: Option<PathBuf>,
}

/// Reads the command line (the program's name first) and the file that it or the default names.
///
/// # Errors
/// The outer ones are clap's, among them the requests for help and version; the inner ones are
/// the configuration's.
pub(crate) fn load(args: Vec<OsString>) -> Result<Result<Config, ConfigError>, clap::Error> {
    Ok(flags::parse(args)?.and_then(|flags| {
        let (settings, warnings) = merge(&flags.set, flags.file.as_deref())?;
        Ok(Config {
            settings,
            warnings,
            validate: flags.validate,
            flags: flags.set,
            file: flags.file,
        })
    }))
}

impl Config {
    /// Reads the file again.
    ///
    /// # Errors
    /// As at the start; the settings are as they were then.
    pub(crate) fn reload(&mut self) -> Result<(), ConfigError> {
        (self.settings, self.warnings) = merge(&self.flags, self.file.as_deref())?;
        Ok(())
    }
}

fn merge(
    flags: &Map<String, Value>,
    file: Option<&Path>,
) -> Result<(Settings, Vec<String>), ConfigError> {
    let path = file.unwrap_or(Path::new(CONFIG_FILE));
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && file.is_none() => String::new(),
        Err(source) => return Err(ConfigError::Read { path: path.to_owned(), source }),
    };
    settle(flags, path, &text)
}

/// Puts the flags and the text of the file together. Pure, so that it can be fuzzed.
pub(crate) fn settle(
    flags: &Map<String, Value>,
    path: &Path,
    text: &str,
) -> Result<(Settings, Vec<String>), ConfigError> {
    let mut all: Map<String, Value> = if text.trim().is_empty() {
        Map::new()
    } else {
        serde_json::from_str(text)
            .map_err(|source| ConfigError::Json { path: path.to_owned(), source })?
    };
    // `null` is Go's way not to say anything.
    all.retain(|_, value| !value.is_null());
    lift_proxies(&mut all);
    if all.keys().any(|key| key == "authorization-plugins") {
        // To ignore this one would let everybody in who should be kept out.
        return Err(ConfigError::Unsupported {
            directive: "authorization-plugins",
            reason: "there are no plugins; restrict who may open the socket instead".to_owned(),
        });
    }
    let unknown: Vec<&str> = all.keys().map(String::as_str).filter(|key| !is_known(key)).collect();
    if !unknown.is_empty() {
        return Err(ConfigError::UnknownKeys { path: path.to_owned(), keys: unknown.join(", ") });
    }
    let twice: Vec<String> = flags
        .iter()
        .filter_map(|(key, flag)| {
            let file = all.get(key)?;
            Some(format!("{key}: (from flag: {}, from file: {})", plain(flag), plain(file)))
        })
        .collect();
    if !twice.is_empty() {
        let directives = twice.join(", ");
        return Err(ConfigError::Conflicts { path: path.to_owned(), directives });
    }
    let mut warnings = Vec::new();
    for (key, reason) in WITHOUT_EFFECT {
        if all.remove(*key).is_some() {
            warnings.push(format!("{key} in {} has no effect: {reason}", path.display()));
        }
    }
    all.extend(flags.clone());
    let mut settings: Settings =
        serde_json::from_value(Value::Object(all)).map_err(ConfigError::Type)?;
    for (name, limit) in &mut settings.default_ulimits {
        if limit.name.is_empty() {
            limit.name.clone_from(name);
        }
    }
    settings.validate()?;
    if settings.live_restore == Some(false) {
        warnings.push("live-restore is always on: containers outlive the daemon".to_owned());
    }
    if !settings.allow_nondistributable_artifacts.is_empty() {
        warnings.push(
            "allow-nondistributable-artifacts has no effect: every layer is pushed".to_owned(),
        );
    }
    Ok((settings, warnings))
}

/// dockerd's file has the proxies in an object of their own, under the names of the flags.
fn lift_proxies(all: &mut Map<String, Value>) {
    if let Some(Value::Object(proxies)) = all.get("proxies").cloned() {
        all.remove("proxies");
        all.extend(proxies);
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => {
            format!("[{}]", list.iter().map(plain).collect::<Vec<_>>().join(" "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
