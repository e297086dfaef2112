//! `wait`.

use docker_api::client::Target;
use docker_api::container::WaitResponse;

use crate::failure::for_each;
use crate::session::Session;

/// `wait`'s arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Containers
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) async fn wait(session: &Session, args: Args) -> anyhow::Result<u8> {
    let client = session.client()?;
    for_each(session, &args.containers, async |name| {
        let answer: WaitResponse =
            client.post_for(&Target::named("/containers", name, "/wait")).await?;
        Ok(Some(answer.status_code.to_string()))
    })
    .await
}
