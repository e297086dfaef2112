//! `search`.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use docker_api::client::Target;
use docker_api::registry::SearchResult;

use crate::options::filter;
use crate::session::Session;
use crate::show::format::{Format, Layout, Line, fields};
use crate::show::human;

/// `search`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show only those that fit: is-official=, stars=
    #[arg(short, long, value_parser = filter::parse)]
    filter: Vec<(String, String)>,
    /// How to show them: table, json, a template, or table and a template
    #[arg(long, default_value = "", hide_default_value = true)]
    format: String,
    /// At most so many
    #[arg(long, default_value = "0", hide_default_value = true)]
    limit: i64,
    /// Show descriptions in full length
    #[arg(long)]
    no_trunc: bool,
    /// What to look for, behind the name of a registry other than Docker Hub
    #[arg(value_name = "TERM")]
    term: Vec<String>,
}

const LAYOUT: Layout = Layout {
    fields: &[
        ("Description", "DESCRIPTION"),
        ("IsAutomated", "AUTOMATED"),
        ("IsOfficial", "OFFICIAL"),
        ("Name", "NAME"),
        ("StarCount", "STARS"),
    ],
    table: "{{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}",
    quiet: "{{.Name}}",
};

pub(crate) async fn search(session: &Session, args: Args) -> anyhow::Result<u8> {
    let term = args.term.first().map_or("", String::as_str);
    let target = Target::new("/images/search")
        .with("term", term)
        .maybe("limit", (args.limit != 0).then(|| args.limit.to_string()))
        .maybe("filters", filter::json(&args.filter));
    let target = session.with_credentials(target, term)?;
    let mut found: Vec<SearchResult> = session.client()?.get(&target).await?;
    found.sort_by_key(|hit| Reverse(hit.star_count));
    let lines: Vec<Line> = found.iter().map(|hit| line(hit, args.no_trunc)).collect();
    let format = Format::choose(&LAYOUT, &args.format, "", false);
    session.text(&format.render(&LAYOUT, &lines)?);
    Ok(0)
}

fn line(hit: &SearchResult, full: bool) -> Line {
    let description = hit.description.replace(['\n', '\r', '\t'], " ");
    let description = if full { description } else { human::ellipsis(&description, 45) };
    let mark = |set: bool| if set { "[OK]" } else { "" }.to_owned();
    Line {
        fields: fields(vec![
            ("Description", description),
            ("IsAutomated", mark(hit.is_automated)),
            ("IsOfficial", mark(hit.is_official)),
            ("Name", hit.name.clone()),
            ("StarCount", hit.star_count.to_string()),
        ]),
        labels: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_are_one_short_line() {
        let hit = SearchResult {
            name: "busybox".to_owned(),
            description: format!("a\nb {}", "x".repeat(60)),
            is_official: true,
            star_count: 7,
            ..SearchResult::default()
        };
        let format = Format::choose(&LAYOUT, "", "", false);
        let text = format.render(&LAYOUT, &[line(&hit, false)]).expect("renders");
        let want = format!("a b {}…", "x".repeat(40));
        assert_eq!(
            text,
            format!(
                "NAME      DESCRIPTION{}STARS     OFFICIAL\nbusybox   {want}   7         [OK]\n",
                " ".repeat(37)
            )
        );
        assert!(line(&hit, true).fields.show().contains(&"x".repeat(60)));
    }
}
