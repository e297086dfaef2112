//! `history`.

use std::collections::BTreeMap;

use docker_api::client::Target;
use docker_api::image::HistoryItem;

use crate::session::Session;
use crate::show::format::{Format, Layout, Line, fields};
use crate::show::human;

/// `history`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How to show it: table, json, a template, or table and a template
    #[arg(long, default_value = "", hide_default_value = true)]
    format: String,
    /// Sizes and times for people
    #[arg(short = 'H', long, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", hide_default_value = true, value_parser = crate::verbs::switch)]
    human: bool,
    /// Show everything in full length
    #[arg(long)]
    no_trunc: bool,
    /// Of which platform
    #[arg(long, default_value = "", hide_default_value = true)]
    platform: String,
    /// Show ids only
    #[arg(short, long)]
    quiet: bool,
    /// Image
    #[arg(value_name = "IMAGE")]
    image: Vec<String>,
}

const FIELDS: &[(&str, &str)] = &[
    ("Comment", "COMMENT"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedBy", "CREATED BY"),
    ("CreatedSince", "CREATED"),
    ("ID", "IMAGE"),
    ("Size", "SIZE"),
];

const LAYOUT: Layout = Layout {
    fields: FIELDS,
    table: "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
    quiet: "{{.ID}}",
};

const LAYOUT_FOR_PROGRAMS: Layout = Layout {
    fields: FIELDS,
    table: "{{.ID}}\t{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
    quiet: "{{.ID}}",
};

pub(crate) async fn history(session: &Session, args: Args) -> anyhow::Result<u8> {
    let name = args.image.first().map_or("", String::as_str);
    let target =
        Target::named("/images", name, "/history").maybe("platform", platform(&args.platform)?);
    let items: Vec<HistoryItem> = session.client()?.get(&target).await?;
    let lines: Vec<Line> = items.iter().map(|item| line(item, &args)).collect();
    let layout = if args.human { &LAYOUT } else { &LAYOUT_FOR_PROGRAMS };
    let format = Format::choose(layout, &args.format, "", args.quiet);
    session.text(&format.render(layout, &lines)?);
    Ok(0)
}

/// `linux/arm64/v8` as the JSON that the API takes.
pub(super) fn platform(text: &str) -> anyhow::Result<Option<String>> {
    if text.is_empty() {
        return Ok(None);
    }
    let mut parts = text.split('/');
    let platform = docker_api::image::Platform {
        os: parts.next().unwrap_or_default().to_owned(),
        architecture: parts.next().unwrap_or_default().to_owned(),
        variant: parts.next().unwrap_or_default().to_owned(),
        ..Default::default()
    };
    Ok(Some(serde_json::to_string(&platform)?))
}

fn line(item: &HistoryItem, args: &Args) -> Line {
    let id = if args.no_trunc { item.id.as_str() } else { human::short_id(&item.id) };
    let command = item.created_by.replace('\t', " ");
    let command = if args.no_trunc { command } else { human::ellipsis(&command, 45) };
    let since = if item.created <= 0 { "N/A".to_owned() } else { human::ago(item.created) };
    let size = if args.human { human::size(item.size, 3) } else { item.size.to_string() };
    Line {
        fields: fields(vec![
            ("Comment", item.comment.clone()),
            ("CreatedAt", at(item.created)),
            ("CreatedBy", command),
            ("CreatedSince", since),
            ("ID", id.to_owned()),
            ("Size", size),
        ]),
        labels: BTreeMap::new(),
    }
}

fn at(seconds: i64) -> String {
    human::rfc3339_local(seconds.saturating_mul(1_000_000_000)).replace(".000000000", "")
}
