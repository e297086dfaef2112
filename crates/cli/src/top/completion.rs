//! `completion`.

use clap::{Arg, ArgAction, Command};
use clap_complete::Shell;

use crate::globals::OPTIONS;
use crate::session::Session;
use crate::verbs::{GROUPS, top};

/// `completion`'s arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Shell
    #[arg(value_name = "SHELL")]
    shell: Vec<Shell>,
}

/// The whole grammar as one parser; only completion needs it.
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

pub(crate) async fn completion(session: &Session, args: Args) -> anyhow::Result<u8> {
    let mut script = Vec::new();
    for shell in args.shell {
        clap_complete::generate(shell, &mut tree(), "isopod", &mut script);
    }
    session.text(&String::from_utf8_lossy(&script));
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parser_is_sound_and_every_shell_gets_a_script() {
        tree().debug_assert();
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut tree(), "isopod", &mut script);
            assert!(String::from_utf8_lossy(&script).contains("memory-swap"), "{shell}");
        }
    }
}
