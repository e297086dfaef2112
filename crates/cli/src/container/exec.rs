//! `exec`.

use docker_api::IdResponse;
use docker_api::client::{Error, Target};
use docker_api::exec::{ExecCreateBody, ExecInspect, ExecStartBody};

use super::run::{detach_keys, status_byte};
use crate::failure::Failure;
use crate::options::env;
use crate::session::Session;
use crate::terminal::attach::{End, Plan, carry};
use crate::terminal::signals::follow_size;
use crate::terminal::{self, Raw};

/// `exec`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run in the background
    #[arg(short, long)]
    detach: bool,
    /// Key sequence that detaches
    #[arg(long, default_value = "", hide_default_value = true)]
    detach_keys: String,
    /// Set an environment variable
    #[arg(short, long, value_parser = env::variable)]
    env: Vec<String>,
    /// Read environment variables from a file
    #[arg(long)]
    env_file: Vec<String>,
    /// Attach standard input
    #[arg(short, long)]
    interactive: bool,
    /// Take down every wall but the namespaces
    #[arg(long)]
    privileged: bool,
    /// Give the process a terminal
    #[arg(short, long)]
    tty: bool,
    /// User, or user:group, by name or number
    #[arg(short, long, default_value = "", hide_default_value = true)]
    user: String,
    /// Working directory
    #[arg(short, long, default_value = "", hide_default_value = true)]
    workdir: String,
    /// Container, command and its arguments
    #[arg(value_name = "CONTAINER")]
    words: Vec<String>,
}

impl Args {
    /// The body of the create request.
    fn body(&self, keys: &str) -> Result<ExecCreateBody, String> {
        let attach = !self.detach;
        Ok(ExecCreateBody {
            user: self.user.clone(),
            privileged: self.privileged,
            tty: self.tty,
            console_size: if attach && self.tty { terminal::size() } else { None },
            attach_stdin: attach && self.interactive,
            attach_stdout: attach,
            attach_stderr: attach,
            detach_keys: keys.to_owned(),
            env: env::gather(&self.env_file, &self.env, true)?,
            working_dir: self.workdir.clone(),
            cmd: self.words.get(1..).unwrap_or_default().to_vec().into(),
            ..ExecCreateBody::default()
        })
    }
}

pub(crate) async fn exec(session: &Session, args: Args) -> anyhow::Result<u8> {
    let client = session.client()?;
    let name = args.words.first().map_or("", String::as_str);
    let (keys, sequence) = detach_keys(session, &args.detach_keys)?;
    if !args.detach && args.interactive && args.tty && !terminal::stdin_is_terminal() {
        return Err(Failure::with(1, "the input device is not a TTY"));
    }
    let body = args.body(&keys).map_err(anyhow::Error::msg)?;
    let made: IdResponse = client.post(&Target::named("/containers", name, "/exec"), &body).await?;
    // A status in the stream is ours alone: other daemons are asked for it afterwards.
    let start = Target::named("/exec", &made.id, "/start").flag("status", !args.tty);
    let begin =
        ExecStartBody { detach: args.detach, tty: args.tty, console_size: body.console_size };
    if args.detach {
        client.post_only(&start, &begin).await?;
        return Ok(0);
    }
    let plan = Plan {
        tty: args.tty,
        stdin: args.interactive,
        stdout: true,
        stderr: !args.tty,
        detach: args.tty.then_some(sequence),
    };
    let connection =
        client.hijack(&start, Some(serde_json::to_vec(&begin)?.into())).await.map_err(refused)?;
    let raw = (plan.tty && plan.stdin).then(Raw::enter).flatten();
    let end = tokio::select! {
        end = carry(connection, &plan) => end?,
        () = follow_size(client, "/exec", &made.id), if plan.tty => End::Closed,
    };
    drop(raw);
    match end {
        End::Detached => return Err(Failure::with(1, "read escape sequence")),
        End::Exited(status) => return Ok(status_byte(status.into())),
        End::Closed => {}
    }
    let inspect: ExecInspect = client.get(&Target::named("/exec", &made.id, "/json")).await?;
    Ok(status_byte(inspect.exit_code.unwrap_or(0).into()))
}

/// A start that the daemon refused: 127 for a program that is not there, 126 for one that may
/// not run.
fn refused(error: Error) -> anyhow::Error {
    let text = crate::failure::describe_client(&error);
    if text.contains("executable file not found") || text.contains("no such file or directory") {
        Failure::with(127, text)
    } else if text.contains("permission denied") && error.status().is_some() {
        Failure::with(126, text)
    } else {
        error.into()
    }
}
