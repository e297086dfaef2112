//! Commands about networks.

mod create;
mod ls;

use docker_api::client::{Client, Error, Target};
use docker_api::network::{NetworkConnectBody, NetworkDisconnectBody, NetworksPruneReport};
use types::network::{EndpointIpamConfig, EndpointSettings};

use crate::failure::for_each;
use crate::options::{filter, words};
use crate::prune::{Flags, Report};
use crate::session::Session;
use crate::show::inspect::show;
use crate::template::Value;
use crate::verbs::{MANY, Verb, verb};

/// The commands.
pub(crate) static VERBS: &[Verb] = &[
    verb!("connect", [], 2..=2, "[OPTIONS] NETWORK CONTAINER", "Connect a container to a network",
        ConnectArgs => connect),
    verb!("create", [], 1..=1, "[OPTIONS] NETWORK", "Create a network", create::Args => create::create),
    verb!("disconnect", [], 2..=2, "[OPTIONS] NETWORK CONTAINER", "Disconnect a container from a network",
        DisconnectArgs => disconnect),
    verb!("inspect", [], 1..=MANY, "[OPTIONS] NETWORK [NETWORK...]", "Show all that is known of networks",
        InspectArgs => inspect),
    verb!("ls", ["list"], 0..=0, "[OPTIONS]", "List networks", ls::Args => ls::ls),
    verb!("prune", [], 0..=0, "[OPTIONS]", "Remove networks that nobody uses", PruneArgs => prune),
    verb!("rm", ["remove"], 1..=MANY, "NETWORK [NETWORK...]", "Remove networks", RmArgs => rm),
];

/// `connect`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct ConnectArgs {
    /// Further name in the network
    #[arg(long)]
    alias: Vec<String>,
    /// Option for the network's driver: NAME=VALUE
    #[arg(long)]
    driver_opt: Vec<String>,
    /// The network with the highest gives the default gateway
    #[arg(long, default_value = "0", hide_default_value = true)]
    gw_priority: i64,
    /// IPv4 address
    #[arg(long, default_value = "", hide_default_value = true)]
    ip: String,
    /// IPv6 address
    #[arg(long, default_value = "", hide_default_value = true)]
    ip6: String,
    /// Link to another container: NAME[:ALIAS]
    #[arg(long, value_parser = words::link)]
    link: Vec<String>,
    /// Link-local address
    #[arg(long)]
    link_local_ip: Vec<String>,
    /// Network and container
    #[arg(value_name = "NETWORK")]
    names: Vec<String>,
}

async fn connect(session: &Session, args: ConnectArgs) -> anyhow::Result<u8> {
    let [network, container] = args.names.as_slice() else {
        anyhow::bail!("a network and a container are needed");
    };
    for option in &args.driver_opt {
        if !option.contains('=') {
            anyhow::bail!("invalid key/value pair format in driver options");
        }
    }
    let body = NetworkConnectBody {
        container: container.clone(),
        endpoint_config: Some(EndpointSettings {
            ipam_config: Some(EndpointIpamConfig {
                ipv4_address: args.ip,
                ipv6_address: args.ip6,
                link_local_ips: args.link_local_ip,
            }),
            links: args.link,
            aliases: args.alias,
            driver_opts: words::map(&args.driver_opt),
            gw_priority: args.gw_priority,
            ..EndpointSettings::default()
        }),
    };
    session.client()?.post_only(&Target::named("/networks", network, "/connect"), &body).await?;
    Ok(0)
}

/// `disconnect`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct DisconnectArgs {
    /// Even if the container does not run
    #[arg(short, long)]
    force: bool,
    /// Network and container
    #[arg(value_name = "NETWORK")]
    names: Vec<String>,
}

async fn disconnect(session: &Session, args: DisconnectArgs) -> anyhow::Result<u8> {
    let [network, container] = args.names.as_slice() else {
        anyhow::bail!("a network and a container are needed");
    };
    let body = NetworkDisconnectBody { container: container.clone(), force: args.force };
    session.client()?.post_only(&Target::named("/networks", network, "/disconnect"), &body).await?;
    Ok(0)
}

/// `inspect`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct InspectArgs {
    /// How to show them: json or a template
    #[arg(short, long, default_value = "", hide_default_value = true)]
    format: String,
    /// Show more
    #[arg(short, long)]
    verbose: bool,
    /// Networks
    #[arg(value_name = "NETWORK")]
    networks: Vec<String>,
}

/// All that is known of a network.
pub(crate) async fn fetch_inspect(client: &Client, name: &str) -> Result<Value, Error> {
    client.get(&Target::named("/networks", name, "")).await
}

async fn inspect(session: &Session, args: InspectArgs) -> anyhow::Result<u8> {
    let client = session.client()?;
    show(session, &args.networks, &args.format, async |name| {
        let target =
            Target::named("/networks", name, "").maybe("verbose", args.verbose.then_some("true"));
        client.get(&target).await
    })
    .await
}

/// `rm`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct RmArgs {
    /// It is fine if there is none
    #[arg(short, long)]
    force: bool,
    /// Networks
    #[arg(value_name = "NETWORK")]
    networks: Vec<String>,
}

async fn rm(session: &Session, args: RmArgs) -> anyhow::Result<u8> {
    let client = session.client()?;
    for_each(session, &args.networks, async |name| {
        match client.delete(&Target::named("/networks", name, "")).await {
            Err(error) if args.force && error.is_not_found() => Ok(None),
            other => other.map(|()| Some(name.to_owned())).map_err(Into::into),
        }
    })
    .await
}

/// `prune`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct PruneArgs {
    #[command(flatten)]
    flags: Flags,
}

async fn prune(session: &Session, args: PruneArgs) -> anyhow::Result<u8> {
    let warning = "This will remove all custom networks not used by at least one container.";
    args.flags.sure(session, warning)?;
    prune_all(session, &args.flags.filter).await?.list(session);
    Ok(0)
}

/// Removes them.
pub(crate) async fn prune_all(
    session: &Session,
    filters: &[(String, String)],
) -> anyhow::Result<Report> {
    let target = Target::new("/networks/prune").maybe("filters", filter::json(filters));
    let report: NetworksPruneReport = session.client()?.post_for(&target).await?;
    Ok(Report::new("Deleted Networks:", report.networks_deleted, 0))
}
