//! `system dial-stdio`: what `ssh` runs on the daemon's machine so that clients elsewhere, ours and
//! Docker's, can speak to the daemon.

use docker_api::client::Hijacked;

use crate::session::Session;
use crate::terminal::{input, output};

/// No options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) async fn dial(session: &Session, _: Args) -> anyhow::Result<u8> {
    let Hijacked { mut reader, mut writer, .. } = session.client()?.dial().await?;
    let back = async {
        loop {
            let mut buffer = vec![0_u8; 32 << 10];
            let count = reader.read(&mut buffer).await?;
            if count == 0 {
                return Ok::<_, docker_api::client::Error>(());
            }
            buffer.truncate(count);
            // On a thread: what comes from the client must not wait for what goes to it.
            let written = tokio::task::spawn_blocking(move || output::stdout(&buffer)).await;
            // Whoever closed our output has heard enough.
            if !matches!(written, Ok(Ok(()))) {
                return Ok(());
            }
        }
    };
    let forth = async {
        let mut stdin = input::stdin();
        while let Some(bytes) = stdin.recv().await {
            // A daemon that reads no more may still have something to say.
            if writer.write(&bytes).await.is_err() {
                return;
            }
        }
        // Nor does one need to hear of the end that has gone already.
        let _ = writer.finish().await;
    };
    tokio::pin!(back, forth);
    let mut asking = true;
    loop {
        tokio::select! {
            biased;
            ended = &mut back => return Ok(ended.map(|()| 0)?),
            () = &mut forth, if asking => asking = false,
        }
    }
}
