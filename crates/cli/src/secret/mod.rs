//! Commands about secrets and configs.

use std::collections::BTreeMap;
use std::io::Read as _;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use docker_api::client::Target;
use docker_api::secret::{Kept, KeptCreateResponse, KeptSpec, RotateKeyResponse};

use crate::failure::for_each;
use crate::options::{filter, words};
use crate::session::Session;
use crate::show::format::{Format, Layout, Line, fields};
use crate::show::inspect::{InspectArgs, show};
use crate::verbs::{MANY, Verb, verb};

const SECRETS: &str = "/isopod/secrets";
const CONFIGS: &str = "/isopod/configs";

/// The commands about secrets.
pub(crate) static SECRET_VERBS: &[Verb] = &[
    verb!("create", [], 1..=2, "[OPTIONS] SECRET [FILE|-]", "Keep a secret of a file or standard input",
        CreateArgs => create_secret),
    verb!("inspect", [], 1..=MANY, "[OPTIONS] SECRET [SECRET...]", "Show what is known of secrets",
        InspectArgs => inspect_secret),
    verb!("ls", ["list"], 0..=0, "[OPTIONS]", "List secrets", LsArgs => ls_secret),
    verb!("rm", ["remove"], 1..=MANY, "SECRET [SECRET...]", "Remove secrets", RmArgs => rm_secret),
    verb!("rotate-key", [], 0..=0, "", "Encrypt all secrets and configs with a new key",
        RotateArgs => rotate_key),
];

/// The commands about configs.
pub(crate) static CONFIG_VERBS: &[Verb] = &[
    verb!("create", [], 1..=2, "[OPTIONS] CONFIG [FILE|-]", "Keep a config of a file or standard input",
        CreateArgs => create_config),
    verb!("inspect", [], 1..=MANY, "[OPTIONS] CONFIG [CONFIG...]", "Show all that is known of configs",
        InspectArgs => inspect_config),
    verb!("ls", ["list"], 0..=0, "[OPTIONS]", "List configs", LsArgs => ls_config),
    verb!("rm", ["remove"], 1..=MANY, "CONFIG [CONFIG...]", "Remove configs", RmArgs => rm_config),
];

/// `create`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct CreateArgs {
    /// Set a label
    #[arg(short, long, value_parser = words::label)]
    label: Vec<String>,
    /// Name, and a file (standard input if there is none, or '-')
    #[arg(value_name = "NAME")]
    words: Vec<String>,
}

async fn create_secret(session: &Session, args: CreateArgs) -> anyhow::Result<u8> {
    create(session, args, SECRETS).await
}

async fn create_config(session: &Session, args: CreateArgs) -> anyhow::Result<u8> {
    create(session, args, CONFIGS).await
}

async fn create(session: &Session, args: CreateArgs, noun: &str) -> anyhow::Result<u8> {
    let mut content = Vec::new();
    match args.words.get(1).map(String::as_str) {
        None | Some("-") => {
            std::io::stdin().lock().read_to_end(&mut content).context("read standard input")?;
        }
        Some(file) => content = std::fs::read(file).with_context(|| format!("read {file}"))?,
    }
    let body = KeptSpec {
        name: args.words.first().cloned().unwrap_or_default(),
        labels: words::map(&args.label),
        data: BASE64.encode(content),
    };
    let target = Target::new(&format!("{noun}/create"));
    let made: KeptCreateResponse = session.client()?.post(&target, &body).await?;
    session.line(&made.id);
    Ok(0)
}

async fn inspect_secret(session: &Session, args: InspectArgs) -> anyhow::Result<u8> {
    inspect(session, args, SECRETS).await
}

async fn inspect_config(session: &Session, args: InspectArgs) -> anyhow::Result<u8> {
    inspect(session, args, CONFIGS).await
}

async fn inspect(session: &Session, args: InspectArgs, noun: &str) -> anyhow::Result<u8> {
    let client = session.client()?;
    show(session, &args.names, &args.format, async |name| {
        client.get(&Target::named(noun, name, "")).await
    })
    .await
}

/// `ls`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct LsArgs {
    /// Show only those that fit: id=, name=, label=
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
    fields: &[("CreatedAt", "CREATED"), ("ID", "ID"), ("Labels", "LABELS"), ("Name", "NAME")],
    table: "{{.ID}}\t{{.Name}}\t{{.CreatedAt}}",
    quiet: "{{.ID}}",
};

fn line(kept: Kept) -> Line {
    let labels: BTreeMap<String, String> = kept.spec.labels;
    let joined: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    Line {
        fields: fields(vec![
            ("CreatedAt", kept.created_at.to_string()),
            ("ID", kept.id),
            ("Labels", joined.join(",")),
            ("Name", kept.spec.name),
        ]),
        labels,
    }
}

async fn ls_secret(session: &Session, args: LsArgs) -> anyhow::Result<u8> {
    ls(session, args, SECRETS).await
}

async fn ls_config(session: &Session, args: LsArgs) -> anyhow::Result<u8> {
    ls(session, args, CONFIGS).await
}

async fn ls(session: &Session, args: LsArgs, noun: &str) -> anyhow::Result<u8> {
    let target = Target::new(noun).maybe("filters", filter::json(&args.filter));
    let list: Vec<Kept> = session.client()?.get(&target).await?;
    let lines: Vec<Line> = list.into_iter().map(line).collect();
    let format = Format::choose(&LAYOUT, &args.format, "", args.quiet);
    session.text(&format.render(&LAYOUT, &lines)?);
    Ok(0)
}

/// `rm`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct RmArgs {
    /// Names or ids
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

async fn rm_secret(session: &Session, args: RmArgs) -> anyhow::Result<u8> {
    rm(session, args, SECRETS).await
}

async fn rm_config(session: &Session, args: RmArgs) -> anyhow::Result<u8> {
    rm(session, args, CONFIGS).await
}

async fn rm(session: &Session, args: RmArgs, noun: &str) -> anyhow::Result<u8> {
    let client = session.client()?;
    for_each(session, &args.names, async |name| {
        client.delete(&Target::named(noun, name, "")).await?;
        Ok(Some(name.to_owned()))
    })
    .await
}

/// `rotate-key` has no options.
#[derive(Debug, clap::Args)]
pub(crate) struct RotateArgs {}

async fn rotate_key(session: &Session, _: RotateArgs) -> anyhow::Result<u8> {
    let target = Target::new("/isopod/secrets/rotate-key");
    let done: RotateKeyResponse = session.client()?.post_for(&target).await?;
    session.line(&format!("{} encrypted anew", done.count));
    Ok(0)
}
