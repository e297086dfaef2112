//! `__complete`, which the shells' scripts call: what the word at the cursor may become.
//!
//! Its arguments are the words behind the program's name, up to the cursor. It prints a candidate
//! a line, with a tab and what it is behind it; status 1 says that files are meant. It never
//! complains: a daemon that does not answer has no names.

use std::fmt::Write as _;
use std::time::Duration;

use clap::{Arg, Command};
use docker_api::client::{Client, Error, Target};
use docker_api::container::ContainerSummary;
use docker_api::image::ImageSummary;
use docker_api::network::NetworkInspect;
use docker_api::volume::VolumeListResponse;

use super::completion::SHELLS;
use crate::globals::{self, Globals, OPTIONS};
use crate::session::Session;
use crate::show::human;
use crate::verbs::{GROUPS, Verb, awaiting, is_option, option, top};

/// How long a daemon may take, for somebody waits at the keyboard.
const PATIENCE: Duration = Duration::from_secs(2);

/// A word and what it is.
type Candidate = (String, String);

/// What may stand at the cursor.
#[derive(Debug, PartialEq)]
enum Place {
    /// One of these.
    Words(Vec<Candidate>),
    /// The name of something.
    Name(Kind),
    /// A file, or what only the user knows.
    File,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// Containers whose state is of this sort.
    Container(State),
    Image,
    Network,
    Volume,
    Context,
    /// What `inspect` shows.
    Any,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Any,
    Running,
    Paused,
    Stopped,
}

impl State {
    /// Which containers a command is for.
    fn needed(verb: &str) -> Self {
        match verb {
            "attach" | "exec" | "kill" | "pause" | "stats" | "stop" | "top" => Self::Running,
            "start" => Self::Stopped,
            "unpause" => Self::Paused,
            _ => Self::Any,
        }
    }

    fn has(self, state: &str) -> bool {
        let stopped = matches!(state, "created" | "exited" | "dead");
        match self {
            Self::Any => true,
            Self::Running => !stopped,
            Self::Paused => state == "paused",
            Self::Stopped => stopped,
        }
    }
}

/// Prints what the last of the words may become.
pub(crate) fn complete(words: &[String]) -> u8 {
    let Some((current, before)) = words.split_last() else { return 1 };
    let (globals, place) = match globals::split(before) {
        Ok((globals, rest)) => (globals, place(rest, current)),
        Err(_) => (Globals::default(), global_value(before)),
    };
    let session = Session::new(globals);
    let found = match place {
        Place::File => return 1,
        Place::Words(words) => words,
        Place::Name(kind) => names(&session, kind),
    };
    session.text(&fitting(found, before, current));
    0
}

/// The candidates that begin as the word does, and do not stand on the line already.
fn fitting(found: Vec<Candidate>, before: &[String], current: &str) -> String {
    let prefix = match current.split_once('=') {
        Some((option, _)) if option.starts_with("--") => format!("{option}="),
        _ => String::new(),
    };
    let mut text = String::new();
    for (name, about) in found {
        let word = format!("{prefix}{name}");
        if word.starts_with(current) && !before.contains(&word) {
            let _ = writeln!(text, "{word}\t{}", about.replace('\n', " "));
        }
    }
    text
}

fn words(all: &[&str]) -> Place {
    Place::Words(all.iter().map(|word| ((*word).to_owned(), String::new())).collect())
}

fn described<'a>(all: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<Candidate> {
    all.map(|(name, about)| (name.to_owned(), about.to_owned())).collect()
}

/// The value of a global option that the words end with.
fn global_value(before: &[String]) -> Place {
    match before.last().map(String::as_str) {
        Some("-c" | "--context") => Place::Name(Kind::Context),
        Some("-l" | "--log-level") => words(&["debug", "info", "warn", "error", "fatal"]),
        _ => Place::File,
    }
}

/// What may stand behind the global options and some words.
fn place(before: &[String], current: &str) -> Place {
    let Some((name, rest)) = before.split_first() else { return first(current) };
    if let Some((_, verb)) = top().find(|(short, _)| short == name) {
        return within(verb, rest, current);
    }
    let noun = if name == "buildx" { "builder" } else { name };
    match (GROUPS.iter().find(|group| group.name == noun), rest.split_first()) {
        (Some(group), None) => {
            Place::Words(described(group.verbs.iter().map(|verb| (verb.name, verb.about))))
        }
        (Some(group), Some((verb, rest))) => match group.find(verb) {
            Some(verb) => within(verb, rest, current),
            None => words(&[]),
        },
        (None, _) if name == "help" => first(current),
        (None, None) if name == "registry" => words(&["garbage-collect", "serve"]),
        (None, _) => Place::File,
    }
}

/// The first word: a command, or a global option.
fn first(current: &str) -> Place {
    if current.starts_with('-') {
        return Place::Words(
            OPTIONS.iter().map(|option| (format!("--{}", option.0), option.3.to_owned())).collect(),
        );
    }
    let own = [
        ("daemon", "Run the engine"),
        ("oci", "Be an OCI runtime"),
        ("registry", "Serve images to others"),
    ];
    let verbs = top().map(|(name, verb)| (name, verb.about));
    let groups = GROUPS.iter().map(|group| (group.name, group.about));
    Place::Words(described(verbs.chain(groups).chain(own)))
}

/// Behind a command and some words.
fn within(verb: &Verb, before: &[String], current: &str) -> Place {
    let command = verb.command(verb.name, verb.name);
    let (mut arguments, mut options, mut at) = (0, true, 0);
    while let Some(word) = before.get(at) {
        at += 1;
        if options && word == "--" {
            options = false;
        } else if options && is_option(word) {
            if let Some(option) = awaiting(&command, word) {
                if at == before.len() {
                    return value(option);
                }
                at += 1;
            }
        } else {
            arguments += 1;
            options &= verb.interspersed;
        }
    }
    match current.split_once('=') {
        Some((name, _)) if options && name.starts_with("--") => {
            option(&command, &name[2..]).map_or(Place::File, value)
        }
        _ if options && current.starts_with('-') => Place::Words(flags(&command)),
        _ => argument(verb, arguments),
    }
}

fn flags(command: &Command) -> Vec<Candidate> {
    let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
    let named = shown.filter_map(|arg| {
        let about = arg.get_help().map(ToString::to_string).unwrap_or_default();
        Some((format!("--{}", arg.get_long()?), about))
    });
    named.collect()
}

/// What an option takes.
fn value(option: &Arg) -> Place {
    match option.get_long().unwrap_or_default() {
        "isolation" => words(&["process", "vm"]),
        "network" => Place::Name(Kind::Network),
        "pull" => words(&["always", "missing", "never"]),
        "restart" => words(&["always", "no", "on-failure", "unless-stopped"]),
        "volumes-from" => Place::Name(Kind::Container(State::Any)),
        _ => Place::File,
    }
}

/// What a command's argument is, which its usage line says.
fn argument(verb: &Verb, at: usize) -> Place {
    let usage = verb.usage.lines().next().unwrap_or_default();
    let all: Vec<&str> = usage.split(' ').filter(|word| *word != "[OPTIONS]").collect();
    let last = all.last().filter(|word| word.contains("..."));
    let Some(word) = all.get(at).or(last) else { return words(&[]) };
    let name = word.trim_start_matches('[').split(['[', ']', '.']).next().unwrap_or_default();
    match name {
        // What is to be made has no name yet.
        "CONTEXT" | "NETWORK" | "VOLUME" if matches!(verb.name, "create" | "import") => Place::File,
        "CONTAINER" => Place::Name(Kind::Container(State::needed(verb.name))),
        "CONTEXT" => Place::Name(Kind::Context),
        "IMAGE" | "SOURCE_IMAGE" | "TARGET_IMAGE" | "REPOSITORY" => Place::Name(Kind::Image),
        "NAME" if verb.name == "push" => Place::Name(Kind::Image),
        "NAME|ID" => Place::Name(Kind::Any),
        "NETWORK" => Place::Name(Kind::Network),
        "SHELL" => words(SHELLS),
        "VOLUME" => Place::Name(Kind::Volume),
        _ => Place::File,
    }
}

/// The names of what there is.
fn names(session: &Session, kind: Kind) -> Vec<Candidate> {
    if kind == Kind::Context {
        let stored = session.directory.contexts().into_iter();
        let stored = stored.map(|one| (one.name.clone(), one.description().to_owned()));
        return std::iter::once(("default".to_owned(), String::new())).chain(stored).collect();
    }
    let asked = crate::block_on(async {
        let client = session.client()?;
        Ok(tokio::time::timeout(PATIENCE, ask(client, kind)).await??)
    });
    asked.unwrap_or_default()
}

async fn ask(client: &Client, kind: Kind) -> Result<Vec<Candidate>, Error> {
    let kinds = match kind {
        Kind::Any => vec![Kind::Container(State::Any), Kind::Image, Kind::Network, Kind::Volume],
        one => vec![one],
    };
    let mut found = Vec::new();
    for kind in kinds {
        match kind {
            Kind::Container(state) => found.extend(containers(client, state).await?),
            Kind::Image => found.extend(images(client).await?),
            Kind::Network => {
                let all: Vec<NetworkInspect> = client.get(&Target::new("/networks")).await?;
                found.extend(all.into_iter().map(|one| (one.name, one.driver)));
            }
            Kind::Volume => {
                let all: VolumeListResponse = client.get(&Target::new("/volumes")).await?;
                found.extend(all.volumes.into_iter().map(|one| (one.name, one.driver)));
            }
            Kind::Context | Kind::Any => {}
        }
    }
    Ok(found)
}

async fn containers(client: &Client, state: State) -> Result<Vec<Candidate>, Error> {
    let target = Target::new("/containers/json").with("all", "1");
    let all: Vec<ContainerSummary> = client.get(&target).await?;
    let fitting = all.into_iter().filter(|one| state.has(&one.state));
    let named = fitting.flat_map(|one| {
        let about = format!("{}, {}", one.image, one.status);
        let names = one.names.into_iter().map(|name| name.trim_start_matches('/').to_owned());
        names.map(move |name| (name, about.clone())).collect::<Vec<_>>()
    });
    // With another slash it is a link's.
    Ok(named.filter(|(name, _)| !name.contains('/')).collect())
}

async fn images(client: &Client) -> Result<Vec<Candidate>, Error> {
    let all: Vec<ImageSummary> = client.get(&Target::new("/images/json")).await?;
    let named = all.into_iter().flat_map(|one| {
        let about = human::size(one.size, 3);
        one.repo_tags.into_iter().map(move |tag| (tag, about.clone()))
    });
    Ok(named.filter(|(tag, _)| tag != "<none>:<none>").collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: &str) -> Place {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let (current, before) = words.split_last().expect("a word");
        place(before, current)
    }

    fn has(place: &Place, word: &str) -> bool {
        matches!(place, Place::Words(all) if all.iter().any(|(name, _)| name == word))
    }

    #[test]
    fn arguments_are_what_the_usage_line_calls_them() {
        let container = |state| Place::Name(Kind::Container(state));
        for (line, place) in [
            ("rm ", container(State::Any)),
            ("rm -f a b", container(State::Any)),
            ("start ", container(State::Stopped)),
            ("container unpause ", container(State::Paused)),
            ("exec -it ", container(State::Running)),
            ("exec a ", Place::File),
            ("rename a ", Place::File),
            ("logs a ", words(&[])),
            ("run -d --name x ", Place::Name(Kind::Image)),
            ("run busybox ", Place::File),
            ("run busybox -", Place::File),
            ("create ", Place::Name(Kind::Image)),
            ("rmi ", Place::Name(Kind::Image)),
            ("images ", Place::Name(Kind::Image)),
            ("push ", Place::Name(Kind::Image)),
            ("pull ", Place::File),
            ("inspect a ", Place::Name(Kind::Any)),
            ("volume rm a ", Place::Name(Kind::Volume)),
            ("volume create ", Place::File),
            ("network connect ", Place::Name(Kind::Network)),
            ("network connect a ", container(State::Any)),
            ("network create ", Place::File),
            ("context use ", Place::Name(Kind::Context)),
            ("cp ", Place::File),
            ("build ", Place::File),
        ] {
            assert_eq!(at(line), place, "{line}");
        }
    }

    #[test]
    fn options_have_values() {
        for (line, place) in [
            ("run --network ", Place::Name(Kind::Network)),
            ("run -d --network=", Place::Name(Kind::Network)),
            ("run --restart ", words(&["always", "no", "on-failure", "unless-stopped"])),
            ("run --rm -e ", Place::File),
            ("create --pull a", words(&["always", "missing", "never"])),
            ("run --isolation ", words(&["process", "vm"])),
        ] {
            assert_eq!(at(line), place, "{line}");
        }
        assert!(has(&at("run --mem"), "--memory"));
        assert!(has(&at("rm a -"), "--force"));
        assert!(!has(&at("rm -- -"), "--force"));
    }

    #[test]
    fn commands_are_found_at_both_places() {
        let first = at("");
        assert!(has(&first, "run") && has(&first, "network") && has(&first, "daemon"));
        assert!(has(&at("--"), "--context"));
        assert!(has(&at("volume "), "prune"));
        assert!(has(&at("buildx "), "build"));
        assert_eq!(at("volume nope "), words(&[]));
    }

    #[test]
    fn what_is_shown_fits_and_is_new() {
        let found = || described([("web", "a\nb"), ("db", ""), ("web2", "")].into_iter());
        assert_eq!(fitting(found(), &["rm".to_owned()], "w"), "web\ta b\nweb2\t\n");
        assert_eq!(fitting(found(), &["rm".to_owned(), "web".to_owned()], ""), "db\t\nweb2\t\n");
        assert_eq!(fitting(found(), &[], "--network=d"), "--network=db\t\n");
    }
}
