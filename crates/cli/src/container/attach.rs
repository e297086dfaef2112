//! `attach`.

use docker_api::client::Target;
use docker_api::container::ContainerInspect;

use super::run::{detach_keys, follow, open, wait_for};
use crate::failure::Failure;
use crate::session::Session;
use crate::terminal;
use crate::terminal::attach::Plan;
use crate::terminal::signals::Proxy;

/// `attach`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Key sequence that detaches
    #[arg(long, default_value = "", hide_default_value = true)]
    detach_keys: String,
    /// Do not attach standard input
    #[arg(long)]
    no_stdin: bool,
    /// Pass signals on to the container
    #[arg(long, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", hide_default_value = true, value_parser = crate::verbs::switch)]
    sig_proxy: bool,
    /// Container
    #[arg(value_name = "CONTAINER")]
    container: Vec<String>,
}

pub(crate) async fn attach(session: &Session, args: Args) -> anyhow::Result<u8> {
    let client = session.client()?;
    let name = args.container.first().map_or("", String::as_str);
    let inspect: ContainerInspect =
        client.get(&Target::named("/containers", name, "/json")).await?;
    if !inspect.state.running {
        anyhow::bail!(
            "cannot attach to a stopped container, start it first: isopod start -a {name}"
        );
    }
    if inspect.state.paused {
        anyhow::bail!(
            "cannot attach to a paused container, unpause it first: isopod unpause {name}"
        );
    }
    if inspect.state.restarting {
        anyhow::bail!("cannot attach to a restarting container, wait until it is running");
    }
    let config = &inspect.config;
    let (keys, sequence) = detach_keys(session, &args.detach_keys)?;
    let plan = Plan {
        tty: config.tty,
        stdin: !args.no_stdin && config.open_stdin,
        stdout: true,
        stderr: !config.tty,
        detach: config.tty.then_some(sequence),
    };
    if plan.stdin && plan.tty && !terminal::stdin_is_terminal() {
        return Err(Failure::with(1, "the input device is not a TTY"));
    }
    let proxy = (args.sig_proxy && !config.tty).then(Proxy::catch).transpose()?;
    let id = inspect.id.as_str();
    // Where the container removes itself, "not running" could be asked of nothing.
    let (connection, wait) =
        tokio::try_join!(async { open(client, id, &plan, &keys).await }, async {
            wait_for(client, id, "not-running").await
        },)?;
    if let (true, Some([rows, columns])) = (plan.tty, terminal::size()) {
        // A program draws its prompt again only when the size changes, so it does.
        let target = Target::named("/containers", id, "/resize")
            .with("h", (rows + 1).to_string())
            .with("w", (columns + 1).to_string());
        let _ = client.post_empty(&target).await;
    }
    let status = follow(client, id, &plan, connection, wait, proxy).await?;
    status.ok_or_else(|| Failure::with(1, "read escape sequence"))
}
