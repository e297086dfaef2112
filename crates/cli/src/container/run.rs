//! `run`: create, attach, wait, start, carry bytes, end with the container's status.
//!
//! The order matters. The connection that waits for the end is open before the start, so an
//! end is never missed; the one that carries bytes is too, so no byte is.

use docker_api::client::{Client, Error, Hijacked, JsonStream, Target, empty};
use docker_api::container::{CreateBody, WaitResponse};

use super::create::{body, check_pull, make};
use super::flags::ContainerFlags;
use crate::failure::{Failure, describe, describe_client};
use crate::session::Session;
use crate::terminal::attach::{End, Plan, carry};
use crate::terminal::signals::{Proxy, follow_size, forward};
use crate::terminal::{self, Raw, detach};

/// `run`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run in the background and print the id
    #[arg(short, long)]
    detach: bool,
    /// Key sequence that detaches
    #[arg(long, default_value = "", hide_default_value = true)]
    detach_keys: String,
    /// Pass signals on to the container
    #[arg(long, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", hide_default_value = true, value_parser = crate::verbs::switch)]
    sig_proxy: bool,
    #[command(flatten)]
    flags: ContainerFlags,
    /// Image, command and its arguments
    #[arg(value_name = "IMAGE")]
    words: Vec<String>,
}

pub(crate) async fn run(session: &Session, args: Args) -> anyhow::Result<u8> {
    let mut body = body(&args.flags, &args.words)?;
    check_pull(&args.flags)?;
    if args.detach {
        if !args.flags.process.attach.is_empty() {
            return Err(Failure::with(
                1,
                "conflicting options: cannot specify both --attach and --detach",
            ));
        }
        let config = &mut body.config;
        config.attach_stdin = false;
        config.attach_stdout = false;
        config.attach_stderr = false;
        config.stdin_once = false;
    } else if body.config.attach_stdin && body.config.tty && !terminal::stdin_is_terminal() {
        return Err(Failure::with(1, "the input device is not a TTY"));
    }
    if let Some(size) = terminal::size() {
        body.host_config.console_size = size;
    }
    let keys = detach_keys(session, &args.detach_keys)?;
    // Signals that come while the container is being made reach it once it runs.
    let proxy = (!args.detach && args.sig_proxy).then(Proxy::catch).transpose()?;
    let made = make(session, &args.flags, &mut body)
        .await
        .map_err(|error| if error.is::<Failure>() { error } else { refused(&describe(&error)) })?;
    let client = session.client()?;
    if args.detach {
        start(client, &made.id).await?;
        session.line(&made.id);
        return Ok(0);
    }
    attached(session, &made.id, &body, keys, proxy).await
}

/// The sequence as typed or configured: as the daemon takes it, and as bytes.
pub(super) fn detach_keys(session: &Session, given: &str) -> anyhow::Result<(String, Vec<u8>)> {
    let text = match given {
        "" => session.config().detach_keys.clone(),
        given => given.to_owned(),
    };
    let keys = detach::parse(&text)
        .map_err(|reason| Failure::with(125, format!("invalid detach keys ({text}): {reason}")))?;
    Ok((text, keys))
}

async fn start(client: &Client, id: &str) -> anyhow::Result<()> {
    let target = Target::named("/containers", id, "/start");
    client.post_empty(&target).await.map_err(|error| refused(&describe_client(&error)))
}

/// What was not created or not started, with the status that Docker gives it: 127 for a program
/// (or any file) that is not there, 126 for one that may not be used.
fn refused(text: &str) -> anyhow::Error {
    let has = |words: &str| text.contains(words);
    let status = if has("executable file not found") || has("no such file or directory") {
        127
    } else if has("permission denied") || has("is a directory") {
        126
    } else {
        125
    };
    Failure::with(status, format!("isopod: {text}\n\nRun 'isopod run --help' for more information"))
}

/// Opens the connection that carries bytes.
pub(super) async fn open(
    client: &Client,
    id: &str,
    plan: &Plan,
    keys: &str,
) -> Result<Hijacked, Error> {
    let target = Target::named("/containers", id, "/attach")
        .with("stream", "1")
        .flag("stdin", plan.stdin)
        .flag("stdout", plan.stdout)
        .flag("stderr", plan.stderr)
        .maybe("detachKeys", Some(keys).filter(|keys| !keys.is_empty()));
    client.hijack(&target, None).await
}

/// Opens the connection that waits for the end.
pub(super) async fn wait_for(
    client: &Client,
    id: &str,
    condition: &str,
) -> Result<JsonStream<WaitResponse>, Error> {
    let target = Target::named("/containers", id, "/wait").with("condition", condition);
    client.json_stream(docker_api::client::Method::POST, &target, None, empty()).await
}

/// Carries a container's streams, sizes and signals until it has ended. Returns its exit status;
/// `None` when the user detached.
pub(super) async fn follow(
    client: &Client,
    id: &str,
    plan: &Plan,
    connection: Hijacked,
    wait: JsonStream<WaitResponse>,
    mut proxy: Option<Proxy>,
) -> anyhow::Result<Option<u8>> {
    let raw = (plan.tty && plan.stdin).then(Raw::enter).flatten();
    let end = tokio::select! {
        end = carry(connection, plan) => end?,
        error = forward(proxy.as_mut(), client, id) => return Err(error),
        () = follow_size(client, "/containers", id), if plan.tty => End::Closed,
    };
    drop(raw);
    if end == End::Detached {
        return Ok(None);
    }
    tokio::select! {
        status = exit_status(wait) => status.map(Some),
        error = forward(proxy.as_mut(), client, id) => Err(error),
    }
}

/// The status that the connection brings.
async fn exit_status(mut wait: JsonStream<WaitResponse>) -> anyhow::Result<u8> {
    match wait.next().await {
        Ok(Some(WaitResponse { error: Some(error), .. })) if !error.message.is_empty() => {
            Err(Failure::with(125, format!("Error waiting for container: {}", error.message)))
        }
        Ok(Some(answer)) => Ok(status_byte(answer.status_code)),
        Ok(None) => {
            Err(Failure::with(125, "error waiting for container: the daemon closed the connection"))
        }
        Err(error) => Err(Failure::with(
            125,
            format!("error waiting for container: {}", describe_client(&error)),
        )),
    }
}

/// An exit status as a process can have it.
pub(super) fn status_byte(status: i64) -> u8 {
    u8::try_from(status & 0xff).unwrap_or(255)
}

/// Attaches, starts and follows; the exit status.
pub(super) async fn attached(
    session: &Session,
    id: &str,
    body: &CreateBody,
    (keys, sequence): (String, Vec<u8>),
    proxy: Option<Proxy>,
) -> anyhow::Result<u8> {
    let client = session.client()?;
    let config = &body.config;
    let plan = Plan {
        tty: config.tty,
        stdin: config.attach_stdin,
        stdout: config.attach_stdout,
        stderr: config.attach_stderr && !config.tty,
        detach: config.tty.then_some(sequence),
    };
    let condition = if body.host_config.auto_remove { "removed" } else { "next-exit" };
    let (connection, wait) =
        tokio::try_join!(async { open(client, id, &plan, &keys).await }, async {
            wait_for(client, id, condition).await
        },)?;
    if let Err(error) = start(client, id).await {
        drop(connection);
        if body.host_config.auto_remove {
            // The daemon removes what did not start; be sure that it is gone when we are.
            let _ =
                tokio::time::timeout(std::time::Duration::from_secs(10), exit_status(wait)).await;
        }
        return Err(error);
    }
    let status = follow(client, id, &plan, connection, wait, proxy).await?;
    Ok(status.unwrap_or(0))
}
