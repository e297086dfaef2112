//! `start`.

use docker_api::client::Target;
use docker_api::container::ContainerInspect;

use super::run::{detach_keys, follow, open, wait_for};
use crate::failure::{Failure, for_each};
use crate::session::Session;
use crate::terminal;
use crate::terminal::attach::Plan;
use crate::terminal::signals::Proxy;

/// `start`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Attach to what it writes and pass signals on
    #[arg(short, long)]
    attach: bool,
    /// Attach to its standard input
    #[arg(short, long)]
    interactive: bool,
    /// Key sequence that detaches
    #[arg(long, default_value = "", hide_default_value = true)]
    detach_keys: String,
    /// Not supported here
    #[arg(long, default_value = "", hide = true)]
    checkpoint: String,
    /// Not supported here
    #[arg(long, default_value = "", hide = true)]
    checkpoint_dir: String,
    /// Containers
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) async fn start(session: &Session, args: Args) -> anyhow::Result<u8> {
    if !args.checkpoint.is_empty() || !args.checkpoint_dir.is_empty() {
        anyhow::bail!("checkpoints are not supported");
    }
    let client = session.client()?;
    if !args.attach && !args.interactive {
        return for_each(session, &args.containers, async |name| {
            client.post_empty(&Target::named("/containers", name, "/start")).await?;
            Ok(Some(name.to_owned()))
        })
        .await;
    }
    let [name] = args.containers.as_slice() else {
        anyhow::bail!("you cannot start and attach multiple containers at once");
    };
    let inspect: ContainerInspect =
        client.get(&Target::named("/containers", name, "/json")).await?;
    let config = &inspect.config;
    let (keys, sequence) = detach_keys(session, &args.detach_keys)?;
    let plan = Plan {
        tty: config.tty,
        stdin: args.interactive && config.open_stdin,
        stdout: true,
        stderr: !config.tty,
        detach: config.tty.then_some(sequence),
    };
    if plan.stdin && plan.tty && !terminal::stdin_is_terminal() {
        return Err(Failure::with(1, "the input device is not a TTY"));
    }
    let proxy = (!config.tty).then(Proxy::catch).transpose()?;
    let id = inspect.id.as_str();
    let condition = if inspect.host_config.auto_remove { "removed" } else { "next-exit" };
    let (connection, wait) =
        tokio::try_join!(async { open(client, id, &plan, &keys).await }, async {
            wait_for(client, id, condition).await
        },)?;
    client.post_empty(&Target::named("/containers", id, "/start")).await?;
    Ok(follow(client, id, &plan, connection, wait, proxy).await?.unwrap_or(0))
}
