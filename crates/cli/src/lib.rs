//! The command line: Docker's grammar, and how answers look.
//!
//! [`main`] takes the arguments behind the program's name and does everything else. It reaches
//! a daemon through `docker_api::client` alone: nothing here knows how a container is run, and
//! any Docker daemon will do.

mod build;
mod compare;
mod config;
mod container;
mod context;
mod failure;
mod globals;
mod image;
mod manifest;
mod network;
mod options;
mod pipe;
mod prune;
mod registry;
mod secret;
mod session;
mod show;
mod system;
mod template;
mod terminal;
mod top;
mod unpack;
mod verbs;
mod volume;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use docker_api::client::{Endpoint, Target};
use docker_api::machine::TemplateBuilt;
use docker_api::system::Info;
use failure::Failure;
use session::Session;
use verbs::{GROUPS, Verb};

/// Runs the command line with the arguments behind the program's name.
pub fn main(args: &[String]) -> ExitCode {
    if let Some((word, rest)) = args.split_first()
        && word == compare::work::WORD
    {
        return compare::work::main(rest);
    }
    ExitCode::from(match run(args) {
        Ok(status) => status,
        Err(error) => {
            let text = failure::describe(&error);
            if !text.is_empty() {
                let _ = writeln!(std::io::stderr().lock(), "{text}");
            }
            failure::status(&error)
        }
    })
}

/// The words behind a command, if it is this one: global options may stand before it.
pub fn behind<'a>(args: &'a [String], command: &str) -> Option<&'a [String]> {
    let (globals, rest) = globals::split(args).ok()?;
    let (first, rest) = rest.split_first()?;
    (first == command && !globals.help && !globals.version).then_some(rest)
}

/// The data root of the daemon that these arguments lead to. `None` when nobody named a daemon and
/// none of ours answers.
///
/// # Errors
/// A sentence: the daemon may be on another host, or one was named and does not answer.
pub fn data_root(args: &[String]) -> Result<Option<PathBuf>, String> {
    let (globals, _) = globals::split(args)?;
    let named = globals.host.is_some() || globals.context.is_some();
    let session = Session::new(globals);
    let failed = |error: anyhow::Error| failure::describe(&error);
    let endpoint = &session.destination().map_err(failed)?.endpoint;
    if !matches!(endpoint, Endpoint::Unix(_)) {
        return Err(format!(
            "the daemon at {endpoint} may be on another host, and this is about files of this one: \
             name its data root with --data-root"
        ));
    }
    let asked = block_on(async { Ok(session.client()?.get::<Info>(&Target::new("/info")).await?) });
    match asked {
        // Another engine's directory is none of ours.
        Ok(info) => Ok(info.runtimes.contains_key("vm").then(|| info.docker_root_dir.into())),
        Err(error) if named => Err(failed(error)),
        Err(_) => Ok(None),
    }
}

/// Has the daemon that these arguments lead to make the template for containers of this architecture
/// (by default the host's) and size, as `-m` and `--cpus` have it. Returns its name.
///
/// # Errors
/// A sentence: what is no size, what the daemon says.
pub fn build_template(
    args: &[String],
    architecture: Option<&str>,
    memory: Option<&str>,
    cpus: Option<&str>,
) -> Result<String, String> {
    let (globals, _) = globals::split(args)?;
    let memory = memory.map_or(Ok(0), options::size::bytes)?;
    let cpus = cpus.map_or(Ok(0), options::size::cpus)?;
    let target = Target::new("/isopod/machines/templates/build")
        .with("memory", memory.to_string())
        .with("nanocpus", cpus.to_string())
        .with("architecture", architecture.unwrap_or_default());
    let session = Session::new(globals);
    let asked = block_on(async { Ok(session.client()?.post_for::<TemplateBuilt>(&target).await?) });
    asked.map(|built| built.name).map_err(|error| failure::describe(&error))
}

fn run(args: &[String]) -> anyhow::Result<u8> {
    let (globals, rest) = globals::split(args).map_err(|reason| {
        Failure::with(125, format!("{reason}\n\nUsage:  isopod [OPTIONS] COMMAND\n\nRun 'isopod --help' for more information"))
    })?;
    let session = Session::new(globals);
    if session.globals.version {
        session.line(concat!("Isopod version ", env!("CARGO_PKG_VERSION")));
        return Ok(0);
    }
    let Some((name, rest)) = rest.split_first() else {
        session.text(&top::help());
        return Ok(0);
    };
    if name == "__complete" {
        return Ok(top::complete::complete(rest));
    }
    if session.globals.help || name == "help" {
        return help(&session, name, rest);
    }
    let found = find(name, rest)?;
    match found {
        Found::Verb(verb, path, args) => {
            let result = verb.execute(&session, &path, args);
            // These three end with the container's status, so their own failures are set apart.
            let apart = matches!(verb.name, "run" | "create" | "exec");
            match result {
                Err(error) if apart && error.downcast_ref::<Failure>().is_none() => {
                    Err(Failure::with(
                        if verb.name == "exec" || verb.name == "create" { 1 } else { 125 },
                        decorate(verb, &path, &failure::describe(&error)),
                    ))
                }
                other => other,
            }
        }
        Found::Group(group) => {
            session.text(&top::group_help(group));
            Ok(0)
        }
    }
}

/// `run` and `create` say whose error it is and where the help is, as Docker's do.
fn decorate(verb: &Verb, path: &str, text: &str) -> String {
    if verb.name == "exec" {
        return text.to_owned();
    }
    format!("isopod: {text}\n\nRun '{path} --help' for more information")
}

/// Docker's commands that are not here, so that nobody takes them for a slip of the hand.
const ABSENT: &[&str] =
    &["checkpoint", "compose", "node", "plugin", "service", "stack", "swarm", "trust"];

enum Found<'a> {
    Verb(&'static Verb, String, &'a [String]),
    Group(&'static verbs::Group),
}

fn find<'a>(name: &str, rest: &'a [String]) -> anyhow::Result<Found<'a>> {
    if let Some((_, verb)) = verbs::top().find(|(short, _)| *short == name) {
        return Ok(Found::Verb(verb, format!("isopod {name}"), rest));
    }
    if ABSENT.contains(&name) {
        return Err(Failure::with(
            1,
            format!(
                "isopod: '{name}' is not available in this version\n\nRun 'isopod --help' to see what is"
            ),
        ));
    }
    // Docker's builder plugin has the same commands.
    let noun = if name == "buildx" { "builder" } else { name };
    let Some(group) = GROUPS.iter().find(|group| group.name == noun) else {
        return Err(Failure::with(
            1,
            format!(
                "isopod: unknown command: isopod {name}\n\nRun 'isopod --help' for more information"
            ),
        ));
    };
    match rest.split_first() {
        None => Ok(Found::Group(group)),
        Some((verb, _)) if verb == "--help" || verb == "-h" => Ok(Found::Group(group)),
        Some((verb, rest)) => match group.find(verb) {
            Some(found) => Ok(Found::Verb(found, format!("isopod {name} {verb}"), rest)),
            None => Err(Failure::with(
                1,
                format!(
                    "isopod: unknown command: isopod {name} {verb}\n\nUsage:  isopod {name}\n\nRun 'isopod {name} --help' for more information"
                ),
            )),
        },
    }
}

/// `isopod help run` and `isopod --help run`.
fn help(session: &Session, name: &str, rest: &[String]) -> anyhow::Result<u8> {
    let words: Vec<&String> = match name {
        "help" => rest.iter().collect(),
        _ => Vec::new(),
    };
    let Some((first, more)) = (match name {
        "help" => words.split_first().map(|(first, more)| (first.as_str(), more.to_vec())),
        _ => Some((name, rest.iter().collect())),
    }) else {
        session.text(&top::help());
        return Ok(0);
    };
    let more: Vec<String> = more.into_iter().take(1).cloned().collect();
    match find(first, &more)? {
        Found::Verb(verb, path, _) => verb.execute(session, &path, &["--help".to_owned()]),
        Found::Group(group) => {
            session.text(&top::group_help(group));
            Ok(0)
        }
    }
}

/// Runs a command on a runtime of its own, on this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?
        .block_on(future)
}
