//! `completion`.

use clap::{Arg, ArgAction, Command};
use clap_complete::Shell;

use crate::failure::Failure;
use crate::globals::OPTIONS;
use crate::session::Session;
use crate::verbs::{GROUPS, top};

/// `completion`'s arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Shell
    #[arg(value_name = "SHELL")]
    shell: Vec<String>,
}

/// The shells there are scripts for.
pub(super) const SHELLS: &[&str] = &["bash", "elvish", "fish", "powershell", "zsh"];

/// The whole grammar as one parser; only elvish and powershell need it.
fn tree() -> Command {
    let mut root = Command::new("isopod").about("Containers behind the wall you choose");
    for (long, short, value, about) in OPTIONS {
        let arg = Arg::new(*long).long(*long).help(*about);
        let arg = short.map_or(arg.clone(), |short| arg.short(short));
        root = root.arg(match value {
            Some(value) => arg.value_name(*value),
            None => arg.action(ArgAction::SetTrue),
        });
    }
    for (name, verb) in top() {
        root = root.subcommand(verb.command(name, &format!("isopod {name}")));
    }
    for group in GROUPS {
        let mut command = Command::new(group.name).about(group.about);
        for verb in group.verbs {
            let path = format!("isopod {} {}", group.name, verb.name);
            command = command.subcommand(verb.command(verb.name, &path));
        }
        for (_, name, about) in super::ELSEWHERE.iter().filter(|(noun, ..)| *noun == group.name) {
            command = command.subcommand(Command::new(*name).about(*about));
        }
        root = root.subcommand(command);
    }
    root.subcommand(Command::new("daemon").about("Run the engine"))
        .subcommand(Command::new("oci").about("Be an OCI runtime"))
        .subcommand(
            Command::new("registry")
                .about("Serve images to others")
                .subcommand(Command::new("serve").about("Serve a registry"))
                .subcommand(Command::new("garbage-collect").about("Remove what no tag needs")),
        )
}

/// The names and options of the grammar; a daemon is not asked.
fn fixed(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut tree(), "isopod", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// The script of a shell.
fn script(shell: &str) -> Option<String> {
    Some(match shell {
        "bash" => include_str!("completion.bash").to_owned(),
        "fish" => include_str!("completion.fish").to_owned(),
        "zsh" => include_str!("completion.zsh").to_owned(),
        "elvish" => fixed(Shell::Elvish),
        "powershell" => fixed(Shell::PowerShell),
        _ => return None,
    })
}

pub(crate) async fn completion(session: &Session, args: Args) -> anyhow::Result<u8> {
    let shell = args.shell.first().map_or("", String::as_str);
    let Some(script) = script(shell) else {
        let known = SHELLS.join(", ");
        return Err(Failure::with(
            1,
            format!("invalid argument {shell:?} for SHELL: there are scripts for {known}"),
        ));
    };
    session.text(&script);
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parser_is_sound_and_every_shell_gets_a_script() {
        tree().debug_assert();
        for shell in SHELLS {
            let script = script(shell).expect("a script");
            let fixed = matches!(*shell, "elvish" | "powershell");
            assert!(script.contains(if fixed { "memory-swap" } else { "__complete" }), "{shell}");
        }
        assert!(script("foo").is_none());
    }
}
