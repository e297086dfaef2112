//! `logs`.

use docker_api::client::{Demux, Method, Stream, Target, empty};
use docker_api::container::ContainerInspect;
use types::Timestamp;

use crate::options::moment;
use crate::session::Session;
use crate::terminal::output;

/// `logs`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show what the log driver noted beside the line
    #[arg(long)]
    details: bool,
    /// Go on showing what comes
    #[arg(short, long)]
    follow: bool,
    /// From this moment on: a time, or so long ago (42m)
    #[arg(long)]
    since: Option<String>,
    /// How many lines from the end, or all
    #[arg(short = 'n', long, default_value = "all")]
    tail: String,
    /// Show the time of each line
    #[arg(short, long)]
    timestamps: bool,
    /// Up to this moment
    #[arg(long)]
    until: Option<String>,
    /// Container
    #[arg(value_name = "CONTAINER")]
    container: Vec<String>,
}

pub(crate) async fn logs(session: &Session, args: Args) -> anyhow::Result<u8> {
    let client = session.client()?;
    let name = args.container.first().map_or("", String::as_str);
    let now = Timestamp::now();
    let moment = |name: &str, text: &Option<String>| -> anyhow::Result<Option<String>> {
        text.as_deref()
            .filter(|text| !text.is_empty())
            .map(|text| moment::read(text, now))
            .transpose()
            .map_err(|reason| anyhow::anyhow!("invalid value for {name:?}: {reason}"))
    };
    let (since, until) = (moment("since", &args.since)?, moment("until", &args.until)?);
    let inspect: ContainerInspect =
        client.get(&Target::named("/containers", name, "/json")).await?;
    let target = Target::named("/containers", &inspect.id, "/logs")
        .with("stdout", "1")
        .with("stderr", "1")
        .flag("details", args.details)
        .flag("follow", args.follow)
        .maybe("since", since)
        .with("tail", &args.tail)
        .flag("timestamps", args.timestamps)
        .maybe("until", until);
    let answer = client.stream(Method::GET, &target, None, empty()).await?;
    let mut body = answer.into_body();
    let mut demux = Demux::default();
    while let Some(data) = docker_api::client::next_data(&mut body).await? {
        if inspect.config.tty {
            if output::stdout(&data).is_err() {
                return Ok(0);
            }
            continue;
        }
        demux.push(&data);
        while let Some(chunk) = demux.next_chunk()? {
            let written = match chunk.stream {
                Stream::Stderr => output::stderr(&chunk.data),
                Stream::System => {
                    let text = String::from_utf8_lossy(&chunk.data).into_owned();
                    anyhow::bail!("error from daemon in stream: {text}");
                }
                Stream::Stdin | Stream::Stdout => output::stdout(&chunk.data),
                Stream::Status => Ok(()),
            };
            if written.is_err() {
                return Ok(0);
            }
        }
    }
    Ok(0)
}
