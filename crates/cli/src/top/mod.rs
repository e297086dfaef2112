//! Commands that belong to no noun, and the help.

pub(crate) mod complete;
mod completion;
mod inspect;
mod version;

use std::fmt::Write as _;

use crate::globals::OPTIONS;
use crate::verbs::{GROUPS, Group, MANY, Verb, top, verb};

/// The commands.
pub(crate) static VERBS: &[Verb] = &[
    verb!("completion", [], 1..=1, "SHELL", "Print a completion script for bash, elvish, fish, powershell or zsh",
        completion::Args => completion::completion),
    verb!("inspect", [], 1..=MANY, "[OPTIONS] NAME|ID [NAME|ID...]", "Show all that is known of anything",
        inspect::Args => inspect::inspect),
    verb!("version", [], 0..=0, "[OPTIONS]", "Show which versions are at work", version::Args => version::version),
];

/// What is shown without a command.
pub(crate) fn help() -> String {
    let mut text = String::from(
        "Usage:  isopod [OPTIONS] COMMAND\n\nContainers behind the wall you choose\n\nCommands:\n",
    );
    let mut entry = |name: &str, about: &str| {
        let _ = writeln!(text, "  {name:<12}{about}");
    };
    for (name, verb) in top() {
        entry(name, verb.about);
    }
    entry("daemon", "Run the engine (as root)");
    entry("oci", "Be an OCI runtime, for other engines");
    entry("registry", "Serve images to others, and collect what they no longer need");
    text.push_str("\nCommands by noun:\n");
    for group in GROUPS {
        let _ = writeln!(text, "  {:<12}{}", group.name, group.about);
    }
    text.push_str("\nOptions:\n");
    for (long, short, value, about) in OPTIONS {
        let short = short.map_or("   ".to_owned(), |short| format!("-{short},"));
        let value = value.map_or(String::new(), |value| format!(" {value}"));
        let _ = writeln!(text, "  {short} {:<22}{about}", format!("--{long}{value}"));
    }
    text.push_str("\nRun 'isopod COMMAND --help' to learn more about a command.\n");
    text
}

/// Commands that another part of the program answers: the noun, the name, what it does.
pub(crate) const ELSEWHERE: [(&str, &str, &str); 2] = [
    ("vm", "kernel", "Look after the kernels of containers' machines (as root)"),
    ("vm", "template", "Look after the machines that those are cloned from (as root)"),
];

/// What is shown for a noun without a command.
pub(crate) fn group_help(group: &Group) -> String {
    let mut text =
        format!("Usage:  isopod {} COMMAND\n\n{}\n\nCommands:\n", group.name, group.about);
    for verb in group.verbs {
        let _ = writeln!(text, "  {:<12}{}", verb.name, verb.about);
    }
    for (_, name, about) in ELSEWHERE.iter().filter(|(noun, ..)| *noun == group.name) {
        let _ = writeln!(text, "  {name:<12}{about}");
    }
    let _ = writeln!(
        text,
        "\nRun 'isopod {} COMMAND --help' to learn more about a command.",
        group.name
    );
    text
}
