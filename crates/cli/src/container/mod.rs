//! Commands about containers, one file a command.

mod attach;
mod commit;
mod cp;
mod create;
mod diff;
mod exec;
mod export;
pub(crate) mod flags;
mod inspect;
mod logs;
mod ls;
mod machine;
mod port;
mod prune;
mod rename;
mod rm;
mod run;
mod signal;
mod start;
mod stats;
mod top;
mod update;
mod wait;

pub(crate) use inspect::fetch as fetch_inspect;
pub(crate) use ls::{LIST_FIELDS, Row};
pub(crate) use machine::VERBS as MACHINE_VERBS;
pub(crate) use prune::prune as prune_all;

use crate::verbs::{MANY, Verb, verb};

/// The commands.
pub(crate) static VERBS: &[Verb] = &[
    verb!("attach", [], 1..=1, "[OPTIONS] CONTAINER", "Attach to a running container",
        attach::Args => attach::attach),
    verb!("commit", [], 1..=2, "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]", "Make an image of a container's changes",
        commit::Args => commit::commit),
    verb!("cp", [], 2..=2, "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n       isopod cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
        "Copy files between a container and this machine", cp::Args => cp::cp),
    verb!("create", [], 1..=MANY, "[OPTIONS] IMAGE [COMMAND] [ARG...]", "Create a container without starting it",
        create::Args => create::create, strict),
    verb!("diff", [], 1..=1, "CONTAINER", "Show what a container changed in its file system",
        diff::Args => diff::diff),
    verb!("exec", [], 2..=MANY, "[OPTIONS] CONTAINER COMMAND [ARG...]", "Run a command in a running container",
        exec::Args => exec::exec, strict),
    verb!("export", [], 1..=1, "[OPTIONS] CONTAINER", "Write a container's file system as a tar archive",
        export::Args => export::export),
    verb!("inspect", [], 1..=MANY, "[OPTIONS] CONTAINER [CONTAINER...]", "Show all that is known of containers",
        inspect::Args => inspect::inspect),
    verb!("kill", [], 1..=MANY, "[OPTIONS] CONTAINER [CONTAINER...]", "Kill running containers, or send them a signal",
        signal::KillArgs => signal::kill),
    verb!("logs", [], 1..=1, "[OPTIONS] CONTAINER", "Show what a container wrote",
        logs::Args => logs::logs),
    verb!("ls", ["list", "ps"], 0..=0, "[OPTIONS]", "List containers", ls::Args => ls::ls),
    verb!("pause", [], 1..=MANY, "CONTAINER [CONTAINER...]", "Freeze all processes of containers",
        signal::Names => signal::pause),
    verb!("port", [], 1..=2, "CONTAINER [PRIVATE_PORT[/PROTO]]", "Show where a container's ports are published",
        port::Args => port::port),
    verb!("prune", [], 0..=0, "[OPTIONS]", "Remove all stopped containers", prune::Args => prune::command),
    verb!("rename", [], 2..=2, "CONTAINER NEW_NAME", "Rename a container", rename::Args => rename::rename),
    verb!("restart", [], 1..=MANY, "[OPTIONS] CONTAINER [CONTAINER...]", "Restart containers",
        signal::StopArgs => signal::restart),
    verb!("rm", ["remove"], 1..=MANY, "[OPTIONS] CONTAINER [CONTAINER...]", "Remove containers",
        rm::Args => rm::rm),
    verb!("run", [], 1..=MANY, "[OPTIONS] IMAGE [COMMAND] [ARG...]", "Create and start a container from an image",
        run::Args => run::run, strict),
    verb!("start", [], 1..=MANY, "[OPTIONS] CONTAINER [CONTAINER...]", "Start stopped containers",
        start::Args => start::start),
    verb!("stats", [], 0..=MANY, "[OPTIONS] [CONTAINER...]", "Show what containers use, as it changes",
        stats::Args => stats::stats),
    verb!("stop", [], 1..=MANY, "[OPTIONS] CONTAINER [CONTAINER...]", "Stop running containers",
        signal::StopArgs => signal::stop),
    verb!("top", [], 1..=MANY, "CONTAINER [ps OPTIONS]", "Show a container's processes",
        top::Args => top::top, strict),
    verb!("unpause", [], 1..=MANY, "CONTAINER [CONTAINER...]", "Thaw all processes of containers",
        signal::Names => signal::unpause),
    verb!("update", [], 1..=MANY, "[OPTIONS] CONTAINER [CONTAINER...]", "Change the limits of containers",
        update::Args => update::update),
    verb!("wait", [], 1..=MANY, "CONTAINER [CONTAINER...]", "Wait until containers end, then print their exit status",
        wait::Args => wait::wait),
];
