//! Contexts: which daemon to speak to. They are Docker's own files.

mod change;
mod endpoint;
mod exchange;
mod store;

use std::collections::BTreeMap;

use crate::config::{ConfigDir, DEFAULT_SOCKET};
use crate::failure::Failure;
use crate::session::Session;
use crate::show::format::{Format, Layout, Line, fields};
use crate::show::inspect::{InspectArgs, indented};
use crate::template::{self, Mode, Value};
use crate::verbs::{MANY, Verb, verb};

/// The commands.
pub(crate) static VERBS: &[Verb] = &[
    verb!("create", [], 1..=1, "[OPTIONS] CONTEXT", "Make a context", change::CreateArgs => change::create),
    verb!("export", [], 1..=2, "CONTEXT FILE|-", "Write a context into an archive", exchange::ExportArgs => exchange::export),
    verb!("import", [], 2..=2, "CONTEXT FILE|-", "Make a context from an archive", exchange::ImportArgs => exchange::import),
    verb!("inspect", [], 0..=MANY, "[OPTIONS] [CONTEXT] [CONTEXT...]", "Show all that is known of contexts",
        InspectArgs => inspect),
    verb!("ls", ["list"], 0..=0, "[OPTIONS]", "List contexts", LsArgs => ls),
    verb!("rm", ["remove"], 1..=MANY, "CONTEXT [CONTEXT...]", "Remove contexts", change::RemoveArgs => change::remove),
    verb!("show", [], 0..=0, "", "Print the current context's name", NoArgs => show),
    verb!("update", [], 1..=1, "[OPTIONS] CONTEXT", "Change a context", change::UpdateArgs => change::update),
    verb!("use", [], 1..=1, "CONTEXT", "Set the current context", UseArgs => use_context),
];

/// No options.
#[derive(Debug, clap::Args)]
pub(crate) struct NoArgs {}

/// `ls`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct LsArgs {
    /// How to show them: table, json, a template, or table and a template
    #[arg(long, default_value = "", hide_default_value = true)]
    format: String,
    /// Show names only
    #[arg(short, long)]
    quiet: bool,
}

/// `use`'s arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct UseArgs {
    /// Context
    #[arg(value_name = "CONTEXT")]
    context: Vec<String>,
}

fn default_host() -> String {
    std::env::var("DOCKER_HOST")
        .ok()
        .filter(|host| !host.is_empty())
        .unwrap_or_else(|| DEFAULT_SOCKET.to_owned())
}

async fn show(session: &Session, _: NoArgs) -> anyhow::Result<u8> {
    session.line(&ConfigDir::current(&session.globals, session.config()).0);
    Ok(0)
}

async fn use_context(session: &Session, args: UseArgs) -> anyhow::Result<u8> {
    let name = args.context.first().map_or("", String::as_str);
    if name != "default" {
        session.directory.context(name)?;
    }
    session.directory.set_current(name)?;
    session.line(name);
    session.warn(&format!("Current context is now {name:?}"));
    for variable in ["DOCKER_HOST", "DOCKER_CONTEXT"] {
        if std::env::var_os(variable).is_some_and(|value| !value.is_empty()) {
            session.warn(&format!(
                "Warning: {variable} environment variable overrides the active context. To use {name:?}, either set the global --context flag, or unset {variable} environment variable."
            ));
            break;
        }
    }
    Ok(0)
}

const LAYOUT: Layout = Layout {
    fields: &[
        ("Current", "CURRENT"),
        ("Description", "DESCRIPTION"),
        ("DockerEndpoint", "DOCKER ENDPOINT"),
        ("Error", "ERROR"),
        ("Name", "NAME"),
    ],
    table: "{{.Name}}{{if .Current}} *{{end}}\t{{.Description}}\t{{.DockerEndpoint}}\t{{.Error}}",
    quiet: "{{.Name}}",
};

fn line(name: &str, description: &str, host: &str, current: bool) -> Line {
    let mut fields = fields(vec![
        ("Description", description.to_owned()),
        ("DockerEndpoint", host.to_owned()),
        ("Error", String::new()),
        ("Name", name.to_owned()),
    ]);
    if let Value::Map(entries) = &mut fields {
        entries.insert(0, ("Current".to_owned(), Value::Bool(current)));
    }
    Line { fields, labels: BTreeMap::new() }
}

async fn ls(session: &Session, args: LsArgs) -> anyhow::Result<u8> {
    let (current, chosen_by) = ConfigDir::current(&session.globals, session.config());
    let default = line(
        "default",
        "Current DOCKER_HOST based configuration",
        &default_host(),
        current == "default",
    );
    let mut lines = vec![default];
    for context in session.directory.contexts() {
        let is_current = context.name == current;
        lines.push(line(&context.name, context.description(), context.host(), is_current));
    }
    let mut format = Format::choose(&LAYOUT, &args.format, "", args.quiet);
    if format.is_table() && args.format.is_empty() {
        format = Format::choose(&LAYOUT, TABLE, "", false);
    }
    session.text(&format.render(&LAYOUT, &lines)?);
    if let Some(variable) = chosen_by
        && !args.quiet
    {
        session.warn(&format!(
            "Warning: {variable} environment variable overrides the active context. To use a context, either set the global --context flag, or unset {variable} environment variable."
        ));
    }
    Ok(0)
}

/// The heading's own value is true, so the star must not come from a plain `if`.
const TABLE: &str = "table {{.Name}}{{if eq (printf \"%v\" .Current) \"true\"}} *{{end}}\t{{.Description}}\t{{.DockerEndpoint}}\t{{.Error}}";

async fn inspect(session: &Session, args: InspectArgs) -> anyhow::Result<u8> {
    let names = if args.names.is_empty() {
        vec![ConfigDir::current(&session.globals, session.config()).0]
    } else {
        args.names.clone()
    };
    let mut all = Vec::new();
    for name in &names {
        all.push(if name == "default" {
            let text = format!(
                r#"{{"Name":"default","Metadata":{{}},"Endpoints":{{"docker":{{"Host":{},"SkipTLSVerify":false}}}},"TLSMaterial":{{}},"Storage":{{"MetadataPath":"<IN MEMORY>","TLSPath":"<IN MEMORY>"}}}}"#,
                serde_json::to_string(&default_host())?
            );
            Value::from_json(text.as_bytes())?
        } else {
            let context = session.directory.context(name)?;
            Value::from_json(store::described(&session.directory, &context)?.as_bytes())?
        });
    }
    match args.format.as_str() {
        "" => session.line(&indented(&all)?),
        "json" => session.line(&serde_json::to_string(&all)?),
        text => {
            let template =
                template::parse(text).map_err(|error| Failure::with(64, error.to_string()))?;
            for value in &all {
                session.line(&template.execute(value, None, Mode::Values)?);
            }
        }
    }
    Ok(0)
}
