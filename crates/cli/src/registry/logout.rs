//! `logout`.

use super::{server_name, worded};
use crate::failure::Failure;
use crate::session::Session;

/// `logout`'s arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Registry (default Docker Hub)
    #[arg(value_name = "SERVER")]
    server: Vec<String>,
}

pub(crate) async fn logout(session: &Session, args: Args) -> anyhow::Result<u8> {
    let server = server_name(args.server.first().map_or("", String::as_str));
    session.line(&format!("Removing login credentials for {server}"));
    let known = session.credentials()?.erase(&server);
    if !known.map_err(|error| Failure::with(1, worded(&error)))? {
        session.warn(&format!("Not logged in to {server}"));
    }
    Ok(0)
}
