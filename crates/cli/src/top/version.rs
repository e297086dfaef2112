//! `version`.

use std::fmt::Write as _;

use docker_api::client::Target;
use docker_api::system::Version;

use crate::failure::{Failure, describe_client};
use crate::session::Session;
use crate::template::{self, Mode, Value};

/// `version`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How to show it: json or a template
    #[arg(short, long, default_value = "", hide_default_value = true)]
    format: String,
}

/// Go's names of the machine.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn client(session: &Session) -> anyhow::Result<Value> {
    let text = |text: &str| Value::from(text);
    Ok(Value::Map(vec![
        ("Version".into(), text(env!("CARGO_PKG_VERSION"))),
        ("ApiVersion".into(), text(docker_api::API_VERSION)),
        ("DefaultAPIVersion".into(), text(docker_api::API_VERSION)),
        ("GitCommit".into(), text("")),
        ("GoVersion".into(), text("")),
        ("Os".into(), text(std::env::consts::OS)),
        ("Arch".into(), text(architecture())),
        ("BuildTime".into(), text("")),
        ("Context".into(), session.destination()?.context.as_str().into()),
    ]))
}

pub(crate) async fn version(session: &Session, args: Args) -> anyhow::Result<u8> {
    let target = Target::new("/version");
    if args.format.is_empty() {
        let mut text = format!(
            "Client:\n Version:           {}\n API version:       {}\n OS/Arch:           {}/{}\n Context:           {}\n",
            env!("CARGO_PKG_VERSION"),
            docker_api::API_VERSION,
            std::env::consts::OS,
            architecture(),
            session.destination()?.context
        );
        let answer = session.client()?.get::<Version>(&target).await;
        let failure = match answer {
            Ok(server) => {
                describe(&mut text, &server);
                None
            }
            Err(error) => Some(describe_client(&error)),
        };
        session.text(&text);
        return failure.map_or(Ok(0), |text| Err(Failure::with(1, text)));
    }
    let answer = session.client()?.get::<Value>(&target).await;
    let (server, failure) = match answer {
        Ok(server) => (server, None),
        Err(error) => (Value::Null, Some(describe_client(&error))),
    };
    let value = Value::Map(vec![("Client".into(), client(session)?), ("Server".into(), server)]);
    let shown = match args.format.as_str() {
        "json" => serde_json::to_string(&value)?,
        text => template::parse(text)
            .map_err(|error| Failure::with(64, error.to_string()))?
            .execute(&value, None, Mode::Values)
            .unwrap_or_default(),
    };
    session.line(&shown);
    failure.map_or(Ok(0), |text| Err(Failure::with(1, text)))
}

fn describe(out: &mut String, server: &Version) {
    let _ = write!(out, "\nServer:");
    if !server.platform.name.is_empty() {
        let _ = write!(out, " {}", server.platform.name);
    }
    let _ = writeln!(out);
    for component in &server.components {
        let detail =
            |name: &str| component.details.get(name).map(String::as_str).unwrap_or_default();
        let _ = writeln!(out, " {}:", component.name);
        let mut line = |name: &str, value: &str| {
            if !value.is_empty() {
                let _ = writeln!(out, "  {:<17}{value}", format!("{name}:"));
            }
        };
        line("Version", &component.version);
        if !detail("ApiVersion").is_empty() {
            let minimum = detail("MinAPIVersion");
            line("API version", &format!("{} (minimum version {minimum})", detail("ApiVersion")));
            line("Go version", detail("GoVersion"));
            line("Git commit", detail("GitCommit"));
            line("Built", detail("BuildTime"));
            line("OS/Arch", &format!("{}/{}", detail("Os"), detail("Arch")));
            line("Experimental", detail("Experimental"));
        } else {
            line("GitCommit", detail("GitCommit"));
        }
    }
}
