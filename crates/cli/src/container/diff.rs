//! `diff`.

use docker_api::client::Target;
use docker_api::container::Change;

use crate::session::Session;

/// `diff`'s arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Container
    #[arg(value_name = "CONTAINER")]
    container: Vec<String>,
}

pub(crate) async fn diff(session: &Session, args: Args) -> anyhow::Result<u8> {
    let name = args.container.first().map_or("", String::as_str);
    let target = Target::named("/containers", name, "/changes");
    let changes: Option<Vec<Change>> = session.client()?.get(&target).await?;
    for change in changes.unwrap_or_default() {
        let letter = match change.kind {
            0 => 'C',
            1 => 'A',
            _ => 'D',
        };
        session.line(&format!("{letter} {}", change.path));
    }
    Ok(0)
}
