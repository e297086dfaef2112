//! `inspect` of anything: an indented list, or a template for each.

use docker_api::client::Error;

use crate::failure::{Failure, describe_client};
use crate::session::Session;
use crate::template::{self, Mode, Value};

/// The options of an `inspect` that has no more than these.
#[derive(Debug, clap::Args)]
pub(crate) struct InspectArgs {
    /// How to show them: json or a template
    #[arg(short, long, default_value = "", hide_default_value = true)]
    pub(crate) format: String,
    /// Names or ids
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
}

/// Fetches each name and shows what was found; what was not is complained about afterwards.
pub(crate) async fn show<F>(
    session: &Session,
    names: &[String],
    format: &str,
    mut fetch: F,
) -> anyhow::Result<u8>
where
    F: AsyncFnMut(&str) -> Result<Value, Error>,
{
    let template = match format {
        "" | "json" => None,
        text => Some(template::parse(text).map_err(|error| Failure::with(64, error.to_string()))?),
    };
    let mut found = Vec::new();
    let mut failed = Vec::new();
    for name in names {
        match fetch(name).await {
            Ok(value) => found.push(value),
            Err(error @ Error::Connect { .. }) => return Err(error.into()),
            Err(error) => failed.push(describe_client(&error)),
        }
    }
    let text = match &template {
        Some(template) => {
            let mut text = String::new();
            for value in &found {
                text.push_str(&template.execute(value, None, Mode::Values)?);
                text.push('\n');
            }
            text
        }
        None if format == "json" => serde_json::to_string(&found)? + "\n",
        None => indented(&found)? + "\n",
    };
    session.text(&text);
    if failed.is_empty() { Ok(0) } else { Err(Failure::with(1, failed.join("\n"))) }
}

/// JSON with four blanks a level, as Docker prints it.
pub(crate) fn indented<T: serde::Serialize>(value: &T) -> anyhow::Result<String> {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    value.serialize(&mut serializer)?;
    Ok(String::from_utf8(text)?)
}
