//! What stands before the command: `isopod -H … -c … COMMAND`.

use std::path::PathBuf;

/// The global options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Globals {
    /// `-H`.
    pub(crate) host: Option<String>,
    /// `-c`.
    pub(crate) context: Option<String>,
    /// `--config`.
    pub(crate) config: Option<PathBuf>,
    /// `--tls`.
    pub(crate) tls: bool,
    /// `--tlsverify`.
    pub(crate) tls_verify: bool,
    /// `--tlscacert`.
    pub(crate) tls_ca: Option<PathBuf>,
    /// `--tlscert`.
    pub(crate) tls_cert: Option<PathBuf>,
    /// `--tlskey`.
    pub(crate) tls_key: Option<PathBuf>,
    /// `-v`.
    pub(crate) version: bool,
    /// `--help`.
    pub(crate) help: bool,
}

/// The global options' names, for help and completion: long, short, value, help.
pub(crate) const OPTIONS: &[(&str, Option<char>, Option<&str>, &str)] = &[
    ("config", None, Some("DIR"), "Directory of the client's configuration (default ~/.docker)"),
    ("context", Some('c'), Some("NAME"), "Context that says where the daemon is"),
    ("debug", Some('D'), None, "Accepted for docker's sake"),
    (
        "host",
        Some('H'),
        Some("ADDRESS"),
        "Daemon's address: unix://PATH, tcp://HOST:PORT or ssh://USER@HOST",
    ),
    ("log-level", Some('l'), Some("LEVEL"), "Accepted for docker's sake"),
    ("tls", None, None, "Use TLS without checking whom one speaks to"),
    ("tlscacert", None, Some("FILE"), "Authority that signed the daemon's certificate"),
    ("tlscert", None, Some("FILE"), "Own certificate"),
    ("tlskey", None, Some("FILE"), "Key of the own certificate"),
    ("tlsverify", None, None, "Use TLS and check the daemon's certificate"),
    ("version", Some('v'), None, "Print the version"),
];

/// Takes the global options off the arguments; the rest begins with the command.
///
/// # Errors
/// A sentence in Docker's words.
pub(crate) fn split(args: &[String]) -> Result<(Globals, &[String]), String> {
    let mut globals = Globals::default();
    let mut at = 0;
    while let Some(arg) = args.get(at) {
        if arg == "--" {
            at += 1;
            break;
        }
        if !arg.starts_with('-') || arg == "-" {
            break;
        }
        at += 1;
        if let Some(long) = arg.strip_prefix("--") {
            let (name, inline) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            };
            if name == "help" {
                globals.help = true;
                continue;
            }
            let Some((_, _, takes, _)) = OPTIONS.iter().find(|option| option.0 == name) else {
                return Err(format!("unknown flag: --{name}"));
            };
            let value = match (takes, inline) {
                (None, Some(value)) => {
                    set_switch(
                        &mut globals,
                        name,
                        truth(&value).ok_or_else(|| {
                            format!("invalid argument {value:?} for \"--{name}\" flag")
                        })?,
                    );
                    continue;
                }
                (None, None) => {
                    set_switch(&mut globals, name, true);
                    continue;
                }
                (Some(_), Some(value)) => value,
                (Some(_), None) => {
                    at += 1;
                    args.get(at - 1)
                        .cloned()
                        .ok_or_else(|| format!("flag needs an argument: --{name}"))?
                }
            };
            set_value(&mut globals, name, value);
            continue;
        }
        let shorts = arg[1..].char_indices();
        for (offset, short) in shorts {
            if short == 'h' {
                globals.help = true;
                continue;
            }
            let Some((name, _, takes, _)) = OPTIONS.iter().find(|o| o.1 == Some(short)) else {
                return Err(format!("unknown shorthand flag: '{short}' in {arg}"));
            };
            if takes.is_none() {
                set_switch(&mut globals, name, true);
                continue;
            }
            let rest = &arg[1 + offset + short.len_utf8()..];
            let value = if rest.is_empty() {
                at += 1;
                args.get(at - 1)
                    .cloned()
                    .ok_or_else(|| format!("flag needs an argument: '{short}' in {arg}"))?
            } else {
                rest.strip_prefix('=').unwrap_or(rest).to_owned()
            };
            set_value(&mut globals, name, value);
            break;
        }
    }
    Ok((globals, &args[at..]))
}

/// Go's `strconv.ParseBool`.
pub(crate) fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn set_switch(globals: &mut Globals, name: &str, on: bool) {
    match name {
        "tls" => globals.tls = on,
        "tlsverify" => globals.tls_verify = on,
        "version" => globals.version = on,
        _ => {}
    }
}

fn set_value(globals: &mut Globals, name: &str, value: String) {
    match name {
        "host" => globals.host = Some(value),
        "context" => globals.context = Some(value),
        "config" => globals.config = Some(value.into()),
        "tlscacert" => globals.tls_ca = Some(value.into()),
        "tlscert" => globals.tls_cert = Some(value.into()),
        "tlskey" => globals.tls_key = Some(value.into()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split_text(line: &str) -> Result<(Globals, Vec<String>), String> {
        let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
        split(&args).map(|(globals, rest)| (globals, rest.to_vec()))
    }

    #[test]
    fn what_stands_before_the_command_is_global() {
        let (globals, rest) = split_text("-H unix:///x -D --context=c run -H y").expect("valid");
        assert_eq!(globals.host.as_deref(), Some("unix:///x"));
        assert_eq!(globals.context.as_deref(), Some("c"));
        assert_eq!(rest, ["run", "-H", "y"]);
        let (globals, _) = split_text("-DHtcp://a ps").expect("valid");
        assert_eq!(globals.host.as_deref(), Some("tcp://a"));
        assert!(split_text("-v").expect("valid").0.version);
        assert!(!split_text("--tls=false ps").expect("valid").0.tls);
    }

    #[test]
    fn unknown_flags_are_named() {
        assert_eq!(split_text("--nope ps"), Err("unknown flag: --nope".into()));
        assert_eq!(split_text("-x ps"), Err("unknown shorthand flag: 'x' in -x".into()));
        assert_eq!(split_text("-H"), Err("flag needs an argument: 'H' in -H".into()));
    }
}
