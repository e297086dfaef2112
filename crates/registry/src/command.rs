//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

/// A registry server: OCI distribution over a directory.
#[derive(Debug, Parser)]
#[command(name = "isopod registry", version, subcommand_required = true)]
struct Grammar {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Serve a directory to docker, podman, skopeo and others
    Serve(Box<Serve>),
    /// Remove content that no manifest refers to; safe while registries serve the directory
    GarbageCollect(Collect),
    /// Print a line for a password file; the password is the first line of standard input
    Htpasswd {
        /// The user's name
        user: String,
    },
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    Error,
    Warn,
    /// A line for each request
    Info,
    Debug,
}

/// `serve`
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Listen here; `:5000` is every interface. May be given several times
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:5000")]
    pub(crate) addr: Vec<String>,
    /// Keep everything in this directory
    #[arg(long, value_name = "DIR", default_value = "/var/lib/isopod-registry")]
    pub(crate) root: PathBuf,
    /// Speak TLS with this certificate (PEM, with those between it and its authority)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Let in only clients with a certificate of this authority (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_client_ca: Option<PathBuf>,
    /// Let in only the users of this file (user:bcrypt lines); read again when it changes
    #[arg(long, value_name = "FILE", conflicts_with = "token_realm")]
    pub(crate) htpasswd: Option<PathBuf>,
    /// Let in only bearers of tokens, which are had at this URL
    #[arg(
        long,
        value_name = "URL",
        requires = "token_service",
        requires = "token_issuer",
        requires = "token_cert"
    )]
    pub(crate) token_realm: Option<String>,
    /// What this registry is called in tokens (their audience)
    #[arg(long, value_name = "NAME", requires = "token_realm")]
    pub(crate) token_service: Option<String>,
    /// Who issues tokens
    #[arg(long, value_name = "NAME", requires = "token_realm")]
    pub(crate) token_issuer: Option<String>,
    /// Certificates or public keys of the issuer (PEM)
    #[arg(long, value_name = "FILE", requires = "token_realm")]
    pub(crate) token_cert: Option<PathBuf>,
    /// Refuse every change
    #[arg(long)]
    pub(crate) read_only: bool,
    /// Let clients delete manifests, tags and blobs (the default)
    #[arg(long, overrides_with = "no_delete")]
    pub(crate) delete: bool,
    /// Refuse to delete
    #[arg(long)]
    pub(crate) no_delete: bool,
    /// Be a cache of the registry at this URL: fetch what is not here, take no pushes
    #[arg(long, value_name = "URL", conflicts_with = "read_only")]
    pub(crate) proxy: Option<String>,
    /// The user's name at the registry behind the cache
    #[arg(long, value_name = "NAME", requires = "proxy", requires = "proxy_password_file")]
    pub(crate) proxy_username: Option<String>,
    /// A file with the password for the registry behind the cache
    #[arg(long, value_name = "FILE", requires = "proxy_username")]
    pub(crate) proxy_password_file: Option<PathBuf>,
    /// Serve Prometheus metrics at this address alone; without it they are at /metrics of the
    /// registry, unless it asks for tokens
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) metrics_addr: Option<String>,
    /// Log so much to standard error
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(crate) log_level: LogLevel,
}

/// `garbage-collect`
#[derive(Debug, Args)]
pub(crate) struct Collect {
    /// The directory that registries serve
    #[arg(long, value_name = "DIR", default_value = "/var/lib/isopod-registry")]
    pub(crate) root: PathBuf,
    /// Say what would be removed and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Remove also manifests that no tag, no index and no subject leads to
    #[arg(long)]
    pub(crate) untagged: bool,
    /// Remove also manifests, tagged or not, that nobody has asked for in so long; for caches
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) unused: Option<Duration>,
    /// Leave what is younger: pushes may be under way that need it (90s, 15m, 2h, 7d; 0s only
    /// when nobody pushes)
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration)]
    pub(crate) grace: Duration,
}

/// Digits and one of s, m, h, d.
fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is no time such as 90s, 15m, 2h or 7d");
    let unit = text.chars().next_back().ok_or_else(bad)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(bad()),
    };
    let count: u32 = text[..text.len() - 1].parse().map_err(|_| bad())?;
    Ok(Duration::from_secs(u64::from(count) * seconds))
}

/// The command line's grammar, for documentation and completions.
pub fn command() -> clap::Command {
    Grammar::command()
}

/// Runs `isopod registry`; `args` are the words after it. Gives 0 after an orderly end, 1 when
/// something failed and 2 for a bad command line.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let words = std::iter::once(OsString::from("isopod registry")).chain(args);
    let grammar = match Grammar::try_parse_from(words) {
        Ok(grammar) => grammar,
        Err(error) => {
            // Help goes to standard output, errors to standard error; neither can be helped
            // when that is closed.
            drop(error.print());
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let outcome = match grammar.command {
        Subcommands::Serve(serve) => crate::run::serve(&serve),
        Subcommands::GarbageCollect(collect) => crate::run::collect(&collect),
        Subcommands::Htpasswd { user } => crate::run::htpasswd(&user),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("isopod registry: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn what_belongs_together_is_asked_for_together() {
        let parse = |words: &str| {
            Grammar::try_parse_from(["isopod registry"].into_iter().chain(words.split(' ')))
        };
        assert!(parse("serve").is_ok());
        assert!(parse("serve --tls-cert c").is_err());
        assert!(parse("serve --tls-cert c --tls-key k").is_ok());
        assert!(parse("serve --token-realm u --token-service s").is_err());
        assert!(parse("serve --htpasswd f --token-realm u --token-service s --token-issuer i --token-cert c").is_err());
        assert!(
            parse("serve --token-realm u --token-service s --token-issuer i --token-cert c")
                .is_ok()
        );
        assert!(parse("serve --read-only --proxy https://a").is_err());
        assert!(parse("serve --proxy https://a --proxy-username u").is_err());
        assert!(parse("garbage-collect --grace 2h --dry-run").is_ok());
        assert!(parse("garbage-collect --grace 2w").is_err());
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert!(duration("").is_err() && duration("h").is_err() && duration("1é").is_err());
    }
}
