//! The command line, as the JSON object that a configuration file would hold.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Map, Value, json};

use super::ConfigError;
use super::directive::{DIRECTIVES, Directive, Kind};
use super::values::{parse_pool, parse_ulimit};

/// Where the configuration is looked for unless `--config-file` says otherwise.
pub const CONFIG_FILE: &str = "/etc/isopod/daemon.json";

const ABOUT: &str = "The container engine's daemon: serves the Docker Engine API.

Containers belong to their monitors, not to the daemon: they go on running when it ends, and the \
daemon that is started next finds them as they are.

SIGTERM and SIGINT end the daemon after the requests in flight. SIGHUP reads the configuration \
file again (debug, log-level, labels, shutdown-timeout, client-access and what is said of registries take \
effect at once).";

/// What the command line says.
#[derive(Debug)]
pub(crate) struct Flags {
    /// `--config-file`, if it was given.
    pub(crate) file: Option<PathBuf>,
    /// Only check the configuration.
    pub(crate) validate: bool,
    /// What was set, under the keys of the configuration file.
    pub(crate) set: Map<String, Value>,
}

/// The command line's grammar.
pub fn command() -> Command {
    let mut command = Command::new("isopod daemon")
        .about("The container engine's daemon")
        .long_about(ABOUT)
        .version(env!("CARGO_PKG_VERSION"))
        .disable_version_flag(true)
        .arg(
            Arg::new("version")
                .short('v')
                .long("version")
                .action(ArgAction::Version)
                .help("Print the version"),
        )
        .arg(
            Arg::new("config-file")
                .long("config-file")
                .value_name("PATH")
                .value_parser(clap::value_parser!(PathBuf))
                .help(format!("Read this configuration [default: {CONFIG_FILE}, if it is there]")),
        )
        .arg(
            Arg::new("validate")
                .long("validate")
                .action(ArgAction::SetTrue)
                .help("Check the configuration and end"),
        );
    for directive in DIRECTIVES {
        command = command.arg(argument(directive));
    }
    command
}

fn argument(directive: &Directive) -> Arg {
    let mut arg = Arg::new(directive.key).long(directive.flag).help(directive.help);
    if let Some(letter) = directive.short {
        arg = arg.short(letter);
    }
    match directive.kind {
        Kind::Switch => arg
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_name("BOOL")
            .hide_possible_values(true)
            .value_parser(BoolishValueParser::new()),
        Kind::Number => arg
            .value_name(directive.value)
            .value_parser(clap::value_parser!(i64))
            .allow_negative_numbers(true),
        Kind::Text => arg.value_name(directive.value),
        Kind::List | Kind::Map | Kind::Ulimits | Kind::Pools => {
            arg.value_name(directive.value).action(ArgAction::Append)
        }
    }
}

/// Reads a command line (the program's name first).
///
/// # Errors
/// clap's, among them the requests for help and for the version.
pub(crate) fn parse(args: Vec<OsString>) -> Result<Result<Flags, ConfigError>, clap::Error> {
    let matches = command().try_get_matches_from(args)?;
    Ok(read(&matches))
}

fn read(matches: &ArgMatches) -> Result<Flags, ConfigError> {
    let mut set = Map::new();
    for directive in DIRECTIVES {
        if let Some(value) = given(matches, directive)? {
            set.insert(directive.key.to_owned(), value);
        }
    }
    Ok(Flags {
        file: matches.get_one::<PathBuf>("config-file").cloned(),
        validate: matches.get_flag("validate"),
        set,
    })
}

fn given(matches: &ArgMatches, directive: &Directive) -> Result<Option<Value>, ConfigError> {
    let key = directive.key;
    let words = || matches.get_many::<String>(key).map(|words| words.cloned().collect::<Vec<_>>());
    Ok(match directive.kind {
        Kind::Text => matches.get_one::<String>(key).map(|text| json!(text)),
        Kind::Switch => matches.get_one::<bool>(key).map(|on| json!(on)),
        Kind::Number => matches.get_one::<i64>(key).map(|number| json!(number)),
        Kind::List => words().map(|words| json!(words)),
        Kind::Map => words().map(|words| {
            let pair = |word: &String| match word.split_once('=') {
                Some((name, value)) => (name.to_owned(), json!(value)),
                None => (word.clone(), json!("")),
            };
            Value::Object(words.iter().map(pair).collect())
        }),
        Kind::Ulimits => match words() {
            None => None,
            Some(words) => {
                let mut limits = Map::new();
                for word in words {
                    let limit = parse_ulimit(&word)?;
                    limits.insert(limit.name.clone(), json!(limit));
                }
                Some(Value::Object(limits))
            }
        },
        Kind::Pools => match words() {
            None => None,
            Some(words) => {
                let pools: Result<Vec<_>, _> = words.iter().map(|word| parse_pool(word)).collect();
                Some(json!(pools?))
            }
        },
    })
}
