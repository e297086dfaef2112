//! `RUN`.

use super::Command;
use super::heredoc::{Heredoc, heredoc_of};
use super::mount::{self, Mount, MountKind};
use super::words::{FlagTexts, Problem, json_or_shell, problem};

/// `RUN` as written.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// What to execute. Variables in it are the shell's to replace.
    pub command: Command,
    /// Its here-documents, in order.
    pub heredocs: Vec<Heredoc>,
    /// `--mount`, in order.
    pub mounts: Vec<MountFlag>,
    /// `--network`.
    pub network: Network,
    /// `--security`.
    pub security: Security,
}

/// A `--mount`, whose values may still hold variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountFlag {
    /// What was written.
    pub text: String,
    /// Which kind it is.
    pub kind: MountKind,
    /// `from=`: a stage's name or number, or an image.
    pub from: Option<String>,
}

/// `--network`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// The build's.
    #[default]
    Default,
    /// Only loopback.
    None,
    /// The host's.
    Host,
}

/// `--security`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Security {
    /// As containers are.
    #[default]
    Sandbox,
    /// Everything is allowed; the build's client must have said so.
    Insecure,
}

/// What a `RUN` executes once its here-documents are put in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Script {
    /// These words.
    Words(Vec<String>),
    /// A text for the shell (`SHELL`'s words come before it).
    Shell(String),
    /// The one here-document begins with `#!`: it stands read-only and executable (mode 0755) at
    /// `/dev/pipes/<name>`, which the shell runs.
    File {
        /// The file's name.
        name: String,
        /// Its content.
        content: String,
    },
}

impl Run {
    /// What is executed.
    pub fn script(&self) -> Script {
        let line = match &self.command {
            Command::Words(words) => return Script::Words(words.clone()),
            Command::Shell(line) => line,
        };
        match (self.heredocs.as_slice(), heredoc_of(line.trim())) {
            ([], _) => Script::Shell(line.clone()),
            ([only], Some(_)) => {
                let content = only.content_without_tabs();
                if content.starts_with("#!") && !only.name.contains('/') {
                    Script::File { name: only.name.clone(), content }
                } else {
                    Script::Shell(content)
                }
            }
            (several, _) => {
                let mut text = line.clone();
                for heredoc in several {
                    text.push('\n');
                    text.push_str(&heredoc.content);
                    text.push_str(&heredoc.name);
                }
                Script::Shell(text)
            }
        }
    }
}

/// Reads what follows `RUN`.
pub(super) fn parse(rest: &str, heredocs: Vec<Heredoc>) -> Result<Run, Problem> {
    let (texts, at) = FlagTexts::take(rest);
    let flags = texts.flags();
    let mut run = Run {
        command: Command::Words(Vec::new()),
        heredocs,
        mounts: Vec::new(),
        network: Network::Default,
        security: Security::Sandbox,
    };
    for flag in &flags.0 {
        match flag.name {
            "mount" => run.mounts.push(mount_flag(flag.value()?, flag.at)?),
            "network" => {
                flags.only_once(flag)?;
                run.network = match flag.value()?.to_ascii_lowercase().as_str() {
                    "default" | "" => Network::Default,
                    "none" => Network::None,
                    "host" => Network::Host,
                    other => {
                        return Err(problem(
                            flag.at,
                            format!("invalid network mode: {other:?} (default, none or host)"),
                        ));
                    }
                };
            }
            "security" => {
                flags.only_once(flag)?;
                run.security = match flag.value()?.to_ascii_lowercase().as_str() {
                    "sandbox" | "" => Security::Sandbox,
                    "insecure" => Security::Insecure,
                    other => {
                        return Err(problem(
                            flag.at,
                            format!("security {other:?} is not valid (sandbox or insecure)"),
                        ));
                    }
                };
            }
            _ => return Err(flag.unknown(&["mount", "network", "security"])),
        }
    }
    run.command = json_or_shell(&rest[at..], at)?;
    let empty = match &run.command {
        Command::Words(words) => words.is_empty(),
        Command::Shell(line) => line.is_empty(),
    };
    if empty {
        return Err(problem(at, "RUN requires at least one argument"));
    }
    Ok(run)
}

fn mount_flag(text: &str, at: usize) -> Result<MountFlag, Problem> {
    let bad = |error: mount::MountError| problem(at, error.to_string());
    let (kind, from) = mount::outline(text).map_err(bad)?;
    // Values with variables are checked once these are known.
    if !text.contains('$') {
        Mount::parse(text).map_err(bad)?;
    }
    Ok(MountFlag { text: text.to_owned(), kind, from })
}
