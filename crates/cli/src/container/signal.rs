//! `stop`, `restart`, `kill`, `pause`, `unpause`.

use docker_api::client::Target;

use crate::failure::for_each;
use crate::session::Session;

/// Names alone.
#[derive(Debug, clap::Args)]
pub(crate) struct Names {
    /// Containers
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// `stop` and `restart`.
#[derive(Debug, clap::Args)]
pub(crate) struct StopArgs {
    /// Signal that asks them to end
    #[arg(short, long, default_value = "", hide_default_value = true)]
    signal: String,
    /// Seconds until they are killed; -1 for never
    #[arg(short, long, alias = "time")]
    timeout: Option<i64>,
    /// Containers
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// `kill`.
#[derive(Debug, clap::Args)]
pub(crate) struct KillArgs {
    /// Signal to send
    #[arg(short, long, default_value = "", hide_default_value = true)]
    signal: String,
    /// Containers
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Posts to each and prints its name.
async fn post_each(
    session: &Session,
    names: &[String],
    target: impl Fn(&str) -> Target,
) -> anyhow::Result<u8> {
    let client = session.client()?;
    for_each(session, names, async |name| {
        client.post_empty(&target(name)).await?;
        Ok(Some(name.to_owned()))
    })
    .await
}

fn stop_target(name: &str, verb: &str, args: &StopArgs) -> Target {
    Target::named("/containers", name, verb)
        .maybe("signal", Some(&args.signal).filter(|signal| !signal.is_empty()))
        .maybe("t", args.timeout.map(|seconds| seconds.to_string()))
}

/// Acts on all at once: each may take its ten seconds.
async fn stop_all(session: &Session, args: &StopArgs, verb: &str) -> anyhow::Result<u8> {
    use futures_util::stream::{FuturesOrdered, StreamExt as _};
    let client = session.client()?;
    let mut running: FuturesOrdered<_> = args
        .containers
        .iter()
        .map(async |name| (name, client.post_empty(&stop_target(name, verb, args)).await))
        .collect();
    let mut failed = Vec::new();
    while let Some((name, outcome)) = running.next().await {
        match outcome {
            Ok(()) => session.line(name),
            Err(error @ docker_api::client::Error::Connect { .. }) => return Err(error.into()),
            Err(error) => failed.push(crate::failure::describe_client(&error)),
        }
    }
    if failed.is_empty() { Ok(0) } else { Err(crate::failure::Failure::with(1, failed.join("\n"))) }
}

pub(crate) async fn stop(session: &Session, args: StopArgs) -> anyhow::Result<u8> {
    stop_all(session, &args, "/stop").await
}

pub(crate) async fn restart(session: &Session, args: StopArgs) -> anyhow::Result<u8> {
    stop_all(session, &args, "/restart").await
}

pub(crate) async fn kill(session: &Session, args: KillArgs) -> anyhow::Result<u8> {
    post_each(session, &args.containers, |name| {
        Target::named("/containers", name, "/kill")
            .maybe("signal", Some(&args.signal).filter(|signal| !signal.is_empty()))
    })
    .await
}

pub(crate) async fn pause(session: &Session, args: Names) -> anyhow::Result<u8> {
    post_each(session, &args.containers, |name| Target::named("/containers", name, "/pause")).await
}

pub(crate) async fn unpause(session: &Session, args: Names) -> anyhow::Result<u8> {
    post_each(session, &args.containers, |name| Target::named("/containers", name, "/unpause"))
        .await
}
