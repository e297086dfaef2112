//! `ls`, known as `ps`.

use std::collections::BTreeMap;

use docker_api::client::Target;
use docker_api::container::{ContainerSummary, Port};

use crate::options::filter;
use crate::session::Session;
use crate::show::format::{Format, Layout, Line, fields};
use crate::show::human;
use crate::template::{Value, quote};

/// `ls`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show those that do not run as well
    #[arg(short, long)]
    all: bool,
    /// Show only those that fit: name=, id=, label=, status=, ancestor=, publish=, …
    #[arg(short, long, value_parser = filter::parse)]
    filter: Vec<(String, String)>,
    /// How to show them: table, json, a template, or table and a template
    #[arg(long, default_value = "", hide_default_value = true)]
    format: String,
    /// Show the last so many that were created
    #[arg(short = 'n', long, default_value = "-1", hide_default_value = true)]
    last: i64,
    /// Show the one that was created last
    #[arg(short, long)]
    latest: bool,
    /// Show everything in full length
    #[arg(long)]
    no_trunc: bool,
    /// Show ids only
    #[arg(short, long)]
    quiet: bool,
    /// Show sizes
    #[arg(short, long)]
    size: bool,
}

const TABLE: &str =
    "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";

/// Fields of a list of containers.
pub(crate) const LIST_FIELDS: &[(&str, &str)] = &[
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Labels", "LABELS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Mounts", "MOUNTS"),
    ("Names", "NAMES"),
    ("Networks", "NETWORKS"),
    ("Platform", "PLATFORM"),
    ("Ports", "PORTS"),
    ("RunningFor", "CREATED"),
    ("Size", "SIZE"),
    ("State", "STATE"),
    ("Status", "STATUS"),
];

const LAYOUT: Layout = Layout { fields: LIST_FIELDS, table: TABLE, quiet: "{{.ID}}" };

const LAYOUT_WITH_SIZE: Layout = Layout {
    fields: LAYOUT.fields,
    table: "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}\t{{.Size}}",
    quiet: LAYOUT.quiet,
};

pub(crate) async fn ls(session: &Session, args: Args) -> anyhow::Result<u8> {
    let layout = if args.size { &LAYOUT_WITH_SIZE } else { &LAYOUT };
    let config = session.config();
    let format = Format::choose(layout, &args.format, &config.ps_format, args.quiet);
    if args.quiet && !args.format.is_empty() && args.format != "table" {
        session.warn("WARNING: Ignoring custom format, because both --format and --quiet are set.");
    }
    let limit = if args.latest && args.last == -1 { 1 } else { args.last };
    let size = args.size || (!args.quiet && format.parse()?.mentions("Size"));
    let target = Target::new("/containers/json")
        .flag("all", args.all)
        .maybe("limit", (limit > 0).then(|| limit.to_string()))
        .flag("size", size)
        .maybe("filters", filter::json(&args.filter));
    let containers: Vec<ContainerSummary> = session.client()?.get(&target).await?;
    let lines: Vec<Line> =
        containers.iter().map(|container| Row { container, full: args.no_trunc }.line()).collect();
    let format = if args.quiet { Format::choose(layout, "", "", true) } else { format };
    session.text(&format.render(layout, &lines)?);
    Ok(0)
}

/// One container as a line.
pub(crate) struct Row<'a> {
    /// Whose.
    pub(crate) container: &'a ContainerSummary,
    /// Nothing is cut.
    pub(crate) full: bool,
}

impl Row<'_> {
    /// All that can be shown of it.
    pub(crate) fn line(&self) -> Line {
        let c = self.container;
        let id = if self.full { c.id.as_str() } else { human::short_id(&c.id) };
        let mounts: Vec<String> = c
            .mounts
            .iter()
            .map(|mount| if mount.name.is_empty() { &mount.source } else { &mount.name })
            .map(|name| if self.full { name.clone() } else { human::ellipsis(name, 15) })
            .collect();
        let labels: Vec<String> = c.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let networks: Vec<&str> = c.network_settings.networks.keys().map(String::as_str).collect();
        let command = if self.full { c.command.clone() } else { human::ellipsis(&c.command, 20) };
        let locals = c.mounts.iter().filter(|mount| mount.driver == "local").count();
        let mut all = fields(vec![
            ("Command", quote(&command)),
            ("CreatedAt", human::moment(c.created)),
            ("ID", id.to_owned()),
            ("Image", self.image()),
            ("Labels", labels.join(",")),
            ("LocalVolumes", locals.to_string()),
            ("Mounts", mounts.join(",")),
            ("Names", self.names()),
            ("Networks", networks.join(",")),
            ("Ports", ports(&c.ports)),
            ("RunningFor", human::ago(c.created)),
            ("Size", self.size()),
            ("State", c.state.clone()),
            ("Status", c.status.clone()),
        ]);
        if let Value::Map(entries) = &mut all {
            let platform = c.image_manifest_descriptor.as_ref().and_then(|d| d.platform.as_ref());
            let value = platform.and_then(|platform| serde_json::to_vec(platform).ok());
            let value = value.and_then(|json| Value::from_json(&json).ok()).unwrap_or_default();
            let at = entries.partition_point(|(name, _)| name.as_str() < "Platform");
            entries.insert(at, ("Platform".to_owned(), value));
        }
        Line { fields: all, labels: c.labels.clone() }
    }

    fn image(&self) -> String {
        let image = self.container.image.as_str();
        if image.is_empty() {
            return "<no image>".to_owned();
        }
        if self.full {
            return image.to_owned();
        }
        if human::short_id(image) == human::short_id(&self.container.image_id) {
            return human::short_id(image).to_owned();
        }
        // A tag says enough; the digest behind it does not fit.
        match image.split_once('@') {
            Some((name, _)) if name.rsplit('/').next().is_some_and(|n| n.contains(':')) => {
                name.to_owned()
            }
            _ => image.to_owned(),
        }
    }

    fn names(&self) -> String {
        let bare = self.container.names.iter().map(|name| name.trim_start_matches('/'));
        let shown: Vec<&str> = bare.filter(|name| self.full || !name.contains('/')).collect();
        shown.join(",")
    }

    fn size(&self) -> String {
        let own = human::size(self.container.size_rw.unwrap_or(0), 3);
        match self.container.size_root_fs.unwrap_or(0) {
            0 => own,
            all => format!("{own} (virtual {})", human::size(all, 3)),
        }
    }
}

/// `0.0.0.0:8080->80/tcp, 90-92/udp`: neighbouring ports are shown as a range.
pub(crate) fn ports(ports: &[Port]) -> String {
    let mut sorted: Vec<&Port> = ports.iter().collect();
    sorted.sort_by(|a, b| {
        (a.private_port, &a.ip, a.public_port, &a.kind).cmp(&(
            b.private_port,
            &b.ip,
            b.public_port,
            &b.kind,
        ))
    });
    let joined = |ip: &str, range: &str| {
        if ip.contains(':') { format!("[{ip}]:{range}") } else { format!("{ip}:{range}") }
    };
    let range = |first: u16, last: u16| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    let shown = |ip: &str, kind: &str, first: u16, last: u16| {
        let range = range(first, last);
        if ip.is_empty() {
            format!("{range}/{kind}")
        } else {
            format!("{}->{range}/{kind}", joined(ip, &range))
        }
    };
    let mut groups: BTreeMap<(String, String), (u16, u16)> = BTreeMap::new();
    let mut order: Vec<(String, String)> = Vec::new();
    let (mut result, mut mappings) = (Vec::new(), Vec::new());
    for port in sorted {
        let here = port.private_port;
        if !port.ip.is_empty() && port.public_port != here {
            let outside = joined(&port.ip, &port.public_port.to_string());
            mappings.push(format!("{outside}->{here}/{}", port.kind));
            continue;
        }
        let key = (port.ip.clone(), port.kind.clone());
        match groups.get_mut(&key) {
            None => {
                groups.insert(key.clone(), (here, here));
                order.push(key);
            }
            Some((_, last)) if here == last.wrapping_add(1) => *last = here,
            Some((_, last)) if here == *last => {}
            Some(group) => {
                result.push(shown(&key.0, &key.1, group.0, group.1));
                *group = (here, here);
            }
        }
    }
    for key in &order {
        if let Some((first, last)) = groups.get(key) {
            result.push(shown(&key.0, &key.1, *first, *last));
        }
    }
    result.extend(mappings);
    result.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(ip: &str, private: u16, public: u16, kind: &str) -> Port {
        Port { ip: ip.into(), private_port: private, public_port: public, kind: kind.into() }
    }

    #[test]
    fn neighbouring_ports_make_a_range() {
        assert_eq!(
            ports(&[
                port("", 80, 0, "tcp"),
                port("", 81, 0, "tcp"),
                port("", 82, 0, "tcp"),
                port("", 90, 0, "udp"),
                port("0.0.0.0", 8080, 8080, "tcp"),
                port("0.0.0.0", 8081, 8081, "tcp"),
                port("::", 443, 9443, "tcp"),
            ]),
            "80-82/tcp, 90/udp, 0.0.0.0:8080-8081->8080-8081/tcp, [::]:9443->443/tcp"
        );
    }
}
