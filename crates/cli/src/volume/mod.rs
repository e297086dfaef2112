//! Commands about volumes.

mod copies;

use docker_api::client::{Client, Error, Target};
use docker_api::volume::{Volume, VolumeCreateBody, VolumeListResponse, VolumesPruneReport};

use crate::failure::for_each;
use crate::options::{filter, words};
use crate::prune::{Flags, Report};
use crate::session::Session;
use crate::show::format::{Format, Layout, Line, fields};
use crate::show::human;
use crate::show::inspect::{InspectArgs, show};
use crate::template::Value;
use crate::verbs::{MANY, Verb, verb};

/// The commands.
pub(crate) static VERBS: &[Verb] = &[
    verb!("clone", [], 2..=2, "[OPTIONS] VOLUME NAME", "Make a volume with the files of another",
        copies::CloneArgs => copies::clone),
    verb!("create", [], 0..=1, "[OPTIONS] [VOLUME]", "Create a volume", CreateArgs => create),
    verb!("export", [], 1..=1, "[OPTIONS] VOLUME", "Write a volume's files to an archive",
        copies::ExportArgs => copies::export),
    verb!("import", [], 1..=2, "[OPTIONS] VOLUME [FILE|-]", "Make a volume of an archive",
        copies::ImportArgs => copies::import),
    verb!("inspect", [], 1..=MANY, "[OPTIONS] VOLUME [VOLUME...]", "Show all that is known of volumes",
        InspectArgs => inspect),
    verb!("ls", ["list"], 0..=0, "[OPTIONS]", "List volumes", LsArgs => ls),
    verb!("prune", [], 0..=0, "[OPTIONS]", "Remove volumes that nobody uses", PruneArgs => prune),
    verb!("rm", ["remove"], 1..=MANY, "[OPTIONS] VOLUME [VOLUME...]", "Remove volumes", RmArgs => rm),
    verb!("snapshot", [], 1..=2, "[OPTIONS] VOLUME [NAME]",
        "Make a read-only volume with the files that another has now",
        copies::SnapshotArgs => copies::snapshot),
];

/// `create`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct CreateArgs {
    /// Driver
    #[arg(short, long, default_value = "local")]
    driver: String,
    /// Set a label
    #[arg(long, value_parser = words::label)]
    label: Vec<String>,
    /// Option for the driver: NAME=VALUE
    #[arg(short, long)]
    opt: Vec<String>,
    /// Name (older way to give it)
    #[arg(long, default_value = "", hide = true)]
    name: String,
    /// Name
    #[arg(value_name = "VOLUME")]
    volume: Vec<String>,
}

async fn create(session: &Session, args: CreateArgs) -> anyhow::Result<u8> {
    if !args.name.is_empty() && !args.volume.is_empty() {
        anyhow::bail!(
            "conflicting options: cannot specify a volume-name through both --name and as a positional arg"
        );
    }
    let body = VolumeCreateBody {
        name: args.volume.first().cloned().unwrap_or(args.name),
        driver: args.driver,
        driver_opts: words::map(&args.opt),
        labels: words::map(&args.label),
    };
    let made: Volume = session.client()?.post(&Target::new("/volumes/create"), &body).await?;
    session.line(&made.name);
    Ok(0)
}

/// All that is known of a volume.
pub(crate) async fn fetch_inspect(client: &Client, name: &str) -> Result<Value, Error> {
    client.get(&Target::named("/volumes", name, "")).await
}

async fn inspect(session: &Session, args: InspectArgs) -> anyhow::Result<u8> {
    let client = session.client()?;
    show(session, &args.names, &args.format, async |name| fetch_inspect(client, name).await).await
}

/// `ls`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct LsArgs {
    /// Show only those that fit: name=, driver=, label=, dangling=
    #[arg(short, long, value_parser = filter::parse)]
    filter: Vec<(String, String)>,
    /// How to show them: table, json, a template, or table and a template
    #[arg(long, default_value = "", hide_default_value = true)]
    format: String,
    /// Show names only
    #[arg(short, long)]
    quiet: bool,
}

/// How lists of volumes look.
pub(crate) const LAYOUT: Layout = Layout {
    fields: &[
        ("Availability", "AVAILABILITY"),
        ("Driver", "DRIVER"),
        ("Group", "GROUP"),
        ("Labels", "LABELS"),
        ("Links", "LINKS"),
        ("Mountpoint", "MOUNTPOINT"),
        ("Name", "VOLUME NAME"),
        ("Scope", "SCOPE"),
        ("Size", "SIZE"),
        ("Status", "STATUS"),
    ],
    table: "{{.Driver}}\t{{.Name}}",
    quiet: "{{.Name}}",
};

/// One volume as a line.
pub(crate) fn line(volume: &Volume) -> Line {
    let labels = volume.labels.clone().unwrap_or_default();
    let joined: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let (links, size) = match &volume.usage_data {
        Some(usage) => (usage.ref_count.to_string(), human::size(usage.size, 4)),
        None => ("N/A".to_owned(), "N/A".to_owned()),
    };
    let none = || "N/A".to_owned();
    Line {
        fields: fields(vec![
            ("Availability", none()),
            ("Driver", volume.driver.clone()),
            ("Group", none()),
            ("Labels", joined.join(",")),
            ("Links", links),
            ("Mountpoint", volume.mountpoint.clone()),
            ("Name", volume.name.clone()),
            ("Scope", volume.scope.clone()),
            ("Size", size),
            ("Status", none()),
        ]),
        labels,
    }
}

async fn ls(session: &Session, args: LsArgs) -> anyhow::Result<u8> {
    let target = Target::new("/volumes").maybe("filters", filter::json(&args.filter));
    let mut list: VolumeListResponse = session.client()?.get(&target).await?;
    for warning in &list.warnings {
        session.warn(&format!("WARNING: {warning}"));
    }
    list.volumes.sort_by(|a, b| a.name.cmp(&b.name));
    let lines: Vec<Line> = list.volumes.iter().map(line).collect();
    let config = session.config();
    let format = Format::choose(&LAYOUT, &args.format, &config.volumes_format, args.quiet);
    session.text(&format.render(&LAYOUT, &lines)?);
    Ok(0)
}

/// `rm`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct RmArgs {
    /// It is fine if there is none
    #[arg(short, long)]
    force: bool,
    /// Volumes
    #[arg(value_name = "VOLUME")]
    volumes: Vec<String>,
}

async fn rm(session: &Session, args: RmArgs) -> anyhow::Result<u8> {
    let client = session.client()?;
    for_each(session, &args.volumes, async |name| {
        client.delete(&Target::named("/volumes", name, "").flag("force", args.force)).await?;
        Ok(Some(name.to_owned()))
    })
    .await
}

/// `prune`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct PruneArgs {
    /// Remove those with a name as well
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    flags: Flags,
}

async fn prune(session: &Session, args: PruneArgs) -> anyhow::Result<u8> {
    let what = if args.all { "all local volumes" } else { "anonymous local volumes" };
    let warning = format!("This will remove {what} not used by at least one container.");
    args.flags.sure(session, &warning)?;
    prune_all(session, args.all, &args.flags.filter).await?.show(session);
    Ok(0)
}

/// Removes them.
pub(crate) async fn prune_all(
    session: &Session,
    all: bool,
    filters: &[(String, String)],
) -> anyhow::Result<Report> {
    let mut filters = filters.to_vec();
    if all {
        filters.push(("all".to_owned(), "true".to_owned()));
    }
    let target = Target::new("/volumes/prune").maybe("filters", filter::json(&filters));
    let report: VolumesPruneReport = session.client()?.post_for(&target).await?;
    Ok(Report::new("Deleted Volumes:", report.volumes_deleted, report.space_reclaimed))
}
