//! `vm`: machines that boot a disk of their own. They are containers, so most of their commands are
//! those of containers.

use std::path::Path;

use anyhow::Context as _;
use docker_api::client::Target;
use docker_api::container::{ContainerSummary, CreateBody, CreateResponse};
use docker_api::machine::{DiskSnapshot, SnapshotBody};
use types::container::{HostConfig, RestartRule, WholeMachine};

use super::flags::{network, restart_policy};
use super::{attach, inspect, logs, port, rename, rm, signal, start, stats, update, wait};
use crate::failure::for_each;
use crate::options::{filter, size, words};
use crate::session::Session;
use crate::show::format::{Format, Layout, Line, fields};
use crate::show::human;
use crate::terminal;
use crate::verbs::{MANY, Verb, verb};

/// The commands.
pub(crate) static VERBS: &[Verb] = &[
    verb!("attach", [], 1..=1, "[OPTIONS] MACHINE", "Attach to a machine's console", attach::Args => attach::attach),
    verb!("inspect", [], 1..=MANY, "[OPTIONS] MACHINE [MACHINE...]", "Show all that is known of machines",
        inspect::Args => inspect::inspect),
    verb!("kill", [], 1..=MANY, "[OPTIONS] MACHINE [MACHINE...]", "Switch machines off at once",
        signal::KillArgs => signal::kill),
    verb!("logs", [], 1..=1, "[OPTIONS] MACHINE", "Show what a machine wrote on its console", logs::Args => logs::logs),
    verb!("ls", ["list", "ps"], 0..=0, "[OPTIONS]", "List machines", LsArgs => ls),
    verb!("pause", [], 1..=MANY, "MACHINE [MACHINE...]", "Stop the processors of machines",
        signal::Names => signal::pause),
    verb!("port", [], 1..=2, "MACHINE [PRIVATE_PORT[/PROTO]]", "Show where a machine's ports are published",
        port::Args => port::port),
    verb!("rename", [], 2..=2, "MACHINE NEW_NAME", "Rename a machine", rename::Args => rename::rename),
    verb!("restart", [], 1..=MANY, "[OPTIONS] MACHINE [MACHINE...]", "Stop machines and start them again",
        signal::StopArgs => signal::restart),
    verb!("rm", ["remove"], 1..=MANY, "[OPTIONS] MACHINE [MACHINE...]", "Remove machines and what they wrote",
        rm::Args => rm::rm),
    verb!("run", [], 1..=1, "[OPTIONS] DISK", "Make a machine that boots a disk image or a snapshot, and start it",
        RunArgs => run),
    verb!("snapshot", [], 1..=MANY, "MACHINE SNAPSHOT\n       isopod vm snapshot ls\n       isopod vm snapshot rm SNAPSHOT [SNAPSHOT...]",
        "Keep the disk of a stopped machine under a name, list those, remove them", SnapshotArgs => snapshot),
    verb!("start", [], 1..=MANY, "[OPTIONS] MACHINE [MACHINE...]", "Start stopped machines", start::Args => start::start),
    verb!("stats", [], 0..=MANY, "[OPTIONS] [MACHINE...]", "Show what machines use, as it changes",
        stats::Args => stats::stats),
    verb!("stop", [], 1..=MANY, "[OPTIONS] MACHINE [MACHINE...]", "Press the power button of machines",
        signal::StopArgs => signal::stop),
    verb!("unpause", [], 1..=MANY, "MACHINE [MACHINE...]", "Let the processors of machines go on",
        signal::Names => signal::unpause),
    verb!("update", [], 1..=MANY, "[OPTIONS] MACHINE [MACHINE...]", "Change limits and restart policies of machines",
        update::Args => update::update),
    verb!("wait", [], 1..=MANY, "MACHINE [MACHINE...]", "Wait until machines are off, then print their exit status",
        wait::Args => wait::wait),
];

/// `run`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Number of processors
    #[arg(long, value_parser = size::cpus, default_value = "0", hide_default_value = true)]
    cpus: i64,
    /// Run in the background and print the id
    #[arg(short, long)]
    detach: bool,
    /// Key sequence that detaches
    #[arg(long, default_value = "", hide_default_value = true)]
    detach_keys: String,
    /// Size of its disk, if it is to be larger than the image
    #[arg(long, value_parser = size::bytes, default_value = "0", hide_default_value = true)]
    disk_size: i64,
    /// Set a label
    #[arg(short, long, value_parser = words::label)]
    label: Vec<String>,
    /// Bytes of memory
    #[arg(short, long, value_parser = size::bytes, default_value = "0", hide_default_value = true)]
    memory: i64,
    /// Name
    #[arg(long, default_value = "", hide_default_value = true)]
    name: String,
    #[command(flatten)]
    network: network::Flags,
    /// When to start it again: no, on-failure[:TIMES], always, unless-stopped
    #[arg(long, default_value = "no")]
    restart: String,
    /// Remove the machine when it is off
    #[arg(long)]
    rm: bool,
    /// File with public keys that may log in (cloud-init)
    #[arg(long, value_name = "FILE")]
    ssh_key: Vec<String>,
    /// Seconds that it has to switch itself off
    #[arg(long)]
    stop_timeout: Option<i64>,
    /// File that says what cloud-init is to do
    #[arg(long, value_name = "FILE", default_value = "", hide_default_value = true)]
    user_data: String,
    /// Path of an image on the daemon's host, or name of a snapshot
    #[arg(value_name = "DISK")]
    disk: Vec<String>,
}

impl RunArgs {
    fn body(&self) -> anyhow::Result<CreateBody> {
        let disk = self.disk.first().context("a disk is needed")?;
        let mut keys = Vec::new();
        for file in &self.ssh_key {
            keys.extend(self::keys(&read(file)?));
        }
        let machine = WholeMachine {
            disk: disk_name(disk)?,
            disk_size: u64::try_from(self.disk_size).unwrap_or(0),
            user_data: if self.user_data.is_empty() {
                String::new()
            } else {
                read(&self.user_data)?
            },
            ssh_keys: keys,
        };
        let mut host = HostConfig { machine: Some(machine), ..HostConfig::default() };
        host.resources.memory = self.memory;
        host.resources.nano_cpus = self.cpus;
        host.restart_policy = restart_policy(&self.restart).map_err(anyhow::Error::msg)?;
        host.auto_remove = self.rm;
        if self.rm && host.restart_policy.name != RestartRule::No {
            anyhow::bail!("conflicting options: cannot specify both --restart and --rm");
        }
        let mut body = CreateBody {
            config: Default::default(),
            host_config: host,
            networking_config: Default::default(),
        };
        self.network.apply(&mut body).map_err(anyhow::Error::msg)?;
        body.config.labels = words::map(&self.label);
        body.config.stop_timeout = self.stop_timeout;
        body.config.tty = true;
        body.config.attach_stdin = !self.detach && terminal::stdin_is_terminal();
        body.config.attach_stdout = !self.detach;
        Ok(body)
    }
}

fn read(file: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))
}

/// The public keys of a file such as `id_ed25519.pub` or `authorized_keys`.
fn keys(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

/// What looks like a file is one, from here; anything else is the name of a snapshot.
fn disk_name(text: &str) -> anyhow::Result<String> {
    if text.starts_with('/') || !(text.contains('/') || Path::new(text).is_file()) {
        return Ok(text.to_owned());
    }
    let path = std::path::absolute(text).with_context(|| format!("no such disk: {text}"))?;
    Ok(path.to_string_lossy().into_owned())
}

async fn run(session: &Session, args: RunArgs) -> anyhow::Result<u8> {
    let body = args.body()?;
    let keys = super::run::detach_keys(session, &args.detach_keys)?;
    let client = session.client()?;
    let target = Target::new("/containers/create")
        .maybe("name", Some(&args.name).filter(|name| !name.is_empty()));
    let made: CreateResponse = client.post(&target, &body).await?;
    for warning in &made.warnings {
        session.warn(&format!("WARNING: {warning}"));
    }
    if args.detach {
        client.post_empty(&Target::named("/containers", &made.id, "/start")).await?;
        session.line(&made.id);
        return Ok(0);
    }
    super::run::attached(session, &made.id, &body, keys, None).await
}

/// `ls`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct LsArgs {
    /// Show only those that fit: name=, id=, label=, status=, network=, …
    #[arg(short, long, value_parser = filter::parse)]
    filter: Vec<(String, String)>,
    /// How to show them: table, json, a template, or table and a template
    #[arg(long, default_value = "", hide_default_value = true)]
    format: String,
    /// Show ids only
    #[arg(short, long)]
    quiet: bool,
}

const LAYOUT: Layout = Layout {
    fields: &[
        ("Addresses", "ADDRESSES"),
        ("CreatedAt", "CREATED AT"),
        ("Disk", "DISK"),
        ("ID", "MACHINE ID"),
        ("Labels", "LABELS"),
        ("Name", "NAME"),
        ("Networks", "NETWORKS"),
        ("Ports", "PORTS"),
        ("State", "STATE"),
        ("Status", "STATUS"),
    ],
    table: "{{.Name}}\t{{.ID}}\t{{.Disk}}\t{{.Status}}\t{{.Addresses}}\t{{.Ports}}",
    quiet: "{{.ID}}",
};

async fn ls(session: &Session, args: LsArgs) -> anyhow::Result<u8> {
    let format = Format::choose(&LAYOUT, &args.format, "", args.quiet);
    let mut filters = args.filter;
    filters.push(("machine".to_owned(), "true".to_owned()));
    let target =
        Target::new("/containers/json").flag("all", true).maybe("filters", filter::json(&filters));
    let machines: Vec<ContainerSummary> = session.client()?.get(&target).await?;
    let lines: Vec<Line> = machines.iter().map(line).collect();
    session.text(&format.render(&LAYOUT, &lines)?);
    Ok(0)
}

/// A machine as a line.
fn line(machine: &ContainerSummary) -> Line {
    let names = machine.names.iter().map(|name| name.trim_start_matches('/'));
    let networks = &machine.network_settings.networks;
    let addresses: Vec<&str> = networks
        .values()
        .flat_map(|endpoint| [&endpoint.ip_address, &endpoint.global_ipv6_address])
        .map(String::as_str)
        .filter(|address| !address.is_empty())
        .collect();
    let labels: Vec<String> = machine.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    Line {
        fields: fields(vec![
            ("Addresses", addresses.join(", ")),
            ("CreatedAt", human::moment(machine.created)),
            ("Disk", machine.image.clone()),
            ("ID", human::short_id(&machine.id).to_owned()),
            ("Labels", labels.join(",")),
            ("Name", names.collect::<Vec<_>>().join(",")),
            ("Networks", networks.keys().cloned().collect::<Vec<_>>().join(",")),
            ("Ports", super::ls::ports(&machine.ports)),
            ("State", machine.state.clone()),
            ("Status", machine.status.clone()),
        ]),
        labels: machine.labels.clone(),
    }
}

/// `snapshot`'s arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct SnapshotArgs {
    /// A machine and the snapshot's name; or ls; or rm and names
    #[arg(value_name = "MACHINE")]
    words: Vec<String>,
}

async fn snapshot(session: &Session, args: SnapshotArgs) -> anyhow::Result<u8> {
    let words: Vec<&str> = args.words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["ls" | "list"] => list_snapshots(session).await,
        ["rm" | "remove", _, ..] => {
            let client = session.client()?;
            for_each(session, &args.words[1..], async |name| {
                client.delete(&Target::named("/isopod/machines/snapshots", name, "")).await?;
                Ok(Some(name.to_owned()))
            })
            .await
        }
        [machine, name] => {
            let body = SnapshotBody { machine: (*machine).to_owned(), name: (*name).to_owned() };
            let target = Target::new("/isopod/machines/snapshots/create");
            let made: SnapshotBody = session.client()?.post(&target, &body).await?;
            session.line(&made.name);
            Ok(0)
        }
        _ => anyhow::bail!(
            "isopod vm snapshot takes a machine and a name, or ls, or rm and names of snapshots"
        ),
    }
}

const SNAPSHOT_LAYOUT: Layout = Layout {
    fields: &[
        ("Base", "BASE"),
        ("CreatedAt", "CREATED AT"),
        ("Name", "SNAPSHOT"),
        ("Size", "DISK SIZE"),
        ("Taken", "TAKEN"),
    ],
    table: "{{.Name}}\t{{.Size}}\t{{.Taken}}\t{{.CreatedAt}}\t{{.Base}}",
    quiet: "{{.Name}}",
};

async fn list_snapshots(session: &Session) -> anyhow::Result<u8> {
    let target = Target::new("/isopod/machines/snapshots");
    let found: Vec<DiskSnapshot> = session.client()?.get(&target).await?;
    let bytes = |count: u64| human::size(i64::try_from(count).unwrap_or(i64::MAX), 3);
    let line = |snapshot: &DiskSnapshot| Line {
        fields: fields(vec![
            ("Base", snapshot.base.clone()),
            ("CreatedAt", human::moment(snapshot.created.seconds())),
            ("Name", snapshot.name.clone()),
            ("Size", bytes(snapshot.size)),
            ("Taken", bytes(snapshot.taken)),
        ]),
        labels: Default::default(),
    };
    let lines: Vec<Line> = found.iter().map(line).collect();
    let format = Format::choose(&SNAPSHOT_LAYOUT, "", "", false);
    session.text(&format.render(&SNAPSHOT_LAYOUT, &lines)?);
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    // `-h` is the host's name, as everywhere.
    #[derive(clap::Parser)]
    #[command(disable_help_flag = true)]
    struct Parser {
        #[command(flatten)]
        args: RunArgs,
    }

    fn body(words: &[&str]) -> anyhow::Result<CreateBody> {
        let parsed = <Parser as clap::Parser>::try_parse_from(
            ["run"].into_iter().chain(words.iter().copied()),
        )?;
        parsed.args.body()
    }

    #[test]
    fn options_become_a_machine() {
        let dir = tempfile::tempdir().expect("directory");
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).expect("written");
            path.display().to_string()
        };
        let keys = file("keys", "# mine\nssh-ed25519 AAAA me\n\nssh-rsa BBBB you\n");
        let data = file("data", "#cloud-config\n");
        let made = body(&[
            "-d",
            "-m",
            "256m",
            "--cpus",
            "2",
            "--network",
            "web",
            "-p",
            "8080:80",
            "--ip",
            "10.0.0.9",
            "--disk-size",
            "10g",
            "--user-data",
            &data,
            "--ssh-key",
            &keys,
            "/images/a.qcow2",
        ])
        .expect("body");
        let machine = made.host_config.machine.expect("machine");
        assert_eq!(machine.disk, "/images/a.qcow2");
        assert_eq!(machine.disk_size, 10 << 30);
        assert_eq!(machine.user_data, "#cloud-config\n");
        assert_eq!(machine.ssh_keys, ["ssh-ed25519 AAAA me", "ssh-rsa BBBB you"]);
        assert_eq!(made.host_config.resources.memory, 256 << 20);
        assert_eq!(made.host_config.resources.nano_cpus, 2_000_000_000);
        assert_eq!(made.host_config.network_mode, "web");
        assert!(made.host_config.port_bindings.contains_key("80/tcp"));
        assert!(!made.config.attach_stdout);
        assert!(body(&["--rm", "--restart", "always", "x"]).is_err());
        assert!(body(&["--user-data", "/nowhere/x", "x"]).is_err());
    }

    #[test]
    fn what_looks_like_a_path_is_one() {
        assert_eq!(disk_name("kept").expect("name"), "kept");
        assert_eq!(disk_name("/a/b").expect("name"), "/a/b");
        let here = disk_name("./b.img").expect("name");
        assert!(here.starts_with('/') && here.ends_with("/b.img"), "{here}");
        assert!(disk_name("Cargo.toml").expect("name").ends_with("/Cargo.toml"));
    }
}
