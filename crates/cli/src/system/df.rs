//! `df`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use docker_api::client::Target;
use docker_api::container::ContainerSummary;
use docker_api::disk::DiskUsage;

use crate::container::Row;
use crate::session::Session;
use crate::show::format::{Format, Layout, Line, fields};
use crate::show::human;

/// `df`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How to show it: table, json, a template, or table and a template
    #[arg(long, default_value = "", hide_default_value = true)]
    format: String,
    /// Show every single thing
    #[arg(short, long)]
    verbose: bool,
}

const LAYOUT: Layout = Layout {
    fields: &[
        ("Active", "ACTIVE"),
        ("Reclaimable", "RECLAIMABLE"),
        ("Size", "SIZE"),
        ("TotalCount", "TOTAL"),
        ("Type", "TYPE"),
    ],
    table: "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}",
    quiet: "{{.Type}}",
};

const IMAGES: Layout = Layout {
    fields: crate::image::LIST_FIELDS,
    table: "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}",
    quiet: "{{.ID}}",
};

const CONTAINERS: Layout = Layout {
    fields: crate::container::LIST_FIELDS,
    table: "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}",
    quiet: "{{.ID}}",
};

const VOLUMES: Layout = Layout {
    fields: crate::volume::LAYOUT.fields,
    table: "{{.Name}}\t{{.Links}}\t{{.Size}}",
    quiet: "{{.Name}}",
};

/// Of the cache Docker gives no percentage.
const CACHE: &str = "Build Cache";

fn line(kind: &str, total: i64, active: i64, size: i64, reclaimable: i64) -> Line {
    #[allow(clippy::cast_precision_loss, reason = "a percentage")]
    let percent = if size > 0 && kind != CACHE {
        format!(" ({:.0}%)", (reclaimable as f64 * 100.0 / size as f64).floor())
    } else {
        String::new()
    };
    let reclaimable = human::size(reclaimable, 4) + &percent;
    Line {
        fields: fields(vec![
            ("Active", active.to_string()),
            ("Reclaimable", reclaimable),
            ("Size", human::size(size, 4)),
            ("TotalCount", total.to_string()),
            ("Type", kind.to_owned()),
        ]),
        labels: BTreeMap::new(),
    }
}

/// One line a kind of thing.
fn summary(usage: DiskUsage) -> Vec<Line> {
    let usage = usage.summed(false);
    let images = usage.image_usage.unwrap_or_default();
    let containers = usage.container_usage.unwrap_or_default();
    let volumes = usage.volume_usage.unwrap_or_default();
    let cache = usage.build_cache_usage.unwrap_or_default();
    macro_rules! lines {
        ($($kind:expr => $sum:ident),*) => {
            vec![$(line(
                $kind, $sum.total_count, $sum.active_count, $sum.total_size, $sum.reclaimable,
            )),*]
        };
    }
    lines! {
        "Images" => images, "Containers" => containers, "Local Volumes" => volumes,
        CACHE => cache
    }
}

pub(crate) async fn df(session: &Session, args: Args) -> anyhow::Result<u8> {
    // Daemons since API 1.52 leave the lists out unless they are asked for them.
    let target = Target::new("/system/df").with("verbose", "1");
    let usage: DiskUsage = session.client()?.get::<DiskUsage>(&target).await?.listed();
    if !args.verbose {
        let format = Format::choose(&LAYOUT, &args.format, "", false);
        session.text(&format.render(&LAYOUT, &summary(usage))?);
        return Ok(0);
    }
    let mut out = String::from("Images space usage:\n\n");
    let table = |layout: &Layout, lines: &[Line]| -> anyhow::Result<String> {
        Format::choose(layout, "", "", false).render(layout, lines)
    };
    let images: Vec<Line> = usage
        .images
        .iter()
        .flatten()
        .flat_map(|image| {
            let names = crate::image::list_names(image);
            names.into_iter().map(|name| crate::image::list_line(image, &name)).collect::<Vec<_>>()
        })
        .collect();
    out += &table(&IMAGES, &images)?;
    if let Some(disk) = usage.layers_disk_size {
        let _ = writeln!(
            out,
            "\nLayers: {}, of which {} on disk, as files of several layers are there once",
            human::size(usage.layers_size, 4),
            human::size(disk, 4)
        );
    }
    out += "\nContainers space usage:\n\n";
    let containers: Vec<Line> = usage
        .containers
        .iter()
        .flatten()
        .map(|container| {
            let container = &ContainerSummary { size_root_fs: None, ..container.clone() };
            Row { container, full: false }.line()
        })
        .collect();
    out += &table(&CONTAINERS, &containers)?;
    out += "\nLocal Volumes space usage:\n\n";
    let volumes: Vec<Line> = usage.volumes.iter().flatten().map(crate::volume::line).collect();
    out += &table(&VOLUMES, &volumes)?;
    let cache = usage.build_cache.as_deref().unwrap_or_default();
    let size: i64 = cache.iter().filter(|c| !c.shared).map(|c| c.size).sum();
    let _ = writeln!(out, "\nBuild cache usage: {}\n", human::size(size, 4));
    let mut rows = crate::show::table::Table::default();
    rows.row("CACHE ID\tCACHE TYPE\tSIZE\tCREATED\tLAST USED\tUSAGE\tSHARED");
    for record in cache {
        let used = record.last_used_at.map(|at| human::ago(at.seconds())).unwrap_or_default();
        rows.row(&format!(
            "{}\t{}\t{}\t{}\t{used}\t{}\t{}",
            human::short_id(&record.id),
            record.kind,
            human::size(record.size, 3),
            human::ago(record.created_at.seconds()),
            record.usage_count,
            record.shared
        ));
    }
    out += &rows.render();
    session.text(&out);
    Ok(0)
}
