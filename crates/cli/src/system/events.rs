//! `events`.

use docker_api::client::{Method, Target, empty};
use docker_api::event::EventMessage;
use types::Timestamp;

use crate::failure::Failure;
use crate::options::{filter, moment};
use crate::session::Session;
use crate::show::human;
use crate::template::{self, Mode, Value};

/// `events`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show only those that fit: container=, event=, type=, image=, label=, …
    #[arg(short, long, value_parser = filter::parse)]
    filter: Vec<(String, String)>,
    /// How to show them: json or a template
    #[arg(long, default_value = "", hide_default_value = true)]
    format: String,
    /// From this moment on: a time, or so long ago (42m)
    #[arg(long)]
    since: Option<String>,
    /// Up to this moment
    #[arg(long)]
    until: Option<String>,
}

pub(crate) async fn events(session: &Session, args: Args) -> anyhow::Result<u8> {
    let format = match args.format.as_str() {
        "" => None,
        "json" => Some("{{json .}}".to_owned()),
        text => Some(text.replace("\\t", "\t").replace("\\n", "\n")),
    };
    let template = format
        .map(|text| template::parse(&text))
        .transpose()
        .map_err(|error| Failure::with(64, error.to_string()))?;
    let now = Timestamp::now();
    let moment = |text: &Option<String>| -> anyhow::Result<Option<String>> {
        text.as_deref()
            .filter(|text| !text.is_empty())
            .map(|text| moment::read(text, now))
            .transpose()
            .map_err(anyhow::Error::msg)
    };
    let target = Target::new("/events")
        .maybe("since", moment(&args.since)?)
        .maybe("until", moment(&args.until)?)
        .maybe("filters", filter::json(&args.filter));
    let mut stream =
        session.client()?.json_stream::<Value>(Method::GET, &target, None, empty()).await?;
    while let Some(event) = stream.next().await? {
        match &template {
            Some(template) => session.line(&template.execute(&event, None, Mode::Values)?),
            None => session.line(&plain(&event)?),
        }
    }
    Ok(0)
}

/// `2025-01-02T15:04:05.000000000Z container start <id> (image=busybox, name=x)`.
fn plain(event: &Value) -> anyhow::Result<String> {
    let event: EventMessage = serde_json::from_str(&serde_json::to_string(event)?)?;
    let nanoseconds = match event.time_nano {
        0 => event.time.saturating_mul(1_000_000_000),
        nanoseconds => nanoseconds,
    };
    let time = human::rfc3339_local(nanoseconds);
    let mut text = format!("{time} {} {} {}", event.kind, event.action, event.actor.id);
    if !event.actor.attributes.is_empty() {
        let attributes: Vec<String> =
            event.actor.attributes.iter().map(|(k, v)| format!("{k}={v}")).collect();
        text.push_str(&format!(" ({})", attributes.join(", ")));
    }
    Ok(text)
}
