//! `ls`.

use docker_api::client::Target;
use docker_api::network::NetworkInspect;

use crate::options::filter;
use crate::session::Session;
use crate::show::format::{Format, Layout, Line, fields};
use crate::show::human;

/// `ls`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show only those that fit: name=, id=, driver=, label=, type=, scope=, dangling=
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
}

const LAYOUT: Layout = Layout {
    fields: &[
        ("CreatedAt", "CREATED AT"),
        ("Driver", "DRIVER"),
        ("ID", "NETWORK ID"),
        ("IPv4", "IPV4"),
        ("IPv6", "IPV6"),
        ("Internal", "INTERNAL"),
        ("Labels", "LABELS"),
        ("Name", "NAME"),
        ("Scope", "SCOPE"),
    ],
    table: "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
    quiet: "{{.ID}}",
};

fn line(network: &NetworkInspect, full: bool) -> Line {
    let id = if full { network.id.as_str() } else { human::short_id(&network.id) };
    let labels: Vec<String> = network.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    // Go's `Time.String`, which is UTC here because the daemon's answer is.
    let created = network.created.to_string().replace('T', " ").replace('Z', " +0000 UTC");
    Line {
        fields: fields(vec![
            ("CreatedAt", created),
            ("Driver", network.driver.clone()),
            ("ID", id.to_owned()),
            ("IPv4", network.enable_ipv4.to_string()),
            ("IPv6", network.enable_ipv6.to_string()),
            ("Internal", network.internal.to_string()),
            ("Labels", labels.join(",")),
            ("Name", network.name.clone()),
            ("Scope", network.scope.clone()),
        ]),
        labels: network.labels.clone(),
    }
}

pub(crate) async fn ls(session: &Session, args: Args) -> anyhow::Result<u8> {
    let target = Target::new("/networks").maybe("filters", filter::json(&args.filter));
    let mut networks: Vec<NetworkInspect> = session.client()?.get(&target).await?;
    networks.sort_by(|a, b| a.name.cmp(&b.name));
    let lines: Vec<Line> = networks.iter().map(|network| line(network, args.no_trunc)).collect();
    let config = session.config();
    let format = Format::choose(&LAYOUT, &args.format, &config.networks_format, args.quiet);
    session.text(&format.render(&LAYOUT, &lines)?);
    Ok(0)
}
