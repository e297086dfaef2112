//! `ls`, known as `images`.

use std::collections::BTreeMap;

use docker_api::client::Target;
use docker_api::image::ImageSummary;
use docker_api::layers::LayerNode;

use super::tree::{leading_to, render};
use crate::options::filter;
use crate::session::Session;
use crate::show::format::{Format, Layout, Line, fields};
use crate::show::human;

/// `ls`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show intermediate images as well
    #[arg(short, long)]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Show only those that fit: reference=, dangling=, label=, before=, since=, until=
    #[arg(short, long, value_parser = filter::parse)]
    filter: Vec<(String, String)>,
    /// How to show them: table, json, a template, or table and a template
    #[arg(long, default_value = "", hide_default_value = true)]
    format: String,
    /// Show ids in full length
    #[arg(long)]
    no_trunc: bool,
    /// Show ids only
    #[arg(short, long)]
    quiet: bool,
    /// Show the layers that they stand on, shared ones once
    #[arg(long)]
    tree: bool,
    /// Name that they must have
    #[arg(value_name = "REPOSITORY")]
    name: Vec<String>,
}

/// Fields of a list of images.
pub(crate) const LIST_FIELDS: &[(&str, &str)] = &[
    ("Containers", "CONTAINERS"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedSince", "CREATED"),
    ("Digest", "DIGEST"),
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("SharedSize", "SHARED SIZE"),
    ("Size", "SIZE"),
    ("Tag", "TAG"),
    ("UniqueSize", "UNIQUE SIZE"),
    ("VirtualSize", "SIZE"),
];

const LAYOUT: Layout = Layout {
    fields: LIST_FIELDS,
    table: "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
    quiet: "{{.ID}}",
};

const LAYOUT_WITH_DIGESTS: Layout = Layout {
    fields: LIST_FIELDS,
    table: "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
    quiet: "{{.ID}}",
};

pub(crate) async fn ls(session: &Session, args: Args) -> anyhow::Result<u8> {
    if args.tree {
        return tree(session, &args).await;
    }
    let mut filters = args.filter;
    if let Some(name) = args.name.first() {
        filters.push(("reference".to_owned(), name.clone()));
    }
    let target =
        Target::new("/images/json").flag("all", args.all).maybe("filters", filter::json(&filters));
    let layout = if args.digests { &LAYOUT_WITH_DIGESTS } else { &LAYOUT };
    let config = session.config();
    let format = Format::choose(layout, &args.format, &config.images_format, args.quiet);
    let digests = args.digests || format.parse()?.mentions("Digest");
    let images: Vec<ImageSummary> = session.client()?.get(&target).await?;
    let mut lines: Vec<Line> = Vec::new();
    for image in &images {
        let mut names = names(image, digests);
        if args.quiet && args.format.is_empty() {
            names.truncate(1);
        }
        lines.extend(names.into_iter().map(|name| line(image, &name, args.no_trunc)));
    }
    session.text(&format.render(layout, &lines)?);
    Ok(0)
}

/// The layers, and the images on them.
async fn tree(session: &Session, args: &Args) -> anyhow::Result<u8> {
    if args.quiet || args.digests || !args.format.is_empty() || !args.filter.is_empty() {
        anyhow::bail!("--tree cannot be used with --quiet, --digests, --format or --filter");
    }
    let answer = session.client()?.get(&Target::new("/images/tree")).await;
    let mut nodes: Vec<LayerNode> = match answer {
        Err(error) if matches!(error.status(), Some(400 | 404 | 405)) => {
            anyhow::bail!("the daemon does not show layers as a tree; isopod's does")
        }
        other => other?,
    };
    if let Some(wanted) = args.name.first() {
        let fits = |name: &str| name == wanted || super::split_tag(name).0 == wanted;
        nodes = leading_to(nodes, &fits);
    }
    session.text(&render(&nodes, args.no_trunc));
    Ok(0)
}

/// Repository, tag and digest of one line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Name {
    repository: String,
    tag: String,
    digest: String,
}

/// Under which names an image is listed where digests are not shown.
pub(crate) fn list_names(image: &ImageSummary) -> Vec<Name> {
    names(image, false)
}

/// One line with a short id.
pub(crate) fn list_line(image: &ImageSummary, name: &Name) -> Line {
    line(image, name, false)
}

/// Under which names an image is listed: each tag, and where digests are shown each with each
/// digest of its repository.
fn names(image: &ImageSummary, digests: bool) -> Vec<Name> {
    let none = || "<none>".to_owned();
    let mut tags: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in image.repo_tags.iter().filter(|name| *name != "<none>:<none>") {
        let (repository, tag) = super::split_tag(name);
        tags.entry(repository).or_default().push(tag);
    }
    let mut hashes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in image.repo_digests.iter().filter(|name| *name != "<none>@<none>") {
        if let Some((repository, digest)) = name.split_once('@') {
            hashes.entry(repository).or_default().push(digest);
        }
    }
    let mut all = Vec::new();
    for (repository, tags) in &tags {
        let own = hashes.remove(repository).unwrap_or_default();
        for tag in tags {
            let mut push = |digest: String| {
                all.push(Name {
                    repository: (*repository).to_owned(),
                    tag: (*tag).to_owned(),
                    digest,
                });
            };
            if digests && !own.is_empty() {
                own.iter().for_each(|digest| push((*digest).to_owned()));
            } else {
                push(none());
            }
        }
    }
    for (repository, own) in hashes {
        let shown = if digests { own } else { own.into_iter().take(1).collect() };
        for digest in shown {
            all.push(Name {
                repository: repository.to_owned(),
                tag: none(),
                digest: if digests { digest.to_owned() } else { none() },
            });
        }
    }
    if all.is_empty() {
        all.push(Name { repository: none(), tag: none(), digest: none() });
    }
    all
}

/// One line.
fn line(image: &ImageSummary, name: &Name, full: bool) -> Line {
    let id = if full { image.id.as_str() } else { human::short_id(&image.id) };
    let counted = |size: i64| match size {
        -1 => "N/A".to_owned(),
        size => human::size(size, 4),
    };
    let unique = match (image.size, image.shared_size) {
        (-1, _) | (_, -1) => "N/A".to_owned(),
        (size, shared) => human::size(size - shared, 4),
    };
    let containers = match image.containers {
        -1 => "N/A".to_owned(),
        count => count.to_string(),
    };
    Line {
        fields: fields(vec![
            ("Containers", containers),
            ("CreatedAt", human::moment(image.created)),
            (
                "CreatedSince",
                if image.created > 0 { human::ago(image.created) } else { "N/A".into() },
            ),
            ("Digest", name.digest.clone()),
            ("ID", id.to_owned()),
            ("Repository", name.repository.clone()),
            ("SharedSize", counted(image.shared_size)),
            ("Size", human::size(image.size, 3)),
            ("Tag", name.tag.clone()),
            ("UniqueSize", unique),
            ("VirtualSize", human::size(image.size, 4)),
        ]),
        labels: image.labels.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_listed_under_each_name() {
        let image = ImageSummary {
            repo_tags: vec!["a:1".into(), "a:2".into(), "r:5000/b:3".into()],
            repo_digests: vec!["a@sha256:x".into(), "c@sha256:y".into()],
            ..ImageSummary::default()
        };
        let shown = |digests| -> Vec<String> {
            let names = names(&image, digests);
            names.iter().map(|n| format!("{} {} {}", n.repository, n.tag, n.digest)).collect()
        };
        assert_eq!(
            shown(false),
            ["a 1 <none>", "a 2 <none>", "r:5000/b 3 <none>", "c <none> <none>"]
        );
        assert_eq!(
            shown(true),
            ["a 1 sha256:x", "a 2 sha256:x", "r:5000/b 3 <none>", "c <none> sha256:y"]
        );
        assert_eq!(names(&ImageSummary::default(), true).len(), 1);
    }
}
