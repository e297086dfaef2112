//! Making, changing and removing contexts.

use serde_json::{Value, json};

use super::endpoint;
use super::store::{self, DOCKER};
use crate::config::ConfigDir;
use crate::failure::{Failure, for_each};
use crate::session::Session;

/// `create`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct CreateArgs {
    /// What to say about it
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
    /// Where the daemon is: host=ADDRESS[,ca=FILE,cert=FILE,key=FILE,skip-tls-verify=BOOL]
    #[arg(long, value_name = "KEY=VALUE,...")]
    docker: Option<String>,
    /// Context to copy
    #[arg(long, value_name = "CONTEXT")]
    from: Option<String>,
    /// Context
    #[arg(value_name = "CONTEXT")]
    context: Vec<String>,
}

/// `update`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct UpdateArgs {
    /// What to say about it
    #[arg(long)]
    description: Option<String>,
    /// Where the daemon is: host=ADDRESS[,ca=FILE,cert=FILE,key=FILE,skip-tls-verify=BOOL]
    #[arg(long, value_name = "KEY=VALUE,...")]
    docker: Option<String>,
    /// Context
    #[arg(value_name = "CONTEXT")]
    context: Vec<String>,
}

/// `rm`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct RemoveArgs {
    /// Also the current one, and without complaint about those that are not there
    #[arg(short, long)]
    force: bool,
    /// Contexts
    #[arg(value_name = "CONTEXT")]
    contexts: Vec<String>,
}

/// Whether there is a context of this name.
pub(super) fn is_there(session: &Session, name: &str) -> bool {
    session.directory.context(name).is_ok()
}

pub(crate) async fn create(session: &Session, args: CreateArgs) -> anyhow::Result<u8> {
    let name = args.context.first().map_or("", String::as_str);
    store::check_name(name)?;
    if is_there(session, name) {
        return Err(Failure::with(1, format!("context {name:?} already exists")));
    }
    let directory = &session.directory;
    let mut meta = json!({"Name": name, "Metadata": {}, "Endpoints": {}});
    let mut material = store::Material::new();
    if let Some(from) = args.from.as_deref().filter(|from| *from != "default") {
        let context = directory.context(from)?;
        meta = store::read(directory, &context)?;
        material = store::material(directory, &context)?;
    }
    let described = match (&args.docker, args.from.as_deref()) {
        (Some(text), _) => Some(endpoint::parse(text)?),
        (None, Some("default")) => Some(endpoint::parse("from=default")?),
        (None, Some(_)) => None,
        (None, None) => {
            let message = "docker endpoint configuration is required: say --docker host=ADDRESS, or --from CONTEXT";
            return Err(Failure::with(1, message));
        }
    };
    if let Some(described) = described {
        let (endpoint, files) = described.settle(directory)?;
        meta["Endpoints"][DOCKER] = endpoint;
        material.remove(DOCKER);
        material.extend(files);
    }
    describe(&mut meta, Some(&args.description).filter(|text| !text.is_empty()));
    store::write(directory, name, meta, &material)?;
    session.line(name);
    session.warn(&format!("Successfully created context {name:?}"));
    Ok(0)
}

fn describe(meta: &mut Value, description: Option<&String>) {
    let Some(text) = description else { return };
    if !meta["Metadata"].is_object() {
        meta["Metadata"] = json!({});
    }
    meta["Metadata"]["Description"] = text.as_str().into();
}

pub(crate) async fn update(session: &Session, args: UpdateArgs) -> anyhow::Result<u8> {
    let name = args.context.first().map_or("", String::as_str);
    store::check_name(name)?;
    let directory = &session.directory;
    let context = directory.context(name)?;
    let mut meta = store::read(directory, &context)?;
    let mut material = store::material(directory, &context)?;
    if let Some(text) = &args.docker {
        let (endpoint, files) = endpoint::parse(text)?.settle(directory)?;
        meta["Endpoints"][DOCKER] = endpoint;
        material.remove(DOCKER);
        material.extend(files);
    }
    describe(&mut meta, args.description.as_ref());
    store::write(directory, name, meta, &material)?;
    session.line(name);
    session.warn(&format!("Successfully updated context {name:?}"));
    Ok(0)
}

pub(crate) async fn remove(session: &Session, args: RemoveArgs) -> anyhow::Result<u8> {
    let current = ConfigDir::current(&session.globals, session.config()).0;
    for_each(session, &args.contexts, async |name| {
        let refused = |message: String| Err(Failure::with(1, message));
        if name == "default" {
            return refused("context \"default\" cannot be removed".to_owned());
        }
        let context = match session.directory.context(name) {
            Err(_) if args.force => return Ok(Some(name.to_owned())),
            found => found.map_err(|_| anyhow::anyhow!("context {name:?} does not exist"))?,
        };
        if name == current {
            if !args.force {
                return refused(format!("context {name:?} is in use, set -f flag to force remove"));
            }
            if session.config().current_context == name {
                session.directory.set_current("default")?;
            }
        }
        store::remove(&session.directory, &context)?;
        Ok(Some(name.to_owned()))
    })
    .await
}
